// The frame around the views: which one is shown, what stands above it, and what is said aloud.

import { get, whenLoginIsNeeded } from "./api.js";
import { device } from "./device.js";
import { fill, h, say, svg } from "./dom.js";
import { loadTexts, t } from "./texts.js";
import { verdictOfAll } from "./verdict.js";
import { enrolment } from "./views/enrolment.js";
import { episodes } from "./views/episodes.js";
import { history } from "./views/history.js";
import { login } from "./views/login.js";
import { now } from "./views/now.js";
import { settings } from "./views/settings.js";
import { threshold } from "./views/threshold.js";

const VIEWS = { now, episodes, history, threshold, enrolment, settings };

const ICONS = {
  now: "M3 12h3l2-6 4 13 3-10 2 3h4",
  episodes: "M12 4a5 5 0 0 1 5 5v4l2 3H5l2-3V9a5 5 0 0 1 5-5zM10 19h4",
  history: "M4 19V5M4 19h16M7 14l4-4 3 3 5-6",
  threshold: "M4 7h10M18 7h2M4 17h2M10 17h10M14 4.5v5M6 14.5v5",
  enrolment: "M12 3v11M9 6v5a3 3 0 0 0 6 0V6a3 3 0 0 0-6 0zM6 11a6 6 0 0 0 12 0M12 17v4",
  settings: "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.6l2.1 2.1M16.3 16.3l2.1 2.1M18.4 5.6l-2.1 2.1M7.7 16.3l-2.1 2.1",
};

let leave = () => {};
let started = false;

async function start() {
  await loadTexts();
  say(document.getElementById("skip"), t("frame.skip"));
  const picker = document.getElementById("picker");
  say(picker.querySelector("span"), t("frame.source"));
  picker.querySelector("select").addEventListener("change", (event) => device.choose(event.target.value));
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("view").focus();
  });
  document.getElementById("views").setAttribute("aria-label", t("frame.views"));
  whenLoginIsNeeded(() => show(login, "login"));
  device.addEventListener("change", drawFrame);
  addEventListener("hashchange", route);
  const session = await get("/api/session");
  if (session.password && !session.in) show(login, "login");
  else await enter();
}

/** Begin to watch, once somebody is let in. */
export async function enter() {
  if (!started) await device.start();
  started = true;
  const { password } = await get("/api/session");
  document.body.dataset.password = password;
  route();
}

function route() {
  if (!started) return;
  const name = location.hash.slice(1).split("/")[0];
  const chosen = VIEWS[name] ? name : "now";
  show(VIEWS[chosen], chosen);
}

/** Show a view: a function that fills an element and returns what is to be done when it is left. */
function show(view, name) {
  leave();
  const main = document.getElementById("view");
  main.dataset.view = name;
  document.title = `${t(`views.${name}`)} · Earshot`;
  const heading = h("h1", { text: t(`views.${name}`), tabindex: "-1" });
  fill(main, heading);
  leave = view(main, { enter }) ?? (() => {});
  drawViews(name);
  if (started) heading.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function drawViews(current) {
  const links = Object.keys(VIEWS).map((name) =>
    h(
      "a",
      { href: `#${name}`, "aria-current": name === current ? "page" : null },
      svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] })),
      h("span", { text: t(`views.${name}`) }),
    ),
  );
  const nav = document.getElementById("views");
  nav.hidden = current === "login";
  fill(nav, links);
}

function drawFrame() {
  say(document.getElementById("node"), device.health?.node ?? "");
  const picker = document.getElementById("picker");
  picker.hidden = device.sources.length < 2;
  const names = device.sources.map((source) => source.title ?? source.name).join("\n");
  const select = picker.querySelector("select");
  if (select.dataset.names !== names) {
    select.dataset.names = names;
    fill(select, device.sources.map((source) => h("option", { value: source.name, text: source.title ?? source.name })));
  }
  select.value = device.chosen;
  const { mood, word } = verdictOfAll();
  const badge = document.getElementById("verdict");
  badge.dataset.mood = mood;
  say(badge, word);
  announce(word);
}

/** Say aloud what has become of the whole, when that is something else than before. */
function announce(word) {
  say(document.getElementById("announcer"), word);
}

start().catch((error) => {
  fill(document.getElementById("view"), h("p", { class: "trouble", role: "alert", text: error.message }));
});
