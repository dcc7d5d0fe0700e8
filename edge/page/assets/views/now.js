// What is going on at this moment: a sentence, three states, the sound of the last minute, and how near an alarm is.

import { get } from "../api.js";
import { Chart } from "../charts/chart.js";
import { Spectrogram, height } from "../charts/spectrogram.js";
import { device } from "../device.js";
import { fill, h, say } from "../dom.js";
import { clock, hz, number, span, t } from "../texts.js";
import { verdictOf } from "../verdict.js";
import { acknowledgeButton, shelveButton } from "./commands.js";

const RECENT_SECONDS = 600;
const FREQUENCIES_HZ = [250, 500, 1000, 2000, 4000];
const FULL_SCALE = 1.5; // of what opens an episode: where the bars end
const STRANGE = 3; // times the threshold: as another machine sounds

export function now(main) {
  const parts = { hero: hero(), states: h("div", { class: "tiles" }), others: h("ul", { class: "others" }), sound: sound(), scales: h("div", { class: "scales" }), recent: recent() };
  main.append(
    parts.others,
    parts.hero.element,
    parts.states,
    h("section", { class: "card", "aria-labelledby": "sound-title" }, h("h2", { id: "sound-title", text: t("now.sound") }), parts.sound.element),
    h(
      "div",
      { class: "columns" },
      h("section", { class: "card", "aria-labelledby": "near-title" }, h("h2", { id: "near-title", text: t("now.near") }), h("p", { class: "hint", text: t("now.near_hint") }), parts.scales),
      h("section", { class: "card", "aria-labelledby": "recent-title" }, h("h2", { id: "recent-title", text: t("now.recent") }), parts.recent.element),
    ),
  );

  const draw = () => drawAll(parts);
  const onColumns = (event) => parts.sound.spectrogram.add(event.detail.levels, event.detail.seconds);
  const onState = (event) => parts.recent.add(event.detail);
  const onChosen = () => {
    parts.sound.spectrogram.clear();
    parts.recent.load();
  };
  device.addEventListener("change", draw);
  device.addEventListener("columns", onColumns);
  device.addEventListener("state", onState);
  device.addEventListener("chosen", onChosen);
  draw();
  parts.recent.load();
  return () => {
    device.removeEventListener("change", draw);
    device.removeEventListener("columns", onColumns);
    device.removeEventListener("state", onState);
    device.removeEventListener("chosen", onChosen);
    parts.recent.close();
  };
}

function drawAll(parts) {
  const source = device.source;
  if (!source) return;
  const verdict = verdictOf(source);
  parts.hero.draw(source, verdict);
  drawOthers(parts.others);
  drawTiles(parts.states, source, verdict);
  drawScales(parts.scales, source.state);
}

function hero() {
  const sentence = h("p", { class: "sentence" });
  const why = h("p", { class: "why" });
  const figures = h("p", { class: "figures" });
  const strange = h("p", { class: "hint" }, h("a", { href: "#enrolment", text: t("now.strange") }));
  const actions = h("div", { class: "actions" });
  const teach = h("a", { class: "button primary", href: "#enrolment", text: t("now.teach") });
  const element = h("section", { class: "hero", "aria-label": t("now.summary") }, h("div", {}, sentence, why, figures, strange), actions);
  let shown = null;
  return {
    element,
    draw(source, verdict) {
      element.dataset.mood = verdict.mood;
      say(sentence, verdict.sentence);
      say(why, verdict.why ?? "");
      why.hidden = !verdict.why;
      say(figures, figuresOf(source.state));
      strange.hidden = !isStrange(source.state);
      const episode = device.openEpisode(source.name);
      const untaught = source.state?.status === "untaught";
      const now = `${source.name} ${episode?.id} ${episode?.acknowledged} ${source.state?.shelved_until} ${untaught}`;
      if (now === shown) return;
      shown = now;
      if (untaught) fill(actions, teach); // there is no alarm that could rest
      else fill(actions, episode && !episode.acknowledged ? acknowledgeButton(episode) : null, source.state ? shelveButton(source) : null);
    },
  };
}

function isStrange(state) {
  return state?.status === "listening" && state.score >= STRANGE * state.threshold;
}

function figuresOf(state) {
  if (!state) return "";
  const parts = [];
  if (state.score !== null) parts.push(t("now.score", { score: number(state.score, 2), threshold: number(state.threshold, 2) }));
  if (state.level_dbfs !== null) parts.push(t("now.level", { level: number(state.level_dbfs, 0) }));
  if (state.provisional) parts.push(t("now.provisional", { hours: number(state.provisional.hours, 1), of: number(state.provisional.of, 0) }));
  return parts.join(" · ");
}

/** The other sources, the unwell ones first: with hundreds of them, those are what a person looks for. */
function drawOthers(list) {
  list.hidden = device.sources.length < 2;
  if (list.hidden) return;
  const order = { wrong: 0, deaf: 1, watch: 2, unsure: 3, well: 4 };
  const rows = device.sources.map((source) => ({ source, verdict: verdictOf(source) }));
  rows.sort((a, b) => order[a.verdict.mood] - order[b.verdict.mood]);
  const now = rows.map(({ source, verdict }) => `${source.name}${verdict.word}${source.name === device.chosen}`).join();
  if (list.dataset.now === now) return;
  list.dataset.now = now;
  fill(
    list,
    rows.map(({ source, verdict }) =>
      h(
        "li",
        {},
        h(
          "button",
          { type: "button", class: "other", "data-mood": verdict.mood, "aria-pressed": String(source.name === device.chosen), on: { click: () => device.choose(source.name) } },
          h("strong", { text: source.title ?? source.name }),
          h("span", { text: verdict.word }),
        ),
      ),
    ),
  );
}

