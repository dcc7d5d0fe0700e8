// The device as this page knows it: what it said first, and what it has said since. Views listen to it.

import { get } from "./api.js";

const REFRESH_MILLISECONDS = 10_000;

class Device extends EventTarget {
  health = null;
  sources = [];
  episodes = [];
  chosen = null;
  reachable = true;
  #stream = null;
  #timer = null;

  /** Ask how everything is, and watch the source that is chosen. */
  async start() {
    await this.refresh();
    this.choose(sessionStorage.getItem("source") ?? this.sources[0]?.name);
    this.#timer ??= setInterval(() => document.hidden || this.refresh().catch(() => {}), REFRESH_MILLISECONDS);
    document.addEventListener("visibilitychange", () => {
      this.#watch();
      if (!document.hidden) this.refresh().catch(() => {});
    });
  }

  async refresh() {
    try {
      const [now, episodes] = await Promise.all([get("/api/now"), get("/api/episodes")]);
      this.episodes = episodes;
      this.health = now.health;
      this.sources = now.sources;
      this.reachable = true;
    } catch (error) {
      this.reachable = false;
      throw error;
    } finally {
      this.#tell("change");
    }
  }

  /** Watch this source from now on. */
  choose(name) {
    this.chosen = this.sources.some((source) => source.name === name) ? name : (this.sources[0]?.name ?? null);
    if (this.chosen) sessionStorage.setItem("source", this.chosen);
    this.#watch();
    this.#tell("chosen");
    this.#tell("change");
  }

  get source() {
    return this.sources.find((source) => source.name === this.chosen) ?? null;
  }

  /** The newest episode of a source that is open, if there is one. */
  openEpisode(name) {
    return this.episodes.find((episode) => episode.source === name && episode.open) ?? null;
  }

  /** Nobody looks while the page is hidden: then nothing is counted for it. */
  #watch() {
    this.#stream?.close();
    this.#stream = null;
    if (document.hidden || !this.chosen) return;
    const stream = new EventSource(`/api/sources/${encodeURIComponent(this.chosen)}/stream`);
    stream.addEventListener("state", (event) => this.#onState(JSON.parse(event.data)));
    stream.addEventListener("columns", (event) => this.#tell("columns", JSON.parse(event.data)));
    stream.addEventListener("health", (event) => this.#onHealth(JSON.parse(event.data)));
    stream.addEventListener("event", () => this.refresh().catch(() => {}));
    stream.addEventListener("open", () => this.#onReached(true));
    stream.addEventListener("error", () => this.#onReached(false));
    this.#stream = stream;
  }

  #onState(state) {
    const source = this.sources.find((each) => each.name === state.source);
    if (source) source.state = state;
    if (state.source === this.chosen) this.#tell("state", state);
    this.#tell("change");
  }

  #onHealth(health) {
    this.health = health;
    this.#tell("change");
  }

  #onReached(reachable) {
    if (this.reachable === reachable) return;
    this.reachable = reachable;
    if (reachable) this.refresh().catch(() => {});
    else this.#tell("change");
  }

  #tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

export const device = new Device();
