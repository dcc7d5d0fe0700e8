// A week by the minute: drag over a stretch to look closer, or use the keys and the buttons.

import { get, post } from "../api.js";
import { Chart } from "../charts/chart.js";
import { device } from "../device.js";
import { ask, cancel } from "../dialog.js";
import { h, say } from "../dom.js";
import { clock, dated, day, moment, number, t } from "../texts.js";
import { told } from "./commands.js";
import { Weeks } from "./weeks.js";

const WEEK = 7 * 86400;
const LEAST_SECONDS = 20 * 60;
const STRETCHES = [["hour", 3600], ["day", 86400], ["week", WEEK]];

export function history(main) {
  const view = new History(main);
  view.show(Date.now() / 1000 - WEEK, Date.now() / 1000);
  return () => view.close();
}

class History {
  constructor(main) {
    this.summary = h("p", { class: "figures", role: "status" });
    this.charts = ["score", "level"].map((name) => new Panel(this, name));
    const hint = h("p", { class: "hint", id: "history-hint", text: t("history.hint") });
    main.append(
      h("div", { class: "bar-of-buttons" }, this.#buttons(), this.summary),
      hint,
      ...this.charts.map((panel) => panel.element),
    );
    this.weeks = new Weeks(main);
    this.onChosen = () => {
      this.show(this.from, this.to);
      this.weeks.load();
    };
    device.addEventListener("chosen", this.onChosen);
    this.onEpisodes = () => this.draw();
    device.addEventListener("change", this.onEpisodes);
  }

  close() {
    device.removeEventListener("chosen", this.onChosen);
    device.removeEventListener("change", this.onEpisodes);
    for (const panel of this.charts) panel.chart.close();
    this.weeks.close();
  }

  #buttons() {
    const button = (key, act) => h("button", { type: "button", text: t(`history.${key}`), on: { click: act } });
    return h(
      "div",
      { class: "actions" },
      STRETCHES.map(([key, seconds]) => button(key, () => this.show(Date.now() / 1000 - seconds, Date.now() / 1000))),
      button("earlier", () => this.move(-0.5)),
      button("later", () => this.move(0.5)),
      button("closer", () => this.zoom(0.5)),
      button("farther", () => this.zoom(2)),
      button("learn", () => this.learn()),
    );
  }

  /** Have a stretch learnt as normal: the one that is shown, unless another is named. */
  async learn() {
    const stretch = await askStretch(device.source?.title ?? device.chosen, this.from, this.to);
    if (!stretch) return;
    await told(async () => {
      await post(`/api/sources/${encodeURIComponent(device.chosen)}/relearn`, stretch);
      location.hash = "enrolment";
      return t("history.learns");
    });
  }

  move(share) {
    const by = share * (this.to - this.from);
    this.show(this.from + by, this.to + by);
  }

  zoom(factor) {
    const middle = (this.from + this.to) / 2;
    const half = (Math.max(LEAST_SECONDS, Math.min(factor * (this.to - this.from), 2 * WEEK)) / 2);
    this.show(middle - half, middle + half);
  }

  async show(from, to) {
    const now = Date.now() / 1000;
    const length = Math.max(to - from, LEAST_SECONDS);
    this.to = Math.min(to, now);
    this.from = this.to - length;
    const wanted = (this.wanted = {});
    const query = `from=${this.from}&to=${this.to}&points=${Math.min(1000, Math.max(200, innerWidth))}`;
    const found = await get(`/api/sources/${encodeURIComponent(device.chosen)}/history?${query}`).catch((error) => ({ error }));
    if (wanted !== this.wanted) return; // somebody has looked elsewhere meanwhile
    if (found.error) return say(this.summary, found.error.message);
    this.found = found;
    this.draw();
    this.#summarise(found);
  }

  draw() {
    if (this.found) for (const panel of this.charts) panel.draw(this.found);
  }

  #summarise(found) {
    const there = found.score.filter((value) => value !== null);
    if (!there.length) return say(this.summary, t("history.nothing"));
    const episodes = device.episodes.filter((each) => each.source === device.chosen && Date.parse(each.opened) / 1000 < found.to && Date.parse(each.until) / 1000 > found.from);
    const highest = found.score_high.reduce((best, value, i) => (value !== null && value > (found.score_high[best] ?? -Infinity) ? i : best), 0);
    say(
      this.summary,
      t("history.summary", {
        from: dated(new Date(found.from * 1000)),
        to: dated(new Date(found.to * 1000)),
        hours: number(found.minutes.reduce((sum, n) => sum + n, 0) / 60, 1),
        highest: number(found.score_high[highest], 2),
        when: moment(new Date(found.time[highest] * 1000)),
        n: episodes.length,
      }),
    );
  }
}

