// One device in full: a chart for each measurement over a range of time, and a table of what else it says. What is open
// is in the address (`#device=…&range=…`), so that it can be sent to somebody.

import { linkTo } from "./card.js";
import { Chart, RANGES } from "./chart.js";
import { byId, element, put } from "./element.js";
import { charted, ordered } from "./shape.js";
import { age, said, title, when } from "./words.js";

const DRAWS_REST = 200;
const USUAL = "6h";

export class Detail {
  constructor(model) {
    this._model = model;
    this._charts = new Map();
    this._due = new Set();
    this._rows = new Map();
    this._range = USUAL;
    this._box = byId("detail");
    this._chips = [...RANGES].map(([range, { word }]) => this._chip(range, word));
    this._watcher = new IntersectionObserver((entries) => this._looked(entries), { root: byId("detail-body"), rootMargin: "150px" });
    byId("detail-close").addEventListener("click", () => this._box.close());
    this._box.addEventListener("close", () => this._left());
    this._box.addEventListener("click", (event) => event.target === this._box && this._box.close());
    addEventListener("hashchange", () => this.follow());
    setInterval(() => this._second(), 1_000);
  }

  /** Opens, changes or closes by what the address says. */
  follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const [key, range] = [asked.get("device"), asked.get("range")];
    if (!key) {
      if (this._box.open) this._box.close();
      return;
    }
    this._wanted = key;
    if (RANGES.has(range)) this._range = range;
    if (this._model.devices.has(key)) this._open(key);
    else if (this._model.connection === "live") this._unknown(key);
  }

  paint(news) {
    if (this._wanted && this._wanted !== this._key && this._model.devices.has(this._wanted)) this._open(this._wanted);
    if (!this._key) return;
    if (news.devices.has(this._key)) this._describe();
    for (const measurement of news.values.get(this._key)?.keys() ?? []) {
      const chart = this._charts.get(measurement);
      chart?.latest();
      if (chart && RANGES.get(this._range).tail && !chart.zoom) this._due.add(chart);
      this._row(measurement);
    }
    if (this._due.size) this._timer ??= setTimeout(() => requestAnimationFrame(() => this._drawDue()), DRAWS_REST);
  }

  /** After the theme has changed. */
  recolour() {
    for (const chart of this._charts.values()) chart.recolour();
  }

  /** The connection is there again: what could not be read is asked for anew. */
  refresh() {
    for (const chart of this._charts.values()) chart.again();
  }

  _open(key) {
    if (this._key !== key) {
      this._empty();
      this._key = key;
      this._describe();
      byId("detail-body").scrollTop = 0;
    } else this._show();
    put(byId("detail-note"), "");
    for (const { range, button } of this._chips) button.setAttribute("aria-pressed", String(range === this._range));
    if (!this._box.open) this._box.showModal();
  }

  _unknown(key) {
    this._empty();
    put(byId("detail-name"), key);
    put(byId("detail-about"), "No device of that name has been heard of since the server started.");
    if (!this._box.open) this._box.showModal();
  }

  _describe() {
    const device = this._model.devices.get(this._key);
    if (!device) {
      put(byId("detail-note"), "This device was removed.");
      return;
    }
    put(byId("detail-name"), device.name);
    const numeric = [...device.measurements].filter(([name, its]) => charted(name, its)).map(([name]) => name);
    for (const name of ordered(device, numeric)) if (!this._charts.has(name)) this._add(name);
    for (const name of [...device.measurements.keys()].sort()) this._row(name);
    byId("others").hidden = this._rows.size === 0;
    this._about(device);
  }

  _about(device) {
    const seen = device.last_seen === null ? "not heard yet" : `last seen ${age(this._model.now() - device.last_seen)}`;
    const state = device.available === false ? "offline" : device.stale ? "stale" : "";
    const make = [device.vendor, device.model].filter(Boolean).join(" ");
    put(byId("detail-about"), [state, make, device.id, seen].filter((word) => word && word !== device.name).join(" · "));
    this._box.dataset.state = state || "ok";
  }

  _add(name) {
    const chart = new Chart(this._model, this._key, name, this._range);
    chart.onZoom = (stretch) => this._zoom(stretch);
    this._charts.set(name, chart);
    byId("charts").append(chart.element);
    this._watcher.observe(chart.element);
    return chart;
  }

  /** A measurement without a chart of its own: settings, texts, counters of a bridge. */
  _row(name) {
    if (this._charts.has(name)) return;
    const device = this._model.devices.get(this._key);
    const its = device.measurements.get(name);
    let value = this._rows.get(name);
    if (!value) {
      value = element("td", {});
      const draw = element("td", {});
      const row = element("tr", {}, element("th", { scope: "row" }, title(name)), value, draw);
      if (typeof its.value === "number") draw.append(this._drawer(name, row));
      this._rows.set(name, value);
      byId("others-rows").append(row);
    }
    const { text, unit } = said(name, device.kind, its);
    put(value, `${text} ${unit}`.trim());
    value.title = its.at === null ? "" : when(its.at, this._model.now());
  }

  _drawer(name, row) {
    const button = element("button", { type: "button", class: "act plain" }, "Chart");
    button.addEventListener("click", () => {
      row.remove();
      this._rows.delete(name);
      const chart = this._add(name);
      chart.element.scrollIntoView({ block: "center" });
    });
    return button;
  }

  _chip(range, word) {
    const button = element("button", { type: "button", class: "chip" }, word);
    button.addEventListener("click", () => {
      this._range = range;
      history.replaceState(null, "", linkTo(this._key, range));
      this._open(this._key);
    });
    byId("ranges").append(button);
    return { range, button };
  }

  _show() {
    for (const chart of this._charts.values()) chart.show(this._range);
  }

  _zoom(stretch) {
    const now = this._model.now();
    put(byId("detail-note"), `${when(stretch[0], now)} to ${when(stretch[1], now)}; a range above goes back`);
    for (const { button } of this._chips) button.setAttribute("aria-pressed", "false");
    for (const chart of this._charts.values()) chart.show(this._range, stretch);
  }

  _looked(entries) {
    for (const { target, isIntersecting } of entries) {
      for (const chart of this._charts.values()) if (chart.element === target) chart.seen(isIntersecting);
    }
  }

  _drawDue() {
    this._timer = undefined;
    for (const chart of this._due) chart.draw();
    this._due.clear();
  }

  _second() {
    const device = this._key && this._model.devices.get(this._key);
    if (!device || document.hidden) return;
    this._about(device);
    if (this._range === "live") for (const chart of this._charts.values()) chart.draw();
  }

  _left() {
    this._empty();
    this._wanted = undefined;
    if (location.hash) history.pushState(null, "", location.pathname + location.search);
  }

  _empty() {
    for (const chart of this._charts.values()) chart.remove();
    this._watcher.disconnect();
    this._charts.clear();
    this._due.clear();
    this._rows.clear();
    byId("others-rows").replaceChildren();
    this._key = undefined;
  }
}
