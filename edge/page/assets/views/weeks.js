// What changes over weeks: a point a day, and a line through them with its interval where it is more than noise.

import { get } from "../api.js";
import { Chart } from "../charts/chart.js";
import { device } from "../device.js";
import { h, say } from "../dom.js";
import { day, number, t } from "../texts.js";

const WEEK = 7 * 86400;
const LEAST_DAYS = 10; // of fewer, one odd day is a trend

export class Weeks {
  constructor(main) {
    this.words = h("p", { class: "hint", role: "status" });
    this.canvas = h("canvas", { class: "chart", role: "img", "aria-label": t("history.weeks_label") });
    this.element = h(
      "section",
      { class: "card", "aria-labelledby": "history-weeks", hidden: true },
      h("h2", { id: "history-weeks", text: t("history.weeks") }),
      this.words,
      this.canvas,
      h("p", { class: "legend" }, h("span", { class: "key score", text: t("history.of_a_day") }), ...[["trend", "trend"], ["range", "trend_range"]].map(([kind, key]) => h("span", { class: `key ${kind}`, text: t(`history.${key}`) }))),
    );
    this.chart = new Chart(this.canvas);
    main.append(this.element);
    this.load();
  }

  close() {
    this.chart.close();
  }

  async load() {
    const wanted = (this.wanted = {});
    const found = device.chosen ? await get(`/api/sources/${encodeURIComponent(device.chosen)}/days`).catch(() => null) : null;
    if (wanted !== this.wanted) return; // another machine was chosen meanwhile
    this.element.hidden = !found || found.time.length < LEAST_DAYS;
    if (!this.element.hidden) this.#draw(found);
  }

  #draw({ time, score, drift }) {
    const said = Object.entries(drift).map(([name, each]) => sentence(name, each));
    say(this.words, said.join(" ") || t("history.no_drift", { days: time.length }));
    const line = drift.score ? lineOf(time, score, drift.score) : null;
    this.chart.draw({
      from: time[0] - 86400,
      to: Date.now() / 1000,
      bottom: 0.9 * Math.min(...score),
      top: 1.1 * Math.max(...score),
      lines: [...(line ? [{ times: time, values: line.high, area: line.low, colour: "range" }, { times: time, values: line.middle, colour: "watch", width: 1.25 }] : []), { times: time, values: score, colour: "accent" }],
      timeText: (at) => day(new Date(at * 1000)),
    });
    this.canvas.setAttribute("aria-label", `${t("history.weeks_label")}: ${this.words.textContent}`);
  }
}

/** Return by how much something changes a week, in words. */
function sentence(name, { per_week: perWeek, low, high, days }) {
  const rises = perWeek > 0;
  const [least, most] = rises ? [low, high] : [-high, -low];
  const size = (each) => (name === "score" ? 100 * Math.expm1(each) : each);
  const values = { by: number(size(Math.abs(perWeek)), 1), least: number(size(least), 1), most: number(size(most), 1), days };
  return t(`history.drift.${name}_${rises ? "rises" : "falls"}`, values);
}

/** Return the line of a drift of the score through its middle, and how steep or flat it may be. */
function lineOf(time, score, drift) {
  const middle = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
  const [at, value] = [middle(time), middle(score)];
  const along = (slope) => time.map((each) => value * Math.exp((slope * (each - at)) / WEEK));
  const [low, high] = [along(drift.low), along(drift.high)];
  return {
    middle: along(drift.per_week),
    low: low.map((each, i) => Math.min(each, high[i])),
    high: low.map((each, i) => Math.max(each, high[i])),
  };
}
