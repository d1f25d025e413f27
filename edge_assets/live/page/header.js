// The line above everything: the place, how the connection is, the time, the theme.

import { byId, put } from "./element.js";
import { clock } from "./words.js";

const THEMES = { auto: "as the system", light: "light", dark: "dark" };

export class Header {
  /** `onTheme()` after the theme has changed, by the switch or by the system. */
  constructor(model, onTheme) {
    this._model = model;
    this._onTheme = onTheme;
    byId("theme").addEventListener("click", () => this._nextTheme());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onTheme);
    this._sayTheme();
    this._tick();
  }

  paint() {
    const { connection, broker, site } = this._model;
    const state = connection === "live" && !broker ? "broker" : connection;
    const words = { connecting: "connecting…", live: "live", reconnecting: "reconnecting…", broker: "broker away" };
    document.documentElement.dataset.connection = state;
    byId("connection").dataset.state = state;
    put(byId("connection-word"), words[state]);
    put(byId("site"), site || "edge");
    this._notice(state);
  }

  /** Told once an outage, with the time since when the figures below are old. */
  _notice(state) {
    const notice = byId("notice");
    const old = state === "reconnecting" || state === "broker";
    notice.hidden = !old || this._model.lastFrameAt === null;
    if (!old) this._since = undefined;
    else if (this._since !== state) {
      this._since = state;
      const since = clock(this._model.lastFrameAt ?? Date.now());
      put(notice, state === "broker"
        ? `The server is there, but has lost the MQTT broker; what you see is from ${since} and before.`
        : `The server does not answer; what you see is from ${since} and before. Trying again…`);
    }
  }

  _theme() {
    return document.documentElement.dataset.theme ?? "auto";
  }

  _nextTheme() {
    const all = Object.keys(THEMES);
    const next = all[(all.indexOf(this._theme()) + 1) % all.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("edge.theme", next);
    } catch {
      // for this visit then
    }
    this._sayTheme();
    this._onTheme();
  }

  _sayTheme() {
    const theme = this._theme();
    byId("theme-icon").setAttribute("href", `icons.svg#${theme}`);
    put(byId("theme-word"), `Theme: ${THEMES[theme]}`);
    byId("theme").title = `Theme: ${THEMES[theme]}`;
  }

  /** On the second, by the server's clock: a phone's own may be wrong. */
  _tick() {
    const now = this._model.now();
    put(byId("clock"), clock(now));
    setTimeout(() => this._tick(), 1_000 - (now % 1_000) + 5);
  }
}
