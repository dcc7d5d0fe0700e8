// A slider that shows which alarms of the last week another threshold would have given; and what would be heard at all.

import { get, post } from "../api.js";
import { Chart } from "../charts/chart.js";
import { device } from "../device.js";
import { button, fill, h, say } from "../dom.js";
import { day, moment, number, span, t } from "../texts.js";
import { told } from "./commands.js";

const WEEK = 7 * 86400;
const LOWEST = 0.5; // times the detector's own
const HIGHEST = 4;
const STEPS = 200;
const MOST_LISTED = 12;

export function threshold(main) {
  const place = h("div", {});
  main.append(place);
  let close = () => {};
  const load = async () => {
    close();
    close = await draw(place);
  };
  device.addEventListener("chosen", load);
  load();
  return () => {
    device.removeEventListener("chosen", load);
    close();
  };
}

async function draw(place) {
  const name = device.chosen;
  const settings = await get("/api/settings").catch((error) => ({ error }));
  if (settings.error) {
    fill(place, h("p", { class: "trouble", role: "alert", text: settings.error.message }));
    return () => {};
  }
  const source = settings.sources.find((each) => each.name === name);
  const slider = new Slider(source, settings);
  fill(place, slider.element, wouldHear(source.detector));
  slider.show();
  return () => slider.chart.close();
}

class Slider {
  constructor(source, settings) {
    this.source = source;
    this.settings = settings;
    this.own = source.own_threshold;
    this.base = this.own > 0 ? this.own : 1; // a configured 0 alarms always, and has no factors
    const now = (this.exact = Math.max(source.threshold ?? this.own, this.base * LOWEST)); // no step may be it
    this.input = h("input", { type: "range", id: "threshold-slider", min: 0, max: STEPS, step: 1, value: this.#placeOf(now), "aria-describedby": "threshold-says" });
    this.says = h("p", { id: "threshold-says", class: "says", "aria-live": "polite" });
    this.value = h("output", { for: "threshold-slider", class: "value" });
    this.canvas = h("canvas", { class: "chart strip", role: "img", "aria-label": t("threshold.strip", { n: "–" }) });
    this.list = h("ul", { class: "when" });
    this.use = button(t("threshold.use"), () => this.#choose(this.threshold), { kind: "primary", disabled: !settings.can_be_kept });
    this.back = button(t("threshold.back", { own: number(this.own, 2) }), () => this.#choose(null), { disabled: source.threshold === null });
    this.chart = new Chart(this.canvas);
    this.element = h(
      "section",
      { class: "card", "aria-labelledby": "threshold-title" },
      h("h2", { id: "threshold-title", text: t("threshold.title", { name: source.title ?? source.name }) }),
      h("p", { class: "hint", text: t("threshold.hint") }),
      h("div", { class: "slider" }, h("label", { for: "threshold-slider", text: t("threshold.label") }), this.value, this.input, h("div", { class: "ends", "aria-hidden": "true" }, h("span", { text: t("threshold.stricter") }), h("span", { text: t("threshold.laxer") }))),
      this.says,
      this.canvas,
      this.list,
      h("div", { class: "actions" }, this.use, this.back),
      settings.can_be_kept ? null : h("p", { class: "hint", text: t("settings.not_kept") }),
    );
    this.input.addEventListener("input", () => {
      this.exact = null;
      this.#sayValue();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.show(), 150);
    });
  }

  get threshold() {
    return this.exact ?? this.base * LOWEST * (HIGHEST / LOWEST) ** (this.input.value / STEPS);
  }

  #placeOf(threshold) {
    return Math.round((STEPS * Math.log(threshold / (this.base * LOWEST))) / Math.log(HIGHEST / LOWEST));
  }

  #sayValue() {
    const value = number(this.threshold, 2);
    say(this.value, value);
    this.input.setAttribute("aria-valuetext", value);
  }

  async show() {
    this.#sayValue();
    const found = await get(`/api/sources/${encodeURIComponent(this.source.name)}/alarms?threshold=${this.threshold}`).catch((error) => ({ error }));
    if (found.error) return say(this.says, found.error.message);
    say(this.says, t(found.n === 1 ? "threshold.says_one" : "threshold.says", { n: found.n, threshold: number(this.threshold, 2) }));
    this.#draw(found);
  }

  #draw({ since, alarms }) {
    this.chart.draw({
      from: since,
      to: since + WEEK,
      bottom: 0,
      top: 1,
      plain: true,
      lines: [],
      spans: alarms.map(([from, to]) => ({ from: from - 60, to, colour: "wrong" })),
      timeText: (time) => day(new Date(time * 1000)),
    });
    this.canvas.setAttribute("aria-label", t("threshold.strip", { n: alarms.length }));
    const newest = alarms.slice(-MOST_LISTED).reverse();
    fill(this.list, newest.map(([from, to]) => h("li", { text: t("threshold.one", { when: moment(new Date(from * 1000)), span: span(Math.max(60, to - from + 60)) }) })));
  }

  #choose(value) {
    return told(async () => {
      const sources = Object.fromEntries(this.settings.sources.map((each) => [each.name, { title: each.title, threshold: each.threshold }]));
      sources[this.source.name].threshold = value === null ? null : Number(value.toFixed(3));
      await post("/api/settings", { sources, learning: this.settings.learning, shelve_minutes: this.settings.shelve_minutes });
      Object.assign(this.source, sources[this.source.name]);
      this.back.disabled = value === null;
      return t("settings.saved_anew");
    });
  }
}

function wouldHear({ would_hear: kinds }) {
  const heading = h("h2", { id: "hear-title", text: t("threshold.hear") });
  if (!kinds.length) return h("section", { class: "card", "aria-labelledby": "hear-title" }, heading, h("p", { class: "hint", text: t("threshold.hear_none") }));
  const head = ["change", "from", "after", "louder"].map((key) => h("th", { scope: "col", text: t(`threshold.columns.${key}`) }));
  const rows = kinds.map((limit) =>
    h(
      "tr",
      {},
      h("th", { scope: "row", text: t(`threshold.kinds.${limit.kind}`) }),
      h("td", { text: limit.limit_db === null ? t("threshold.never") : t(limit.kind === "modulation" ? "threshold.about_db" : "threshold.db", { n: number(limit.limit_db, 0), sign: limit.limit_db < 0 ? "−" : "+", size: number(Math.abs(limit.limit_db), 0) }) }),
      h("td", { text: limit.wait_seconds === null ? "–" : span(limit.wait_seconds) }),
      h("td", { text: limit.wait_louder_seconds === null ? "–" : span(limit.wait_louder_seconds) }),
    ),
  );
  return h(
    "section",
    { class: "card", "aria-labelledby": "hear-title" },
    heading,
    h("p", { class: "hint", text: t("threshold.hear_hint") }),
    h("div", { class: "scrolled", tabindex: "0", role: "group", "aria-labelledby": "hear-title" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))),
  );
}
