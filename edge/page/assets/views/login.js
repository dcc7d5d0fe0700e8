// The way in, where there is a password.

import { post } from "../api.js";
import { h, say } from "../dom.js";
import { t } from "../texts.js";

export function login(main, { enter }) {
  const input = h("input", { id: "password", type: "password", autocomplete: "current-password", required: true, maxlength: 256 });
  // Browsers keep a password beside a name; there is one account here.
  const name = h("input", { type: "text", autocomplete: "username", value: "earshot", hidden: true });
  const trouble = h("p", { class: "trouble", role: "alert" });
  const send = h("button", { type: "submit", class: "primary", text: t("login.enter") });
  const form = h("form", { class: "card login" }, h("label", { for: "password", text: t("login.password") }), name, input, send, trouble);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      await post("/api/login", { password: input.value });
      await enter();
    } catch (error) {
      say(trouble, error.message);
      input.select();
    } finally {
      send.disabled = false;
    }
  });
  main.append(form);
  setTimeout(() => input.focus());
}
