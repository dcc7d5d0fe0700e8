// What alarmed, the newest first: its picture and sound, why, and what a person says to it.

import { post } from "../api.js";
import { device } from "../device.js";
import { button, fill, h } from "../dom.js";
import { moment, number, span, t } from "../texts.js";
import { basisOf, whyOf } from "../verdict.js";
import { acknowledgeButton, told } from "./commands.js";

const MAKING_MILLISECONDS = 30_000; // some seconds after the end belong to it

export function episodes(main) {
  const list = h("ol", { class: "episodes" });
  main.append(h("p", { class: "hint", text: t("episodes.hint") }), list);
  const draw = () => drawList(list);
  device.addEventListener("change", draw);
  device.refresh().catch(() => {});
  draw();
  return () => device.removeEventListener("change", draw);
}

/** Each card is drawn anew only when its episode has changed: a player that plays is left alone. */
function drawList(list) {
  const known = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const items = device.episodes.map((episode) => {
    const key = JSON.stringify(episode);
    return known.get(key) ?? card(episode, key);
  });
  if (!items.length) items.push(h("li", { class: "empty", "data-key": "none", text: t("episodes.none") }));
  if (items.length !== list.children.length || items.some((item, i) => item !== list.children[i])) fill(list, items);
}

function card(episode, key) {
  const source = device.sources.find((each) => each.name === episode.source);
  const name = source?.title ?? episode.source;
  const opened = new Date(episode.opened);
  const state = episode.open ? "open" : episode.reason ?? "closed";
  return h(
    "li",
    { class: "episode card", "data-key": key, "data-mood": episode.open ? "wrong" : episode.normal ? "well" : "unsure" },
    picture(episode, name),
    h(
      "div",
      { class: "about" },
      h("h2", {}, h("span", { text: `${name} ` }), h("time", { datetime: episode.opened, text: moment(opened) })),
      h("p", { class: "chips" }, h("span", { class: "chip state", text: t(`episodes.states.${state}`) }), chip(episode.acknowledged && !episode.normal, "acknowledged"), chip(episode.normal, "normal")),
      h("p", { class: "why", text: whyOf(episode) }),
      h("p", { class: "figures", text: t("episodes.figures", { peak: number(episode.peak, 2), threshold: number(episode.threshold, 2), span: span(episode.duration_s), basis: basisOf(episode.evidence) }) }),
      episode.sound ? h("audio", { controls: true, preload: "none", src: `/api/episodes/${episode.id}/sound`, "aria-label": t("episodes.listen", { name, when: moment(opened) }) }) : null,
      h("div", { class: "actions" }, episode.open && !episode.acknowledged ? acknowledgeButton(episode) : null, normalButton(episode), episode.normal ? learnButton(episode) : null),
    ),
  );
}

function chip(there, kind) {
  return there ? h("span", { class: `chip ${kind}`, text: t(`episodes.${kind}`) }) : null;
}

function picture(episode, name) {
  if (!episode.picture) return h("div", { class: "picture none", text: t(`episodes.${whyNoPicture(episode)}`) });
  const path = `/api/episodes/${episode.id}/picture`;
  const alt = t("episodes.picture", { name, when: moment(new Date(episode.opened)) });
  return h("a", { class: "picture", href: path, target: "_blank", rel: "noopener" }, h("img", { src: path, alt, loading: "lazy" }));
}

/** A button that has the episodes of its source learnt that were called normal, now and not with the next enrolment. */
function learnButton(episode) {
  return button(t("episodes.learn_now"), () =>
    told(async () => {
      await post(`/api/sources/${encodeURIComponent(episode.source)}/relearn`);
      device.choose(episode.source);
      location.hash = "enrolment";
      return t("episodes.learns");
    }),
  );
}

function whyNoPicture(episode) {
  if (episode.open) return "picture_later";
  return Date.now() - Date.parse(episode.until) < MAKING_MILLISECONDS ? "picture_soon" : "no_picture";
}

function normalButton(episode) {
  return button(t(episode.normal ? "episodes.not_normal" : "episodes.was_normal"), () =>
    told(async () => {
      await post(`/api/episodes/${episode.id}/normal`, { normal: !episode.normal });
      return t(episode.normal ? "episodes.taken_back" : "episodes.kept_as_normal");
    }),
  );
}
