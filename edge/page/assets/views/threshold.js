import { h } from "../dom.js";
import { t } from "../texts.js";

export function threshold(main) {
  main.append(h("p", { class: "empty", text: t("threshold.none") }));
}
