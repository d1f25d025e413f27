// The page's loop: what the server says changes the model; in the next frame of the screen what has changed is painted,
// all at once. Nothing here polls.

import { Alerts } from "./alerts.js";
import { Cards } from "./cards.js";
import { Connection } from "./connection.js";
import { Detail } from "./detail.js";
import { Header } from "./header.js";
import { Model } from "./model.js";
import { repaint } from "./sparkline.js";

let asked = false;
const listeners = new Set();

const model = new Model(() => {
  if (!asked) requestAnimationFrame(paint);
  asked = true;
});
const cards = new Cards(model);
const alerts = new Alerts(model);
const detail = new Detail(model);
const header = new Header(model, () => {
  repaint();
  detail.recolour();
});
const connection = new Connection((frame) => model.apply(frame), stateIs);

function paint(at) {
  asked = false;
  const news = model.take();
  cards.paint(news);
  if (news.alerts || news.order) alerts.paint(); // a name may be another
  if (news.header) header.paint();
  detail.paint(news);
  if (news.points.length) for (const listener of listeners) listener(news.points, at);
}

function stateIs(state) {
  const back = state === "live" && model.connection !== "live";
  model.connectionIs(state);
  if (!back) return;
  detail.refresh();
  detail.follow();
}

/** For measurements and tests: `onPaint(callback)` is called in the frame in which points were painted, with these
 *  points as they came over the wire and the frame's time; it returns how to end that. */
window.edgeLive = {
  onPaint(callback) {
    listeners.add(callback);
    model.keepsPoints = true;
    return () => {
      listeners.delete(callback);
      model.keepsPoints = listeners.size > 0;
    };
  },
  get connection() {
    return model.connection;
  },
  get devices() {
    return model.devices.size;
  },
};

header.paint();
connection.open();
