// What is shown of a device, and how large: two main measurements with a sparkline, a few further facts, the rest in
// the detail view. A device that nobody has heard of yet finds its place by the order of FIRST.

import { pair } from "./words.js";

export const GROUPS = [
  ["rooms", "Rooms"], ["doors", "Doors"], ["plugs", "Plugs"],
  ["climate", "Climate"], ["other", "Other"], ["bridges", "Bridges"],
];

const MAIN = {
  rooms: ["temperature", "co2_ppm", "humidity"],
  doors: ["contact"],
  plugs: ["power", "state", "energy"],
  climate: ["temperature", "humidity", "pressure"],
  bridges: ["state"],
  other: [],
};
const FACTS = {
  rooms: ["humidity", "occupancy_count", "motion_detected", "light_lux", "air_quality_index"],
  doors: ["temperature"],
  plugs: ["energy_today", "energy", "voltage", "current"],
  climate: ["pressure", "co2", "voc", "pm25", "illuminance", "occupancy"],
  bridges: ["mqtt.received", "mqtt.published", "process.memory_percent", "os.memory_percent", "process.uptime_sec"],
  other: [],
};
const FIRST = [
  "occupancy", "presence", "motion", "water_leak", "smoke", "gas", "carbon_monoxide", "vibration", "state", "position",
  "brightness", "temperature", "humidity", "co2", "pressure", "illuminance", "power", "energy", "flow", "volume", "action",
];
/** Shown small in each card's last line. */
const SMALL = new Set(["battery", "linkquality", "availability", "battery_low", "tamper", "voltage"]);
/** What the charts begin with, whatever the device is. */
const LAST = ["battery", "voltage", "linkquality"];

/** [main, facts]: names of measurements for the card of a device, of those that it has. */
export function shape(device) {
  const has = (name) => device.measurements.has(name);
  const main = (MAIN[device.group] ?? []).filter(has).slice(0, 2);
  if (main.length === 0) main.push(...[...FIRST.filter(has), ...plain(device)].slice(0, 2));
  const wanted = [...(FACTS[device.group] ?? []), ...FIRST];
  const facts = [...new Set(wanted)].filter((name) => has(name) && !main.includes(name)).slice(0, 3);
  return [main, facts];
}

function plain(device) {
  const names = [...device.measurements.keys()].filter((name) => !FIRST.includes(name) && !name.includes("."));
  return names.sort((a, b) => SMALL.has(a) - SMALL.has(b) || a.localeCompare(b));
}

/** Whether the detail view draws it from the start: quantities and known two-valued things, but no settings.
 *  Settings of a device come as nested names (`overload_protection.max_power`), and wait in the table below. */
export function charted(measurement, { value }) {
  return typeof value === "number" && !measurement.includes(".") && !/_(enabled?|lock|control|protect|indicator|mode)$|_(control|indicator)_/.test(measurement);
}

/** Names of charts in the order in which a person looks for them. */
export function ordered(device, names) {
  const rank = (name) => {
    const main = [...(MAIN[device.group] ?? []), ...(FACTS[device.group] ?? []), ...FIRST].indexOf(name);
    const last = LAST.indexOf(name);
    return last >= 0 ? 900 + last : main >= 0 ? main : pair(name, device.kind) ? 800 : 500;
  };
  return [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}
