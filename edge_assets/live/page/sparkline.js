// A small curve of a series' last points. Drawn where it can be seen and something has changed, four times a second at
// most: the figure above it is what has to be quick.

import { pair } from "./words.js";

/** The last ten minutes, where they tell enough; of who speaks seldom, the last so many points. */
const WINDOW = 10 * 60_000;
const ENOUGH = 20;
const POINTS = 300;
/** More than these cannot be told apart at its width. */
const DRAWN = 500;
const REST = 250;
const HEIGHT = 34;
/** A curve spans at least so much, or a sensor's trembling would look like weather. */
export const LEAST_SPAN = { "°C": 1, "%": 4, ppm: 60, lx: 40, W: 5, V: 6, A: 0.05, hPa: 3, kWh: 0.02, lqi: 20, mV: 60 };

const seen = new Map(); // canvas → Sparkline
const due = new Set();
let timer;
let colours;

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const its = seen.get(target);
    if (!its) continue;
    its.visible = isIntersecting;
    if (isIntersecting) its.changed();
  }
}, { rootMargin: "100px" });

const ruler = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) seen.get(target)?.sized(contentRect.width);
});

export class Sparkline {
  constructor(measurement, kind, series) {
    this.canvas = document.createElement("canvas");
    this.canvas.className = "spark";
    this.canvas.setAttribute("aria-hidden", "true");
    this.visible = false;
    this._steps = pair(measurement, kind) !== undefined;
    this._series = series; // () => Series | undefined
    this._width = 0;
    seen.set(this.canvas, this);
    watcher.observe(this.canvas);
    ruler.observe(this.canvas);
  }

  remove() {
    watcher.unobserve(this.canvas);
    ruler.unobserve(this.canvas);
    seen.delete(this.canvas);
    due.delete(this);
    this.canvas.remove();
  }

  changed(unit = this._unit) {
    this._unit = unit;
    if (!this.visible) return;
    due.add(this);
    timer ??= setTimeout(() => requestAnimationFrame(drawDue), REST);
  }

  sized(width) {
    this._width = width;
    const scale = Math.min(devicePixelRatio || 1, 2);
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(HEIGHT * scale);
    this.draw();
  }

  draw() {
    const series = this._series();
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!series || series.at.length < 2 || this._width === 0) return;
    const scale = this.canvas.width / this._width;
    context.scale(scale, scale);
    const end = series.at.length;
    const recent = series.after(series.at[end - 1] - WINDOW);
    const begin = end - recent >= ENOUGH ? recent : Math.max(0, end - POINTS);
    const every = Math.ceil((end - begin) / DRAWN);
    const kept = (_, place) => place >= begin && (end - 1 - place) % every === 0;
    this._curve(context, series.at.filter(kept), series.value.filter(kept));
  }

  _curve(context, at, value) {
    const [low, high] = this._steps ? [0, 1] : spanOf(value, this._unit);
    const since = at[0];
    const perMs = (this._width - 5) / Math.max(at[at.length - 1] - since, 1);
    const x = (index) => 1 + (at[index] - since) * perMs;
    const y = (index) => 3 + (1 - (value[index] - low) / (high - low)) * (HEIGHT - 6);
    context.beginPath();
    context.moveTo(x(0), y(0));
    for (let index = 1; index < at.length; index++) {
      if (this._steps) context.lineTo(x(index), y(index - 1));
      context.lineTo(x(index), y(index));
    }
    const last = at.length - 1;
    const { line, area } = palette();
    context.strokeStyle = line;
    context.lineWidth = 1.6;
    context.lineJoin = "round";
    context.stroke();
    context.lineTo(x(last), HEIGHT);
    context.lineTo(x(0), HEIGHT);
    context.fillStyle = area;
    context.fill();
    context.beginPath();
    context.arc(x(last), y(last), 2.4, 0, 2 * Math.PI);
    context.fillStyle = line;
    context.fill();
  }
}

/** [low, high] of values, as wide as their unit asks for. */
export function spanOf(values, unit) {
  let low = Infinity;
  let high = -Infinity;
  for (const one of values) {
    if (one < low) low = one;
    if (one > high) high = one;
  }
  const lacking = (LEAST_SPAN[unit] ?? (Math.abs(high) * 0.02 || 1)) - (high - low);
  if (lacking <= 0) return [low, high];
  const below = low >= 0 ? Math.min(low, lacking / 2) : lacking / 2; // what cannot be negative has no axis there
  return [low - below, high + lacking - below];
}

/** After the theme has changed. */
export function repaint() {
  colours = undefined;
  for (const its of seen.values()) if (its.visible) its.draw();
}

/** The theme's colours for canvases, which cannot read a stylesheet by themselves. */
export function palette() {
  if (!colours) {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    colours = { line: of("--line"), area: of("--area"), ink: of("--muted"), grid: of("--grid") };
  }
  return colours;
}

function drawDue() {
  timer = undefined;
  for (const its of due) if (its.visible) its.draw();
  due.clear();
}
