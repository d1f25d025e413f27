// What people read instead of what machines write: names of measurements, words for two-valued things, rounding by
// unit, ages and times. Numbers and times are by the browser's locale and time zone.

const TITLES = {
  co2_ppm: "CO₂", co2: "CO₂", light_lux: "Light", illuminance: "Light", occupancy_count: "People",
  motion_detected: "Motion", energy_kwh: "Energy", air_quality_index: "Air quality", linkquality: "Link quality",
  energy_today: "Today", energy_yesterday: "Yesterday", energy_month: "This month", pm25: "PM2.5", voc: "VOC",
  battery_low: "Battery", device_temperature: "Device", state: "State", availability: "Availability",
};

/** Words for 0 and 1. A contact that is 1 touches: the door is closed. */
const PAIRS = {
  contact: ["open", "closed"], state: ["off", "on"], availability: ["offline", "online"],
  occupancy: ["clear", "occupied"], presence: ["nobody", "somebody"], motion: ["still", "motion"],
  motion_detected: ["still", "motion"], water_leak: ["dry", "leak"], smoke: ["clear", "smoke"], gas: ["clear", "gas"],
  carbon_monoxide: ["clear", "CO"], tamper: ["untouched", "tampered"], battery_low: ["ok", "low"],
  vibration: ["still", "vibrating"], moving: ["still", "moving"], rain: ["dry", "rain"],
};

/** Digits after the point by unit; where size matters, a function of it. */
const DIGITS = {
  "°C": 1, "°F": 1, K: 1, "%": 0, ppm: 0, ppb: 0, lx: 0, mV: 0, lqi: 0, dBm: 0, "µg/m³": 0, hPa: 0, kPa: 1, Hz: 1, mA: 0,
  W: (size) => (size < 10 ? 1 : 0), VA: (size) => (size < 10 ? 1 : 0), kW: 2, A: 2, V: (size) => (size < 20 ? 2 : 0),
  kWh: (size) => (size < 100 ? 2 : 1), Wh: 0, "m³": 2, L: 1, s: (size) => (size < 10 ? 1 : 0), min: 0,
};

export function title(measurement) {
  if (Object.hasOwn(TITLES, measurement)) return TITLES[measurement];
  const words = measurement.replaceAll("_", " ").replaceAll(".", " · ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The words for 0 and 1 of a measurement, undefined for a quantity. A bridge is online or not; a plug is on or off. */
export function pair(measurement, kind) {
  if (kind === "bridge" && measurement === "state") return PAIRS.availability;
  return Object.hasOwn(PAIRS, measurement) ? PAIRS[measurement] : undefined;
}

/** A value as {text, unit}: `{text: "21.5", unit: "°C"}`, `{text: "closed", unit: ""}`. */
export function said(measurement, kind, { value, text, unit }) {
  const words = pair(measurement, kind);
  if (words && (value === 0 || value === 1)) return { text: words[value], unit: "" };
  if (typeof value === "number") return { text: number(value, unit), unit: unit ?? "" };
  if (words && /^(on|off)$/i.test(text ?? "")) return { text: text.toLowerCase(), unit: "" }; // not described
  if (typeof text === "string" && text !== "") return { text, unit: "" };
  return { text: "–", unit: "" };
}

export function number(value, unit) {
  const size = Math.abs(value);
  let digits = Object.hasOwn(DIGITS, unit ?? "") ? DIGITS[unit] : undefined;
  if (typeof digits === "function") digits = digits(size);
  if (digits === undefined) digits = Number.isInteger(value) ? 0 : size >= 1000 ? 0 : size >= 100 ? 1 : 2;
  const rounded = Number(value.toFixed(digits));
  return format(digits).format(rounded === 0 ? 0 : rounded); // never "-0"
}

const formats = new Map();

function format(digits) {
  if (!formats.has(digits)) {
    formats.set(digits, new Intl.NumberFormat(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return formats.get(digits);
}

/** How long ago: "3 s ago". */
export function age(milliseconds) {
  return milliseconds < 1_500 ? "now" : `${span(milliseconds)} ago`;
}

/** A stretch of time, in its largest unit: "3 s", "5 min", "2 h", "4 d". */
export function span(milliseconds) {
  const seconds = Math.max(0, milliseconds / 1000);
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit", second: "2-digit" });
const SHORT = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const YEAR = new Intl.DateTimeFormat(undefined, { month: "short", year: "numeric" });
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const clock = (ms) => CLOCK.format(ms);
export const moment = (ms) => MOMENT.format(ms);

/** A time of today by its clock, an older one with its day. */
export function when(ms, now) {
  return new Date(ms).toDateString() === new Date(now).toDateString() ? SHORT.format(ms) : `${DAY.format(ms)}, ${SHORT.format(ms)}`;
}

/** A tick below a chart that spans so much. */
export function tick(ms, spanMs) {
  if (spanMs <= 3 * 60_000) return CLOCK.format(ms);
  const midnight = new Date(ms).getHours() === 0 && new Date(ms).getMinutes() === 0;
  if (spanMs <= 2 * 86_400_000) return midnight ? DAY.format(ms) : SHORT.format(ms);
  return spanMs <= 100 * 86_400_000 ? DAY.format(ms) : YEAR.format(ms);
}
