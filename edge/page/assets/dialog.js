// A question that stands before everything else until it is answered, or put away with Escape.

import { h } from "./dom.js";
import { t } from "./texts.js";

/** Ask; return the answer, null if they went away. body: given what takes the answer, returns what is asked for. */
export function ask(title, words, body) {
  return new Promise((resolve) => {
    const done = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", class: "dialog" }, h("h2", { id: "dialog-title", text: title }), h("p", { text: words }), body(done));
    dialog.addEventListener("cancel", () => done(null));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Return a button that goes away without an answer. */
export function cancel(done) {
  return h("button", { type: "button", class: "plain", text: t("commands.cancel"), on: { click: () => done(null) } });
}

/** Return whether a person does want it. yes: what the button says that does it. */
export async function isSure(title, words, yes) {
  const answer = await ask(title, words, (done) => h("div", { class: "actions" }, h("button", { type: "button", class: "primary", text: yes, on: { click: () => done(true) } }), cancel(done)));
  return answer === true;
}
