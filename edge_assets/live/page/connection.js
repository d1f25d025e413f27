// The WebSocket, which comes back by itself: at once after a first loss, then in growing intervals with some chance in
// them, so that a hundred pages do not knock at the same moment. A server that is silent for longer than its ticks
// allow is taken for dead.

const FIRST_DELAY = 250;
const LAST_DELAY = 8_000;
/** The server ticks every ten seconds at the latest. */
const SILENCE = 25_000;

export class Connection {
  /** `onFrame(frame)` for each frame; `onState("connecting" | "live" | "reconnecting")`, live from the hello on. */
  constructor(onFrame, onState) {
    this._onFrame = onFrame;
    this._onState = onState;
    this._delay = FIRST_DELAY;
    this._heardAt = 0;
    addEventListener("online", () => this._hurry());
    addEventListener("visibilitychange", () => document.hidden || this._hurry());
    setInterval(() => this._watch(), 5_000);
  }

  open() {
    clearTimeout(this._timer);
    this._timer = undefined;
    const address = new URL("ws", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    address.hash = "";
    const socket = new WebSocket(address);
    this._socket = socket;
    this._heardAt = Date.now();
    socket.onmessage = (event) => socket === this._socket && this._heard(event.data);
    socket.onclose = () => socket === this._socket && this._lost();
  }

  _heard(text) {
    this._heardAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(text);
      this._onFrame(frame);
    } catch (error) {
      console.error("a frame of the server could not be used", error, text.slice(0, 200));
      return;
    }
    if (frame.type === "hello") {
      this._delay = FIRST_DELAY;
      this._onState("live");
    }
  }

  _lost() {
    this._socket = undefined;
    this._onState("reconnecting");
    const wait = this._delay * (0.75 + Math.random() / 2);
    this._delay = Math.min(this._delay * 2, LAST_DELAY);
    this._timer = setTimeout(() => this.open(), wait);
  }

  /** A person looks, or the network is back: no more waiting. */
  _hurry() {
    this._delay = FIRST_DELAY;
    if (this._timer !== undefined) this.open();
    else this._watch();
  }

  _watch() {
    if (this._socket && Date.now() - this._heardAt > SILENCE) {
      const silent = this._socket;
      this._lost();
      silent.close();
    }
  }
}
