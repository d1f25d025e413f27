// All cards, in their groups, and which of them the search and the chips let through.

import { GRAVITY } from "./alerts.js";
import { Card } from "./card.js";
import { byId, element, icon, put } from "./element.js";
import { GROUPS } from "./shape.js";

const names = new Intl.Collator(undefined, { numeric: true });

export class Cards {
  constructor(model) {
    this._model = model;
    this._cards = new Map();
    this._sections = new Map(GROUPS.map(([group, word]) => [group, section(group, word)]));
    this._words = [];
    this._group = "";
    for (const { box } of this._sections.values()) byId("cards").append(box);
    this._chips = [["", "All"], ...GROUPS].map(([group, word]) => this._chip(group, word));
    byId("filter").addEventListener("input", (event) => this._find(event.target.value));
    setInterval(() => this._ages(), 1_000);
  }

  /** What has changed, in one frame of the screen. */
  paint(news) {
    for (const key of news.devices) this._describe(key);
    for (const [key, measurements] of news.values) {
      const card = this._cards.get(key);
      if (!card) continue;
      for (const [measurement, changed] of measurements) card.value(measurement, changed);
      card.age();
    }
    if (news.alerts || news.devices.size) this._mark();
    if (news.order) this._order();
  }

  _describe(key) {
    const card = this._cards.get(key);
    if (!this._model.devices.has(key)) {
      card?.remove();
      this._cards.delete(key);
    } else if (card) card.describe();
    else this._cards.set(key, new Card(this._model, key));
  }

  /** Cards whose device has an alert that is open. */
  _mark() {
    const worst = new Map();
    for (const alert of this._model.alerts.values()) {
      const key = `${alert.kind}:${alert.device_id}`;
      const graver = !worst.has(key) || GRAVITY[alert.severity] < GRAVITY[worst.get(key)];
      if (alert.cleared_at === null && !alert.muted && graver) worst.set(key, alert.severity);
    }
    for (const [key, card] of this._cards) card.state(worst.get(key) ?? null);
  }

  /** Each card in its group, by name. Only those move that are in the wrong place. */
  _order() {
    const sorted = [...this._model.devices.values()].sort((a, b) => names.compare(a.name, b.name) || names.compare(a.key, b.key));
    for (const [group, { grid }] of this._sections) {
      let place = grid.firstChild;
      for (const device of sorted) {
        if ((this._sections.has(device.group) ? device.group : "other") !== group) continue;
        const { element: card } = this._cards.get(device.key);
        if (card === place) place = place.nextSibling;
        else grid.insertBefore(card, place);
      }
    }
    this._filter();
  }

  _find(text) {
    this._words = text.toLowerCase().split(/\s+/).filter(Boolean);
    this._filter();
  }

  _chip(group, word) {
    const count = element("span", { class: "count" });
    const button = element("button", { type: "button", class: "chip", "aria-pressed": String(group === "") }, word, " ", count);
    button.addEventListener("click", () => {
      this._group = group;
      for (const chip of this._chips) chip.button.setAttribute("aria-pressed", String(chip.group === group));
      this._filter();
    });
    byId("chips").append(button);
    return { group, button, count };
  }

  _filter() {
    const shown = new Map();
    const all = new Map();
    for (const card of this._cards.values()) {
      const group = this._sections.has(card.device.group) ? card.device.group : "other";
      const found = card.matches(this._words);
      card.element.hidden = !found;
      all.set(group, (all.get(group) ?? 0) + 1);
      if (found) shown.set(group, (shown.get(group) ?? 0) + 1);
    }
    for (const [group, { box, count }] of this._sections) {
      box.hidden = !shown.has(group) || (this._group !== "" && this._group !== group);
      put(count, String(shown.get(group) ?? 0));
    }
    for (const { group, button, count } of this._chips) {
      button.hidden = group !== "" && !all.has(group);
      put(count, String(group === "" ? this._cards.size : all.get(group) ?? 0));
    }
    this._nothing(shown);
  }

  _nothing(shown) {
    const visible = this._group === "" ? shown.size > 0 : shown.has(this._group);
    byId("empty").hidden = visible;
    byId("tools").hidden = this._cards.size === 0;
    put(byId("empty"), this._cards.size ? "No device of that name here." : "Waiting for the first word of a device…");
    put(byId("count"), this._cards.size === 1 ? "1 device" : `${this._cards.size} devices`);
  }

  _ages() {
    if (!document.hidden) for (const card of this._cards.values()) card.age();
  }
}

function section(group, word) {
  const id = `group-${group}`;
  const count = element("span", { class: "count" });
  const grid = element("div", { class: "grid" });
  const heading = element("h2", { id }, icon(group), word, " ", count);
  const box = element("section", { class: "group", "aria-labelledby": id, hidden: "" }, heading, grid);
  return { box, grid, count };
}
