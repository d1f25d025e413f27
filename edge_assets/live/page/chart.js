// One measurement over a range of time: its average as a line, from least to most as a band, by dygraphs. History comes
// from the API, the last minutes from what was heard live.

import { ask } from "./answer.js";
import { element, put } from "./element.js";
import { palette, spanOf } from "./sparkline.js";
import { number, pair, said, tick, title, when } from "./words.js";

const HOUR = 3_600_000;
/** Range → its length; `tail`: live points go on behind the history. */
export const RANGES = new Map([
  ["live", { word: "Live", ms: 10 * 60_000, tail: true }],
  ["1h", { word: "1 h", ms: HOUR, tail: true }],
  ["6h", { word: "6 h", ms: 6 * HOUR, tail: true }],
  ["24h", { word: "24 h", ms: 24 * HOUR, tail: true }],
  ["7d", { word: "7 d", ms: 168 * HOUR }],
  ["30d", { word: "30 d", ms: 720 * HOUR }],
  ["1y", { word: "1 y", ms: 8_760 * HOUR }],
]);
/** A line is broken where nothing was said for so many buckets, or so many times the device's usual pause. */
const SILENT_BUCKETS = 6;
const SILENT_PAUSES = 6;

// Annotations and the legend write styles into the page's text, which its policy forbids, and are not used here.
Dygraph.addedAnnotationCSS = true;
Dygraph.PLUGINS = Dygraph.PLUGINS.filter((one) => one !== Dygraph.Plugins.Legend && one !== Dygraph.Plugins.Annotations);

export class Chart {
  constructor(model, key, measurement, range) {
    Object.assign(this, { measurement, visible: false });
    this._model = model;
    this._key = key;
    this._rows = [];
    this._value = element("span", { class: "figure" });
    this._unit = element("span", { class: "unit" });
    this._readout = element("p", { class: "readout" });
    this._plot = element("div", { class: "plot" });
    this._message = element("p", { class: "plot-message", role: "status" });
    this._retry = element("button", { type: "button", class: "act plain", hidden: "" }, "Try again");
    this._retry.addEventListener("click", () => this._load());
    const now = element("p", { class: "value" }, this._value, this._unit);
    const head = element("div", { class: "chart-head" }, element("h3", {}, title(measurement)), now, this._readout);
    const frame = element("div", { class: "plot-frame" }, this._plot, element("div", { class: "plot-note" }, this._message, this._retry));
    this.element = element("section", { class: "chart", "aria-label": title(measurement) }, head, frame);
    this.latest();
    this.show(range);
  }

  /** Another range, or another stretch of time within it (`zoom`: [from, to]). */
  show(range, zoom) {
    this.range = range;
    this.zoom = zoom;
    this._loaded = false;
    if (this.visible) this._load();
  }

  /** Charts below the edge of the screen load when they come up. */
  seen(visible) {
    this.visible = visible;
    if (visible && !this._loaded) this._load();
    else if (visible) this.draw();
  }

  /** Asks anew for what could not be read. */
  again() {
    if (this._problem || this.range !== "live") this.show(this.range, this.zoom);
  }

  latest() {
    const its = this._its();
    if (!its) return;
    const { text, unit } = said(this.measurement, this._kind(), its);
    put(this._value, text);
    put(this._unit, unit);
  }

  remove() {
    this._asked?.abort();
    this._graph?.destroy();
    this._graph = undefined;
    this.element.remove();
  }

  /** After the theme has changed. */
  recolour() {
    this._graph?.destroy();
    this._graph = undefined;
    this.draw();
  }

  draw() {
    if (!this.visible || !this.element.isConnected) return;
    const rows = (this._drawn = this._all());
    const [from, to] = this._window();
    const shown = rows.filter(([at, band]) => at >= from && at <= to && band[1] !== null);
    this._say(shown);
    if (shown.length === 0) {
      this._graph?.destroy();
      this._graph = undefined;
      return;
    }
    const options = { dateWindow: [from, to], valueRange: this._heights(shown) };
    if (this._graph) this._graph.updateOptions({ file: rows, ...options });
    else this._graph = new Dygraph(this._plot, rows, { ...this._options(), ...options, });
  }

  async _load() {
    this._asked?.abort();
    const asked = (this._asked = new AbortController());
    this._loaded = true;
    this._problem = "";
    if (this.range === "live" && !this.zoom) {
      this._rows = [];
      this.element.dataset.state = "ready";
      this.draw();
      return;
    }
    this.element.dataset.state = "loading";
    put(this._message, "Loading…");
    try {
      const told = (await ask(this._address(), { signal: asked.signal })) ?? { points: [] };
      this._bucket = (told.bucket_seconds ?? 0) * 1000;
      this._toldUnit = told.unit;
      this._rows = told.points.map(([at, average, least, most]) => [at, [least, average, most]]);
    } catch (error) {
      if (asked.signal.aborted) return;
      this._rows = [];
      this._problem = error.message;
    }
    this.element.dataset.state = "ready";
    this.draw();
  }

  _address() {
    const [kind, device] = [this._kind(), this._key.slice(this._key.indexOf(":") + 1)];
    const hours = RANGES.get(this.range).ms / HOUR;
    const [from, to] = this.zoom ? this.zoom.map((ms) => String(Math.round(ms))) : [`-${hours}h`, "now"];
    const points = Math.max(100, Math.min(1_000, Math.round(this._plot.clientWidth || 600)));
    return `api/v1/series?${new URLSearchParams({ kind, device, measurement: this.measurement, from, to, points })}`;
  }