function drawTiles(place, source, verdict) {
  const broker = device.health?.broker;
  const tiles = [
    ["machine", verdict.mood, verdict.machine],
    ["microphone", verdict.mood === "deaf" ? "deaf" : "well", verdict.microphone],
    ["broker", broker?.connected ? "well" : "watch", broker?.connected ? t("now.broker_connected") : t("now.broker_away", { why: broker?.reason ?? "" })],
  ];
  if (!place.childElementCount) {
    fill(place, tiles.map(([name]) => h("div", { class: "tile" }, h("h2", { text: t(`now.${name}`) }), h("p", {}))));
  }
  tiles.forEach(([, mood, words], i) => {
    place.children[i].dataset.mood = mood;
    say(place.children[i].lastChild, words);
  });
}

function sound() {
  const canvas = h("canvas", { class: "spectrogram", role: "img", "aria-label": t("now.spectrogram") });
  const labels = h("div", { class: "frequencies", "aria-hidden": "true" });
  for (const frequency of FREQUENCIES_HZ) {
    const label = h("span", { text: hz(frequency) });
    label.style.bottom = `${100 * height(frequency)}%`;
    labels.append(label);
  }
  const element = h("div", { class: "sound" }, labels, h("div", { class: "frame" }, canvas), h("div", { class: "ends", "aria-hidden": "true" }, h("span", { text: t("now.minute_ago") }), h("span", { text: t("now.just_now") })));
  return { element, spectrogram: new Spectrogram(canvas) };
}

function drawScales(place, state) {
  const scales = state?.scales ?? [];
  if (!scales.length) {
    if (!place.querySelector(".empty")) fill(place, h("p", { class: "empty", text: t("now.no_scales") }));
    return;
  }
  if (place.querySelectorAll(".scale").length !== scales.length) fill(place, scales.map(() => scaleRow()));
  scales.forEach((scale, i) => fillScale(place.children[i], scale));
}

function scaleRow() {
  return h("div", { class: "scale" }, h("span", { class: "name" }), h("div", { class: "track", role: "meter", "aria-valuemin": "0", "aria-valuemax": "1.5" }, h("div", { class: "bar" }), h("div", { class: "mark" })), h("span", { class: "value" }));
}

function fillScale(row, { seconds, score, near }) {
  const name = seconds < 15 ? t("now.newest") : t("now.last", { span: span(seconds) });
  say(row.querySelector(".name"), name);
  const track = row.querySelector(".track");
  const waits = near === null;
  track.setAttribute("aria-label", name);
  track.setAttribute("aria-valuenow", String(Math.min(near ?? 0, FULL_SCALE)));
  track.setAttribute("aria-valuetext", waits ? t("now.waits") : t("now.percent", { n: number(100 * near, 0) }));
  row.dataset.mood = near >= 1 ? "wrong" : near >= 0.7 ? "watch" : "well";
  row.classList.toggle("waits", waits);
  row.querySelector(".bar").style.width = `${(100 * Math.min(near ?? 0, FULL_SCALE)) / FULL_SCALE}%`;
  say(row.querySelector(".value"), waits ? t("now.waits") : number(score, 2));
}

function recent() {
  const canvas = h("canvas", { class: "chart", role: "img", "aria-label": t("now.recent") });
  const element = h("div", {}, canvas, h("p", { class: "legend" }, h("span", { class: "key score", text: t("now.key_score") }), h("span", { class: "key threshold", text: t("now.key_threshold") })));
  const chart = new Chart(canvas);
  let rows = { time: [], score: [] };

  function draw() {
    const state = device.source?.state;
    const to = Date.now() / 1000;
    const threshold = state?.threshold ?? null;
    const highest = Math.max(...rows.score.filter((value) => value !== null).slice(-RECENT_SECONDS * 2), threshold ?? 0, 1);
    chart.draw({
      from: to - RECENT_SECONDS,
      to,
      bottom: 0,
      top: Math.max(1.15 * highest, 2),
      lines: [{ times: rows.time, values: rows.score, colour: "accent" }],
      level: threshold === null ? null : { value: threshold, colour: "bad" },
      timeText: (time) => clock(new Date(time * 1000)),
    });
    const last = rows.score.at(-1);
    canvas.setAttribute("aria-label", t("now.recent_label", { score: number(last, 2), threshold: number(threshold, 2) }));
  }

  return {
    element,
    async load() {
      if (!device.chosen) return;
      rows = await get(`/api/sources/${encodeURIComponent(device.chosen)}/recent`).catch(() => ({ time: [], score: [] }));
      draw();
    },
    add(state) {
      if (state.score === null) return;
      rows.time.push(state.unix);
      rows.score.push(state.score);
      if (rows.time.length > 4000) rows = { time: rows.time.slice(-2000), score: rows.score.slice(-2000) };
      draw();
    },
    close: () => chart.close(),
  };
}
