import { h } from "../dom.js";
import { t } from "../texts.js";

export function history(main) {
  main.append(h("p", { class: "empty", text: t("history.none") }));
}