  /** History, then what was heard since its last bucket began. */
  _all() {
    const { tail } = RANGES.get(this.range);
    const rows = this._broken(this._rows);
    const series = tail ? this._model.lastPoints(this._key, this.measurement) : undefined;
    if (!series) return rows;
    const last = this._rows.at(-1)?.[0];
    const since = last === undefined ? -Infinity : last + (this._bucket ?? 0);
    const from = Math.max(since, this._window()[0] - 60_000);
    for (let index = series.after(from - 1); index < series.at.length; index++) {
      const value = series.value[index];
      rows.push([series.at[index], [value, value, value]]);
    }
    return rows;
  }

  /** With nothing between two buckets that are far apart. */
  _broken(buckets) {
    const pause = (this._model.devices.get(this._key)?.cadence_seconds ?? 0) * 1000;
    const most = Math.max(this._bucket * SILENT_BUCKETS, pause * SILENT_PAUSES);
    const rows = [];
    for (const row of buckets) {
      const before = rows.at(-1);
      if (before && !this._pair() && row[0] - before[0] > most) rows.push([before[0] + 1, [null, null, null]]);
      rows.push(row);
    }
    return rows;
  }

  _window() {
    if (this.zoom) return this.zoom;
    const now = this._model.now();
    return [now - RANGES.get(this.range).ms, now];
  }

  _heights(shown) {
    if (this._pair()) return [-0.12, 1.12];
    const values = shown.flatMap(([, band]) => [band[0], band[2]]);
    const [low, high] = spanOf(values, this._unitNow());
    const air = (high - low) * 0.06;
    return [low >= 0 ? Math.max(low - air, air / -6) : low - air, high + air];
  }

  _say(shown) {
    this._plot.hidden = shown.length === 0;
    this.element.classList.toggle("empty-chart", shown.length === 0);
    this._retry.hidden = !this._problem;
    const nothing = this.range === "live" ? "Nothing heard in the last ten minutes." : "No history yet: rollups come every ten minutes.";
    put(this._message, shown.length ? "" : this._problem ? `No history: ${this._problem}` : nothing);
    this._retry.hidden ||= shown.length > 0;
    if (!this._hovered) put(this._readout, shown.length ? this._summary(shown) : "");
    this._plot.setAttribute("role", "img");
    this._plot.setAttribute("aria-label", `${title(this.measurement)}, ${RANGES.get(this.range).word}: ${this._readout.textContent}`);
  }

  _summary(shown) {
    if (this._pair()) return "";
    let [low, high] = [Infinity, -Infinity];
    for (const [, band] of shown) {
      low = Math.min(low, band[0]);
      high = Math.max(high, band[2]);
    }
    const unit = this._unitNow();
    return `${number(low, unit)} to ${number(high, unit)}${unit ? ` ${unit}` : ""}`;
  }

  _options() {
    const { line, ink, grid } = palette();
    const words = this._pair();
    const ticks = () => [0, 1].map((v) => ({ v, label: words[v] }));
    return {
      labels: ["time", "value"], customBars: true, stepPlot: Boolean(words), colors: [line], fillAlpha: 0.18,
      strokeWidth: 1.6,
      axisLineColor: grid, gridLineColor: grid, axisLabelColor: ink, axisLabelFontSize: 12, highlightCircleSize: 3.5,
      interactionModel: mouseOnly(), connectSeparatedPoints: false,
      axes: {
        x: { ticker: Dygraph.dateTicker, axisLabelFormatter: (at) => tick(+at, this._spanNow()), drawGrid: false, pixelsPerLabel: 76, axisLabelWidth: 76 },
        y: { axisLabelFormatter: (value) => trim(value), axisLabelWidth: words ? 66 : 46, pixelsPerLabel: 36, ...(words ? { ticker: ticks } : {}) },
      },
      highlightCallback: (event, at) => this._hover(at),
      unhighlightCallback: () => this._hover(),
      zoomCallback: (from, to) => this._zoomed(from, to),
    };
  }

  _hover(at) {
    this._hovered = at !== undefined;
    if (!this._hovered) return this.draw();
    const band = this._drawn.find((one) => one[0] === at)?.[1];
    if (!band || band[1] === null) return;
    const unit = this._unitNow();
    const { text } = said(this.measurement, this._kind(), { value: band[1], unit });
    const wide = band[0] !== band[2] && !this._pair() ? ` (${number(band[0], unit)} to ${number(band[2], unit)})` : "";
    put(this._readout, `${when(at, this._model.now())}: ${text}${unit ? ` ${unit}` : ""}${wide}`);
  }

  _zoomed(from, to) {
    if (to - from < 0.98 * this._spanNow()) this.onZoom?.([from, to]);
    else this.draw(); // a drag up or down, which would change the heights
  }

  _spanNow() {
    const [from, to] = this._window();
    return to - from;
  }

  _kind() {
    return this._key.slice(0, this._key.indexOf(":"));
  }

  _its() {
    return this._model.devices.get(this._key)?.measurements.get(this.measurement);
  }

  _unitNow() {
    return this._its()?.unit ?? this._toldUnit ?? "";
  }

  _pair() {
    return pair(this.measurement, this._kind());
  }
}

/** Drag to zoom with a mouse; a finger goes on scrolling the page. */
function mouseOnly() {
  const { mousedown, willDestroyContextMyself } = Dygraph.Interaction.defaultModel;
  return { mousedown, willDestroyContextMyself };
}

function trim(value) {
  return new Intl.NumberFormat(undefined, { maximumSignificantDigits: 5, notation: Math.abs(value) >= 100_000 ? "compact" : "standard" }).format(value);
}
