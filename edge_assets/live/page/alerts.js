// Alerts that are open, the newest and gravest first, with what a person can do about them; and, folded, the latest
// that have cleared.

import { ask } from "./answer.js";
import { linkTo } from "./card.js";
import { byId, element, icon, put } from "./element.js";
import { span, when } from "./words.js";

export const GRAVITY = { critical: 0, warning: 1, info: 2 };
const MUTES = [[60, "1 h"], [480, "8 h"], [1_440, "1 day"], [10_080, "1 week"]];
const PAST = 20;

export class Alerts {
  constructor(model) {
    this._model = model;
    this._items = new Map();
    setInterval(() => this._ages(), 1_000);
  }

  paint() {
    const all = [...this._model.alerts.values()];
    const open = all.filter((alert) => alert.cleared_at === null).sort(gravest);
    const past = all.filter((alert) => alert.cleared_at !== null).sort((a, b) => b.cleared_at - a.cleared_at).slice(0, PAST);
    this._list(byId("alert-list"), open);
    this._list(byId("past-list"), past);
    for (const id of this._items.keys()) if (!all.some((alert) => alert.alert_id === id)) this._items.delete(id);
    byId("alerts").hidden = open.length + past.length === 0;
    byId("alerts").dataset.open = open.length;
    put(byId("alerts-title"), open.length ? "Open alerts" : "No open alerts");
    byId("past").hidden = past.length === 0;
    put(byId("past-title"), `${past.length} cleared lately`);
    this._count(open);
  }

  _count(open) {
    const waiting = open.filter((alert) => alert.acknowledged_at === null && !alert.muted);
    const pill = byId("alert-count");
    pill.hidden = open.length === 0;
    put(pill, `${open.length} open ${open.length === 1 ? "alert" : "alerts"}`);
    pill.dataset.severity = waiting[0]?.severity ?? "seen";
    document.title = `${waiting.length ? `(${waiting.length}) ` : ""}${this._model.site || "edge"} · live`;
  }

  _list(list, alerts) {
    const wanted = alerts.map((alert) => this._item(alert).element);
    if (wanted.length !== list.children.length || wanted.some((one, place) => list.children[place] !== one)) list.replaceChildren(...wanted);
  }

  _item(alert) {
    let item = this._items.get(alert.alert_id);
    if (!item) this._items.set(alert.alert_id, (item = new Item(this._model)));
    item.show(alert);
    return item;
  }

  _ages() {
    if (!document.hidden) for (const item of this._items.values()) item.age();
  }
}

class Item {
  constructor(model) {
    this._model = model;
    this._sign = element("span", { class: "severity" });
    this._message = element("p", { class: "alert-message" });
    this._device = element("a", {});
    this._since = element("span", { "aria-live": "off" });
    this._state = element("span", { class: "alert-state" });
    this._problem = element("p", { class: "problem", role: "alert", hidden: "" });
    this._acknowledge = element("button", { type: "button", class: "act" }, "Acknowledge");
    this._mute = element("button", { type: "button", class: "act plain", "aria-expanded": "false" }, "Mute…");
    this._mutes = element("span", { class: "mutes", role: "group", "aria-label": "Mute for", hidden: "" });
    this._mutes.append("for ", ...MUTES.map(([minutes, word]) => this._muteFor(minutes, word)));
    this._actions = element("div", { class: "alert-actions" }, this._acknowledge, this._mute, this._mutes);
    this._acknowledge.addEventListener("click", () => this._send(this._acknowledge, this._path("acknowledge"), { by: "live page" }));
    this._mute.addEventListener("click", () => this._unfold(this._mutes.hidden));
    const about = element("p", { class: "alert-about" }, this._device, this._since, this._state);
    this.element = element("li", { class: "alert" }, this._sign, element("div", { class: "alert-text" }, this._message, about, this._problem), this._actions);
  }

  show(alert) {
    this._alert = alert;
    const severity = Object.hasOwn(GRAVITY, alert.severity) ? alert.severity : "warning";
    if (this.element.dataset.severity !== severity) {
      this.element.dataset.severity = severity;
      this._sign.replaceChildren(icon(severity), element("span", { class: "severity-word" }, severity));
    }
    put(this._message, alert.message);
    const key = `${alert.kind}:${alert.device_id}`;
    put(this._device, this._model.devices.get(key)?.name || alert.device_name || alert.device_id);
    this._device.href = linkTo(key);
    const open = alert.cleared_at === null;
    put(this._state, [alert.acknowledged_at !== null && "acknowledged", alert.muted && "muted"].filter(Boolean).join(", "));
    this.element.dataset.seen = String(alert.acknowledged_at !== null || alert.muted);
    this._actions.hidden = !open;
    this._acknowledge.hidden = alert.acknowledged_at !== null;
    this._mute.hidden = alert.muted;
    if (alert.muted) this._unfold(false);
    this.age();
  }

  age() {
    const { since, cleared_at: cleared } = this._alert;
    const now = this._model.now();
    const words = cleared === null ? `since ${when(since, now)}, ${span(now - since)}` : `cleared ${when(cleared, now)}, after ${span(cleared - since)}`;
    put(this._since, words);
  }

  _path(action) {
    return `api/v1/alerts/${encodeURIComponent(this._alert.alert_id)}/${action}`;
  }

  _muteFor(minutes, word) {
    const button = element("button", { type: "button", class: "act plain" }, word);
    button.addEventListener("click", () => {
      const { rule, device_id: device } = this._alert;
      this._send(button, "api/v1/alerts/mute", { rule, device: exactly(device), minutes });
    });
    return button;
  }

  _unfold(open) {
    this._mutes.hidden = !open;
    this._mute.setAttribute("aria-expanded", String(open));
  }

  /** The answer to what is asked here comes as a frame to everybody who looks; a refusal is shown in its place. */
  async _send(button, path, body) {
    button.disabled = true;
    this._problem.hidden = true;
    try {
      await ask(path, { body });
    } catch (error) {
      put(this._problem, `That did not work: ${error.message}`);
      this._problem.hidden = false;
    } finally {
      button.disabled = false;
    }
  }
}

/** A name as a pattern that nothing else fits. */
function exactly(name) {
  return name.replace(/[*?[]/g, "[$&]");
}

function gravest(a, b) {
  const calm = (alert) => Number(alert.acknowledged_at !== null || alert.muted);
  return calm(a) - calm(b) || GRAVITY[a.severity] - GRAVITY[b.severity] || b.since - a.since || a.alert_id.localeCompare(b.alert_id);
}
