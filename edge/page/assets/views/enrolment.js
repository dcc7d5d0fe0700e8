// A machine learnt on the spot, step by step: its sound is checked, heard, learnt from, and what came of it accepted.

import { get, post } from "../api.js";
import { device } from "../device.js";
import { isSure } from "../dialog.js";
import { button, fill, h, say } from "../dom.js";
import { number, t } from "../texts.js";
import { told } from "./commands.js";

const STEPS = ["checking", "listening", "learning", "learnt"];
const OVER = ["accepted", "stopped", "discarded"];
const CHOICES_MINUTES = [10, 30, 60];

export function enrolment(main) {
  const place = h("div", {});
  main.append(place);
  const view = new Enrolment(place);
  view.look();
  const timer = setInterval(() => view.look(), 1000);
  const onChosen = () => view.begin();
  device.addEventListener("chosen", onChosen);
  return () => {
    clearInterval(timer);
    device.removeEventListener("chosen", onChosen);
  };
}

class Enrolment {
  constructor(place) {
    this.place = place;
    this.begin();
  }

  begin() {
    this.shown = null;
    this.ended = null; // what the newest one came to: the device forgets it when it listens anew by what was learnt
    fill(this.place);
    this.look();
  }

  get path() {
    return `/api/sources/${encodeURIComponent(device.chosen)}/enrolment`;
  }

  async look() {
    const { progress, error } = await get(this.path).catch((problem) => ({ error: problem.message }));
    if (error) return this.shown ?? this.#show("error", () => h("p", { class: "trouble", role: "alert", text: error })); // it may be away for a moment
    if (!progress || OVER.includes(progress.stage)) {
      this.ended = progress ?? this.ended;
      return this.#show(`start ${this.ended?.stage}`, () => this.#start(this.ended));
    }
    this.#show(progress.stage, () => this.#work(progress));
    this.#update(progress);
  }

  /** Draw what belongs to a stage, once: what a person types is left alone. */
  #show(stage, draw) {
    if (this.shown === stage) return;
    this.shown = stage;
    fill(this.place, draw());
  }

  #start(before) {
    const name = device.source?.title ?? device.chosen;
    const minutes = h("input", { id: "minutes", type: "number", min: 5, max: 120, value: 30 });
    const condition = h("input", { id: "condition", type: "text", maxlength: 40, placeholder: t("enrolment.condition_none") });
    const choices = h("div", { class: "choices" }, CHOICES_MINUTES.map((each) => h("button", { type: "button", text: t("span.minutes", { n: each }), on: { click: () => { minutes.value = each; } } })));
    const form = h(
      "form",
      { class: "card", "aria-labelledby": "learn-title" },
      h("h2", { id: "learn-title", text: t("enrolment.title", { name }) }),
      before ? h("p", { class: "note", text: before.reason ?? t(`enrolment.after_${before.stage}`) }) : null,
      h("p", { class: "hint", text: t("enrolment.hint") }),
      h("div", { class: "field" }, h("label", { for: "minutes", text: t("enrolment.minutes") }), minutes, choices, h("p", { class: "hint", text: t("enrolment.minutes_hint") })),
      h("div", { class: "field", hidden: device.source?.state?.status === "untaught" }, h("label", { for: "condition", text: t("enrolment.condition") }), condition, h("p", { class: "hint", text: t("enrolment.condition_hint") })),
      h("div", { class: "actions" }, h("button", { type: "submit", class: "primary", text: t("enrolment.start") })),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      told(async () => {
        await post(this.path, { minutes: Number(minutes.value), condition: condition.value.trim() || null });
        await this.look();
        return t("enrolment.started");
      });
    });
    return form;
  }

  #work(progress) {
    const stage = progress.stage === "refused" ? "listening" : progress.stage;
    const steps = h("ol", { class: "steps" }, STEPS.map((each) => h("li", { "aria-current": each === stage ? "step" : null, class: STEPS.indexOf(each) < STEPS.indexOf(stage) ? "done" : "" }, h("span", { text: t(`enrolment.steps.${each}`) }))));
    this.live = { bar: h("progress", { max: 100, "aria-label": t("enrolment.progress") }), heard: h("p", { class: "figures" }), level: h("p", { class: "figures" }), state: h("p", { class: "says", role: "status" }), advice: h("ul", { class: "advice" }) };
    const parts = stage === "learnt" ? [this.#result(progress)] : [this.live.state, this.live.bar, this.live.heard, this.live.level, this.live.advice];
    return h("section", { class: "card", "aria-labelledby": "learn-title" }, h("h2", { id: "learn-title", text: t("enrolment.at_work", { name: device.source?.title ?? device.chosen }) }), steps, parts, h("div", { class: "actions" }, this.#buttons(stage)));
  }

  #buttons(stage) {
    const say = (word, kind = "") => button(t(`enrolment.${word}`), async () => (word !== "discard" || await this.#isSure()) && told(async () => { await post(`${this.path}/${word}`); await this.look(); return t(`enrolment.did_${word}`); }), { kind });
    if (stage === "learnt") return [say("accept", "primary"), say("discard")];
    return stage === "listening" ? [say("enough"), say("stop"), say("discard")] : [say("stop")];
  }

  /** What was heard of half an hour is not thrown away by a slip of the hand. */
  #isSure() {
    return isSure(t("enrolment.discard_title", { name: device.source?.title ?? device.chosen }), t("enrolment.discard_hint"), t("enrolment.discard"));
  }

  #result({ result }) {
    if (!result) return null;
    const words = t(result.conditions.length > 1 ? "enrolment.learnt_conditions" : "enrolment.learnt", { threshold: number(result.threshold, 2), conditions: result.conditions.join(", ") });
    const would = result.would_hear.map((text) => h("li", { text }));
    const limits = would.length ? [h("h3", { text: t("enrolment.would_hear") }), h("ul", { class: "plain-list" }, would)] : [];
    return h("div", {}, h("p", { class: "says", text: words }), ...limits);
  }

  #update(progress) {
    if (progress.stage === "learnt" || !this.live) return;
    const heard = progress.running_minutes ?? 0;
    const wanted = heard + (progress.missing_minutes ?? 0);
    if (progress.stage === "learning") this.live.bar.removeAttribute("value");
    else this.live.bar.value = wanted ? (100 * heard) / wanted : 0;
    say(this.live.state, progress.reason ?? progress.fault ?? t(`enrolment.says.${progress.stage}`));
    this.live.heard.hidden = this.live.level.hidden = progress.running_minutes === undefined; // it learns what is remembered
    say(this.live.heard, t(progress.idle_minutes ? "enrolment.heard_idle" : "enrolment.heard", { heard: number(heard, 1), wanted: number(wanted, 1), idle: number(progress.idle_minutes ?? 0, 1) }));
    say(this.live.level, progress.level_dbfs === undefined ? "" : t("now.level", { level: number(progress.level_dbfs, 0) }));
    const advice = (progress.advice ?? []).map((each) => each.text).join("\n");
    if (this.live.advice.dataset.now !== advice) {
      this.live.advice.dataset.now = advice;
      fill(this.live.advice, (progress.advice ?? []).map((each) => h("li", { class: each.fault ? "fault" : "", text: each.text })));
    }
  }
}
