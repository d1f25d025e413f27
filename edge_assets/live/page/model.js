// What is known: devices, their last points, alerts, the connection. Frames of the server change it (the protocol is
// edge_assets/live/protocol.py); what has changed is noted for the next frame of the screen, and nothing is drawn here.

import { Series } from "./series.js";

/** Points that wait for a painted frame while the page is hidden: who listens then misses the oldest. */
const MOST_WAITING = 20_000;

export class Model {
  constructor(changed) {
    this.site = "";
    this.devices = new Map();
    this.series = new Map();
    this.alerts = new Map();
    this.broker = true;
    this.connection = "connecting";
    this.lastFrameAt = null;
    this.offset = 0; // the server's clock minus this one, in milliseconds
    this.keepsPoints = false;
    this._changed = changed;
    this._fresh();
  }

  /** What has changed since the last call; the list of points only where somebody asked for it. */
  take() {
    const { news } = this;
    this._fresh();
    return news;
  }

  now() {
    return Date.now() + this.offset;
  }

  connectionIs(state) {
    this.connection = state;
    this.news.header = true;
    this._changed();
  }

  apply(frame) {
    this.lastFrameAt = Date.now();
    const act = FRAMES[frame.type];
    if (act) act(this, frame);
    this._changed();
  }

  lastPoints(key, measurement) {
    return this.series.get(key)?.get(measurement);
  }

  _fresh() {
    this.news = { values: new Map(), devices: new Set(), order: false, alerts: false, header: false, points: [] };
  }

  _device(told) {
    const known = this.devices.get(told.key);
    // A measurement may have any name, `__proto__` too: a map takes it for a name.
    const device = { ...told, measurements: new Map(Object.entries(told.measurements)) };
    this.devices.set(device.key, device);
    this.news.devices.add(device.key);
    if (!known || known.name !== device.name || known.group !== device.group) this.news.order = true;
  }

  _gone(key) {
    this.devices.delete(key);
    this.series.delete(key);
    this.news.values.delete(key);
    this.news.devices.add(key);
    this.news.order = true;
  }

  _point(point) {
    const [key, measurement, at, value, text, unit, quality] = point;
    const device = this.devices.get(key);
    if (!device) return;
    const before = device.measurements.get(measurement);
    device.measurements.set(measurement, { value, text, unit, at, quality });
    device.last_seen = Math.max(device.last_seen ?? 0, at);
    if (typeof value === "number" && !implausible(quality)) this._seriesOf(key, measurement).push(at, value);
    if (!before) this.news.devices.add(key); // it has a place to find in the card
    const touched = this.news.values.get(key) ?? new Map();
    const news = !before || before.value !== value || before.text !== text;
    touched.set(measurement, touched.get(measurement) || news);
    this.news.values.set(key, touched);
    if (this.keepsPoints && this.news.points.length < MOST_WAITING) this.news.points.push(point);
  }

  _seriesOf(key, measurement) {
    let its = this.series.get(key);
    if (!its) this.series.set(key, (its = new Map()));
    let one = its.get(measurement);
    if (!one) its.set(measurement, (one = new Series()));
    return one;
  }

  _clock(now) {
    this.offset = now - Date.now();
  }

  _stale(keys) {
    for (const [key, device] of this.devices) {
      const stale = keys.has(key);
      if (device.stale !== stale) {
        device.stale = stale;
        this.news.devices.add(key);
      }
    }
  }
}

export function implausible(quality) {
  return typeof quality === "string" && quality.split(" ").includes("implausible");
}

const FRAMES = {
  /** Everything anew, after each (re)connection. Cards stay where they are: only what differs is touched. */
  hello(model, frame) {
    model.site = frame.site;
    model.broker = frame.broker;
    model._clock(frame.now);
    const told = new Set(frame.devices.map((device) => device.key));
    for (const key of [...model.devices.keys()]) if (!told.has(key)) model._gone(key);
    for (const device of frame.devices) model._device(device);
    for (const [key, its] of Object.entries(frame.history)) {
      for (const [measurement, points] of Object.entries(its)) {
        const older = model.lastPoints(key, measurement);
        const anew = new Series(points);
        if (older) anew.follow(older);
        model._seriesOf(key, measurement);
        model.series.get(key).set(measurement, anew);
      }
    }
    model.alerts = new Map(frame.alerts.map((alert) => [alert.alert_id, alert]));
    Object.assign(model.news, { order: true, alerts: true, header: true });
  },
  points(model, frame) {
    for (const point of frame.points) model._point(point);
  },
  device(model, frame) {
    model._device(frame.device);
  },
  gone(model, frame) {
    model._gone(frame.key);
  },
  alert(model, frame) {
    model.alerts.set(frame.alert.alert_id, frame.alert);
    model.news.alerts = true;
  },
  broker(model, frame) {
    model.broker = frame.up;
    model.news.header = true;
  },
  tick(model, frame) {
    model._clock(frame.now);
    model._stale(new Set(frame.stale));
  },
};
