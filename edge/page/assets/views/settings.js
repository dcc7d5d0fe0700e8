// What may be changed without a shell; and what to send to who helps.

import { get, post } from "../api.js";
import { device } from "../device.js";
import { button, fill, h, say } from "../dom.js";
import { moment, number, t } from "../texts.js";
import { told } from "./commands.js";

let draft = null; // what was changed and not saved: to look at another view loses nothing

export function settings(main) {
  const place = h("div", {});
  main.append(place);
  load(place);
}

async function load(place) {
  const now = await get("/api/settings").catch((error) => ({ error }));
  if (now.error) return fill(place, h("p", { class: "trouble", role: "alert", text: now.error.message }));
  fill(place, now.can_be_kept ? null : h("p", { class: "note", text: t("settings.not_kept") }), form(now), support(), now.sources.map(detectorCard), leaving());
}

function form(now) {
  const fields = h("div", {});
  const element = h("form", { class: "card settings" }, fields);
  const rows = now.sources.map((source) => sourceRow(source));
  const learning = choice("learning", now.learning ?? "", [["", t("settings.as_configured", { value: t(`settings.learning_${now.configured_learning}`) })], ["until_promised", t("settings.learning_until_promised")], ["off", t("settings.learning_off")]]);
  const shelve = h("input", { id: "shelve", type: "number", min: 1, max: now.most_minutes, step: 1, value: now.shelve_minutes ?? 60 });
  fill(
    fields,
    h("h2", { text: t("settings.machines") }),
    rows.map((row) => row.element),
    h("h2", { text: t("settings.everywhere") }),
    labelled("learning", t("settings.learning"), learning, t("settings.learning_hint")),
    labelled("shelve", t("settings.shelve"), shelve, t("settings.shelve_hint", { most: number(now.most_minutes, 0) })),
  );
  const chosen = () => ({ sources: Object.fromEntries(rows.map((row) => [row.name, row.value()])), learning: learning.value || null, shelve_minutes: Number(shelve.value) });
  const kept = JSON.stringify(chosen());
  const save = h("button", { type: "submit", class: "primary", disabled: !now.can_be_kept, text: t("settings.save") });
  const back = h("button", { type: "button", text: t("settings.discard") });
  const unsaved = h("p", { class: "hint", role: "status" });
  const look = () => {
    const changed = JSON.stringify(chosen()) !== kept;
    draft = changed ? inputs(element).map((each) => each.value) : null;
    back.disabled = !changed;
    say(unsaved, changed ? t("settings.unsaved") : "");
  };
  const fillIn = (values) => {
    inputs(element).forEach((each, i) => { each.value = values[i]; });
    look();
  };
  element.append(h("div", { class: "actions" }, save, back, unsaved));
  const before = inputs(element).map((each) => each.value);
  element.addEventListener("input", look);
  back.addEventListener("click", () => fillIn(before));
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    told(async () => {
      const { listens_anew: anew } = await post("/api/settings", chosen());
      draft = null;
      load(element.parentElement);
      return t(anew ? "settings.saved_anew" : "settings.saved");
    });
  });
  fillIn(draft?.length === before.length ? draft : before);
  return element;
}

function inputs(form) {
  return [...form.querySelectorAll("input, select")];
}

function sourceRow(source) {
  const title = h("input", { id: `title-${source.name}`, type: "text", maxlength: 60, value: source.title ?? "", placeholder: source.name });
  const threshold = h("input", { id: `threshold-${source.name}`, type: "number", step: "0.01", min: 0, value: source.threshold ?? "", placeholder: number(source.own_threshold, 2) });
  const element = h(
    "fieldset",
    {},
    h("legend", { text: source.name }),
    labelled(title.id, t("settings.title"), title, ""),
    labelled(threshold.id, t("settings.threshold"), threshold, t("settings.threshold_hint", { own: number(source.own_threshold, 2) })),
  );
  const value = () => ({ title: title.value.trim() || null, threshold: threshold.value === "" ? null : Number(threshold.value) });
  return { name: source.name, element, value };
}

function labelled(id, text, control, hint) {
  if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
  return h("div", { class: "field" }, h("label", { for: id, text }), control, hint ? h("p", { id: `${id}-hint`, class: "hint", text: hint }) : null);
}

function choice(id, value, options) {
  const select = h("select", { id }, options.map(([name, text]) => h("option", { value: name, text })));
  select.value = value;
  return select;
}

function support() {
  return h("section", { class: "card" }, h("h2", { text: t("settings.support") }), h("p", { text: t("settings.support_hint") }), h("a", { class: "button", href: "/api/bundle", download: "", text: t("settings.bundle") }));
}

function detectorCard({ name, title, detector }) {
  const rows = [["detector", `${detector.name} ${detector.version}`], ["created", moment(detector.created)], ["section", detector.section], ["score", detector.score], ["hours", number(detector.hours, 2)], ["fingerprint", detector.sha256.slice(0, 12)]];
  return h("section", { class: "card" }, h("h2", { text: t("settings.detector", { name: title ?? name }) }), h("dl", { class: "facts" }, rows.map(([key, value]) => [h("dt", { text: t(`settings.facts.${key}`) }), h("dd", { text: value })]).flat()));
}

function leaving() {
  const health = device.health;
  const about = h("p", { class: "figures", text: t("settings.about", { version: health?.version ?? "", node: health?.node ?? "", hours: number((health?.uptime_s ?? 0) / 3600, 1) }) });
  if (document.body.dataset.password !== "true") return about;
  return h("div", { class: "leaving" }, about, button(t("settings.leave"), async () => { await post("/api/logout"); location.reload(); }));
}
