// What a person may tell the device about an alarm, and the answer in its own words.

import { get, post } from "../api.js";
import { device } from "../device.js";
import { ask, cancel } from "../dialog.js";
import { button, h, say } from "../dom.js";
import { number, t } from "../texts.js";

const CHOICES_MINUTES = [15, 60, 240, 480];

/** Say for some seconds what became of something, for eyes and ears. */
export function toast(words, bad = false) {
  let place = document.getElementById("toast");
  if (!place) {
    place = h("div", { id: "toast", role: "status" });
    document.body.append(place);
  }
  place.classList.toggle("bad", bad);
  say(place, words);
  clearTimeout(place.timer);
  place.timer = setTimeout(() => say(place, ""), 6000);
}

/** Do something; say its answer, or why not. */
export async function told(what) {
  try {
    const words = await what();
    toast(words ?? t("commands.done"));
    device.refresh().catch(() => {}); // a device that reads its settings anew is away for a moment
  } catch (error) {
    toast(error.message, true);
  }
}

export function acknowledgeButton(episode) {
  return button(t("commands.acknowledge"), () =>
    told(async () => {
      await post(`/api/sources/${encodeURIComponent(episode.source)}/acknowledge`, { episode: episode.id });
      return t("commands.acknowledged");
    }),
    { kind: "primary" },
  );
}

/** A button that opens a small dialog: for how long; or the end of it, where alarms rest already. */
export function shelveButton(source) {
  const path = `/api/sources/${encodeURIComponent(source.name)}/shelve`;
  if (source.state.shelved_until) {
    return button(t("commands.unshelve"), () => told(async () => { await post(path, { minutes: 0 }); return t("commands.unshelved"); }));
  }
  return button(t("commands.shelve"), async () => {
    const { most_minutes: most, shelve_minutes: usual } = await get("/api/settings");
    const minutes = await askMinutes(source.title ?? source.name, most, usual ?? 60);
    if (minutes) await told(async () => { await post(path, { minutes }); return t("commands.shelved", { n: number(minutes, 0) }); });
  });
}

/** Return the minutes that a person chose, null if they went away. */
function askMinutes(name, most, usual) {
  const choices = [...new Set([...CHOICES_MINUTES, usual])].filter((each) => each <= most).sort((a, b) => a - b);
  return ask(t("commands.shelve_title", { name }), t("commands.shelve_hint"), (done) => [
    h("div", { class: "choices" }, choices.map((minutes) => h("button", { type: "button", class: minutes === usual ? "primary" : "", autofocus: minutes === usual, text: minutes < 120 ? t("span.minutes", { n: number(minutes, 0) }) : t("span.hours", { n: number(minutes / 60, 0) }), on: { click: () => done(minutes) } }))),
    cancel(done),
  ]);
}
