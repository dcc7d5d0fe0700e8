// All that is said, out of one file a language: texts/en.json. A language that is not there is English.

let texts = {};
let language = "en";

const LANGUAGES = ["en"];

export async function loadTexts() {
  language = LANGUAGES.find((each) => navigator.language.startsWith(each)) ?? "en";
  texts = await (await fetch(`/texts/${language}.json`)).json();
  document.documentElement.lang = language;
}

/** Return a text by its dotted key, with `{name}` filled in; the key itself where nobody has written it. */
export function t(key, values = {}) {
  const text = key.split(".").reduce((at, step) => at?.[step], texts);
  if (typeof text !== "string") return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Whether there is such a text. */
export function has(key) {
  return typeof key.split(".").reduce((at, step) => at?.[step], texts) === "string";
}

export function number(value, digits = 1) {
  return value === null || value === undefined
    ? "–"
    : new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

export function clock(time) {
  return new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hour12: false }).format(time);
}

export function day(time) {
  return new Intl.DateTimeFormat(language, { weekday: "short", day: "numeric", month: "short" }).format(time);
}

/** Return when it was: only the time today, else with its day. */
export function moment(time) {
  const at = new Date(time);
  return at.toDateString() === new Date().toDateString() ? clock(at) : `${day(at)}, ${clock(at)}`;
}

/** Return when it was, always with its day. */
export function dated(time) {
  return `${day(time)}, ${clock(time)}`;
}

/** Return how long something is, in the largest unit that fits. */
export function span(seconds) {
  for (const [unit, size, digits] of [["hours", 3600, 1], ["minutes", 60, 0]]) {
    if (seconds >= size * (unit === "minutes" ? 2 : 1.5)) return t(`span.${unit}`, { n: number(seconds / size, digits) });
  }
  return t("span.seconds", { n: number(seconds, seconds < 10 && seconds % 1 ? 1 : 0) });
}

export function hz(value) {
  return value >= 1000 ? `${number(value / 1000, 1)} kHz` : `${number(value, 0)} Hz`;
}
