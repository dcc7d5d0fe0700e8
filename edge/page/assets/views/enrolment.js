import { h } from "../dom.js";
import { t } from "../texts.js";

export function enrolment(main) {
  main.append(h("p", { class: "empty", text: t("enrolment.none") }));
}