class Panel {
  #began = null;

  constructor(history, name) {
    this.history = history;
    this.name = name;
    this.canvas = h("canvas", { class: "chart tall", role: "img", tabindex: "0", "aria-describedby": "history-hint", "aria-label": t(`history.${name}_label`) });
    this.selection = h("div", { class: "selection", hidden: true });
    const keys = name === "score" ? [["score", "mean"], ["range", "range"], ["limit", "threshold"], ["alarm", "episodes"]] : [["score", "level_key"]];
    this.element = h(
      "section",
      { class: "card", "aria-labelledby": `history-${name}` },
      h("h2", { id: `history-${name}`, text: t(`history.${name}`) }),
      h("div", { class: "dragged" }, this.canvas, this.selection),
      h("p", { class: "legend" }, keys.map(([kind, key]) => h("span", { class: `key ${kind}`, text: t(`history.${key}`) }))),
    );
    this.chart = new Chart(this.canvas);
    this.#listen();
  }

  draw(found) {
    const isScore = this.name === "score";
    const values = isScore ? found.score : found.level;
    const highest = Math.max(...found.score_high.filter((value) => value !== null), ...found.threshold.filter((value) => value !== null), 1);
    const levels = found.level.filter((value) => value !== null);
    const own = device.episodes.filter((each) => each.source === device.chosen);
    this.chart.draw({
      from: found.from,
      to: found.to,
      bottom: isScore ? 0 : Math.floor((Math.min(...levels, -30) - 3) / 10) * 10,
      top: isScore ? 1.1 * Math.max(highest, 2) : Math.ceil((Math.max(...levels, -20) + 3) / 10) * 10,
      spans: isScore ? own.map((each) => ({ from: Date.parse(each.opened) / 1000, to: Date.parse(each.until) / 1000, colour: each.normal ? "rest" : "alarm" })) : [],
      lines: [
        ...(isScore ? [{ times: found.time, values: found.score_high, area: found.score_low, colour: "range" }, { times: found.time, values: found.threshold, colour: "bad", width: 1.25 }] : []),
        { times: found.time, values, colour: "accent" },
      ],
      timeText: (time, step) => (step >= 86400 ? day(new Date(time * 1000)) : clock(new Date(time * 1000))),
    });
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      this.#began = event.offsetX;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => this.#select(event.offsetX));
    canvas.addEventListener("pointerup", (event) => this.#end(event.offsetX));
    canvas.addEventListener("pointercancel", () => this.#end(null));
    canvas.addEventListener("keydown", (event) => {
      const act = { ArrowLeft: () => this.history.move(-0.25), ArrowRight: () => this.history.move(0.25), "+": () => this.history.zoom(0.5), "=": () => this.history.zoom(0.5), "-": () => this.history.zoom(2), Escape: () => this.history.show(Date.now() / 1000 - WEEK, Date.now() / 1000) }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
  }

  #select(x) {
    if (this.#began === null) return;
    this.selection.hidden = false;
    this.selection.style.left = `${Math.min(x, this.#began)}px`;
    this.selection.style.width = `${Math.abs(x - this.#began)}px`;
  }

  #end(x) {
    const began = this.#began;
    this.#began = null;
    this.selection.hidden = true;
    if (began === null || x === null || Math.abs(x - began) < 8) return;
    const [from, to] = [began, x].sort((a, b) => a - b).map((each) => this.chart.timeAt(each));
    this.history.show(from, to);
  }
}

/** Return the stretch that a person says was normal, in UNIX seconds; null if they went away. */
function askStretch(name, from, to) {
  return ask(t("history.learn_title", { name }), t("history.learn_hint"), (done) => {
    const [start, end] = [from, to].map((time, i) => h("input", { id: `stretch-${i}`, type: "datetime-local", required: true, value: localMinute(time) }));
    const form = h(
      "form",
      {},
      h("div", { class: "field" }, h("label", { for: start.id, text: t("history.learn_from") }), start),
      h("div", { class: "field" }, h("label", { for: end.id, text: t("history.learn_to") }), end),
      h("div", { class: "actions" }, h("button", { type: "submit", class: "primary", text: t("history.learn_it") }), cancel(done)),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      done({ from: new Date(start.value).getTime() / 1000, to: new Date(end.value).getTime() / 1000 });
    });
    return form;
  });
}

/** Return a time as an input of one takes it: local, to the minute. */
function localMinute(time) {
  const shift = new Date(time * 1000).getTimezoneOffset() * 60;
  return new Date((time - shift) * 1000).toISOString().slice(0, 16);
}
