// One sentence of what is going on, and a mood: well, watch, wrong, unsure, deaf. Values in, texts out.

import { clock, number, span, t } from "./texts.js";
import { device } from "./device.js";

const UNUSUAL = 0.7; // of what opens an episode

/** Return what is to be said of a source: { mood, word, sentence, machine, microphone }. */
export function verdictOf(source) {
  const name = capital(source.title ?? source.name);
  const state = source.state;
  if (!device.reachable) return said("deaf", "unreachable", name);
  if (!state) return said("unsure", "starting", name);
  const reason = state.reason ?? "";
  switch (state.status) {
    case "lost":
      return said("deaf", "lost", name, { reason });
    case "degraded":
      return said("deaf", "degraded", name, { reason });
    case "waiting":
      return said("unsure", "waiting", name, { reason });
    case "filling":
      return said("unsure", "filling", name, { reason });
    case "untaught":
      return said("unsure", "untaught", name);
  }
  if (state.episode) {
    const episode = device.openEpisode(source.name);
    const since = clock(episode ? new Date(episode.opened) : new Date());
    return { ...said("wrong", "wrong", name, { since }), why: episode ? whyOf(episode) : "" };
  }
  if (state.shelved_until) return said("unsure", "shelved", name, { until: clock(new Date(state.shelved_until)) });
  return state.evidence >= UNUSUAL ? said("watch", "unusual", name) : said("well", "well", name);
}

/** Return words as they begin a sentence: `pump` is a topic, and `Pump` a machine. */
function capital(words) {
  return words.charAt(0).toLocaleUpperCase() + words.slice(1);
}

function said(mood, key, name, values = {}) {
  return {
    mood,
    word: t(`verdict.${key}.word`),
    sentence: t(`verdict.${key}.sentence`, { name, ...values }),
    machine: t(`verdict.${key}.machine`, values),
    microphone: t(`verdict.${key}.microphone`, values),
  };
}

/** Return the worst of all verdicts, and how many there are of it: what one glance has to show. */
export function verdictOfAll() {
  const order = ["wrong", "deaf", "watch", "unsure", "well"];
  const verdicts = device.sources.map(verdictOf);
  const mood = order.find((each) => verdicts.some((verdict) => verdict.mood === each)) ?? "unsure";
  const same = verdicts.filter((verdict) => verdict.mood === mood);
  return verdicts.length === 1 ? verdicts[0] : { mood, word: t(`all.${mood}`, { n: same.length }) };
}

/** Return why an episode was opened: its sentence, if the device has one, or the bands that moved. */
export function whyOf(episode) {
  if (episode.why?.sentence) return `${capital(episode.why.sentence)}.`;
  if (!episode.bands.length) return t("episodes.no_bands");
  return episode.bands
    .slice(0, 3)
    .map((band) =>
      t(band.delta_db > 0 ? "episodes.louder" : "episodes.quieter", {
        from: number(band.hz_lo, 0),
        to: number(band.hz_hi, 0),
        db: number(Math.abs(band.delta_db), 0),
      }),
    )
    .join(", ");
}

/** Return by which evidence an episode was opened, in words. */
export function basisOf(evidence) {
  if (!evidence) return "";
  const stretch = evidence.seconds <= 10 ? t("evidence.newest") : t("evidence.last", { span: span(evidence.seconds) });
  return `${stretch}, ${t(`evidence.${evidence.against}`)}`;
}
