// The last points of one measurement, in the order of their times.

/** So many are kept: behind ten minutes of a sensor that speaks five times a second comes the history from the API. */
const MOST = 3_000;

export class Series {
  constructor(points = []) {
    this.at = [];
    this.value = [];
    for (const [at, value] of points) this.push(at, value);
  }

  /** Points come in order but for a device whose clock jumps, or a message that was late. */
  push(at, value) {
    const end = this.at.length;
    if (end === 0 || at >= this.at[end - 1]) {
      this.at.push(at);
      this.value.push(value);
    } else {
      const place = this.after(at);
      this.at.splice(place, 0, at);
      this.value.splice(place, 0, value);
    }
    if (this.at.length > MOST) {
      this.at.splice(0, MOST / 4);
      this.value.splice(0, MOST / 4);
    }
  }

  /** What was here before this series' first point stays in front of it: a resync costs no picture. */
  follow(older) {
    const end = this.at.length ? older.after(this.at[0] - 1) : older.at.length;
    this.at = older.at.slice(0, end).concat(this.at).slice(-MOST);
    this.value = older.value.slice(0, end).concat(this.value).slice(-MOST);
  }

  /** The index of the first point that is later than `at`. */
  after(at) {
    let low = 0;
    let high = this.at.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.at[middle] <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
