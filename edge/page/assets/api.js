// What the device is asked and told. An error is an Error with the device's own words, or that it does not answer.

import { t } from "./texts.js";

let onLogin = () => {};

/** Have this called when the device asks for a password. */
export function whenLoginIsNeeded(listener) {
  onLogin = listener;
}

export async function get(path) {
  return answerOf(await reached(path, {}));
}

export async function post(path, content = {}) {
  return answerOf(
    await reached(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Earshot": "page" },
      body: JSON.stringify(content),
    }),
  );
}

async function reached(path, options) {
  try {
    return await fetch(path, { ...options, credentials: "same-origin" });
  } catch {
    throw new Error(t("verdict.unreachable.word"));
  }
}

async function answerOf(response) {
  const content = await response.json().catch(() => ({}));
  if (response.ok) return content;
  if (response.status === 401 && !response.url.endsWith("/login")) onLogin();
  throw new Error(content.error ?? `${response.status}`);
}
