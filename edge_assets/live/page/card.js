// One device's card: made once, and then touched only where something has changed.

import { element, icon, put } from "./element.js";
import { implausible } from "./model.js";
import { shape } from "./shape.js";
import { Sparkline } from "./sparkline.js";
import { age, moment, pair, said, span, title } from "./words.js";

const GLOW = { duration: 1_100, easing: "ease-out" };
/** What changes all the time glows now and then; its curve shows the rest. */
const GLOW_REST = 4_000;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let serial = 0;

export class Card {
  constructor(model, key) {
    this._model = model;
    this._key = key;
    this._values = new Map(); // measurement → its place in the card
    this._layout = "";
    const id = `device-${++serial}`;
    this.link = element("a", { id, href: linkTo(key) });
    this._badge = element("span", { class: "badge" });
    this._about = element("p", { class: "model" });
    this._mains = element("div", { class: "mains" });
    this._facts = element("ul", { class: "facts" });
    this._seen = element("span", { class: "seen" });
    this._small = element("span", { class: "small" });
    this.element = element(
      "article",
      { class: "card", "aria-labelledby": id },
      element("div", { class: "card-head" }, element("h3", {}, this.link), this._badge),
      this._about,
      this._mains,
      this._facts,
      element("p", { class: "card-foot" }, this._seen, this._small),
    );
    this.describe();
  }

  get device() {
    return this._model.devices.get(this._key);
  }

  /** Everything that the device itself tells: name, state, which measurements there are. */
  describe() {
    const { device } = this;
    put(this.link, device.name);
    put(this._about, [device.vendor, device.model].filter(Boolean).join(" "));
    this._about.hidden = this._about.textContent === "";
    this._arrange(device);
    for (const measurement of this._values.keys()) this.value(measurement, false);
    this._footer(device);
    this.state();
  }

  state(alert) {
    if (alert !== undefined) this._alert = alert;
    const { device } = this;
    const word = device.available === false ? "offline" : device.stale ? "stale" : this._alert ? "alert" : "";
    this.element.dataset.state = word || "ok";
    if (this._alert) this.element.dataset.severity = this._alert;
    else delete this.element.dataset.severity;
    put(this._badge, word === "alert" ? this._alert : word);
    this._badge.title = stateHint(word, device);
    this.age();
  }

  age() {
    const { device } = this;
    const ago = device.last_seen === null ? "not heard yet" : age(this._model.now() - device.last_seen);
    put(this._seen, ago);
    if (this._seen.dataset.at !== String(device.last_seen)) {
      this._seen.dataset.at = device.last_seen;
      this._seen.title = device.last_seen === null ? "" : `Last seen ${moment(device.last_seen)}`;
    }
  }

  /** Shows a measurement's latest value; `news`: it has just become another, and glows for a moment. */
  value(measurement, news) {
    const { device } = this;
    if (FOOTER.has(measurement)) this._footer(device);
    const place = this._values.get(measurement);
    if (!place) return;
    const its = device.measurements.get(measurement);
    const { text, unit } = said(measurement, device.kind, its);
    const seen = place.text.textContent !== text;
    put(place.text, text);
    put(place.unit, unit);
    const odd = implausible(its.quality);
    place.box.classList.toggle("implausible", odd);
    if (odd) place.box.title = "not plausible: left out of curves and averages";
    else if (place.box.title) place.box.removeAttribute("title");
    place.spark?.changed(its.unit);
    if (news && seen) this._glow(place);
  }

  remove() {
    for (const { spark } of this._values.values()) spark?.remove();
    this.element.remove();
  }

  matches(words) {
    const { device } = this;
    const text = `${device.name} ${device.model ?? ""} ${device.vendor ?? ""} ${device.id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  }

  _arrange(device) {
    const [main, facts] = shape(device);
    this._mains.classList.toggle("nothing", main.length === 0);
    const layout = JSON.stringify([main, facts]);
    if (layout === this._layout) return;
    this._layout = layout;
    for (const { spark } of this._values.values()) spark?.remove();
    this._values.clear();
    this._mains.replaceChildren(...main.map((name) => this._main(device, name)));
    if (main.length === 0) put(this._mains, "No value yet");
    this._facts.replaceChildren(...facts.map((name) => this._fact(name)));
    this._facts.hidden = facts.length === 0;
  }

  _main(device, name) {
    const text = element("span", { class: "figure" });
    const unit = element("span", { class: "unit" });
    const spark = new Sparkline(name, device.kind, () => this._model.lastPoints(this._key, name));
    const box = element("p", { class: "value" }, text, unit);
    this._values.set(name, { name, text, unit, box, spark, glowed: -GLOW_REST });
    return element("div", { class: "main" }, element("p", { class: "label" }, title(name)), box, spark.canvas);
  }

  _fact(name) {
    const text = element("span", {});
    const unit = element("span", { class: "unit" });
    const box = element("span", { class: "fact-value" }, text, unit);
    this._values.set(name, { name, text, unit, box, glowed: -GLOW_REST });
    return element("li", {}, element("span", { class: "label" }, title(name)), box);
  }

  _footer(device) {
    const of = (name) => device.measurements.get(name)?.value;
    const parts = [];
    const [battery, low, link] = [of("battery"), of("battery_low"), of("linkquality")];
    if (typeof battery === "number") parts.push(["battery", `${Math.round(battery)} %`, "Battery", low === 1 || battery <= 15]);
    else if (low === 1) parts.push(["battery", "low", "Battery", true]);
    if (typeof link === "number") parts.push(["link", String(Math.round(link)), "Link quality", false]);
    if (of("tamper") === 1) parts.push(["warning", "tampered", "Tamper", true]);
    const written = JSON.stringify(parts);
    if (written === this._written) return;
    this._written = written;
    this._small.replaceChildren(...parts.map(([sign, text, label, bad]) =>
      element("span", { class: bad ? "low" : undefined, title: label }, icon(sign, label), text)));
  }

  _glow(place) {
    const now = performance.now();
    if (calm.matches || now - place.glowed < (pair(place.name, this.device.kind) ? 0 : GLOW_REST) || (place.spark && !place.spark.visible)) return;
    place.glowed = now;
    const [from, to] = ["var(--glow)", "transparent"].map((backgroundColor) => ({ backgroundColor }));
    place.box.animate([from, to], GLOW);
  }
}

const FOOTER = new Set(["battery", "battery_low", "linkquality", "tamper"]);

export function linkTo(key, range) {
  return `#${new URLSearchParams(range ? { device: key, range } : { device: key })}`;
}

function stateHint(word, device) {
  if (word === "stale" && device.cadence_seconds) return `Silent; it usually speaks every ${span(device.cadence_seconds * 1000)}`;
  return { stale: "Silent for longer than usual", offline: "Its network says that it cannot be reached" }[word] ?? "";
}
