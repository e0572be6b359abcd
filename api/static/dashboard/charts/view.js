// What a person has chosen to see of the curves: kept in the address, so that a link shows another person the same.

const MODES = ["all", "following", "frozen"];
const AXES = ["step", "time", "relative"];
/** About how many log points a curve can be smoothed over; 1: not at all. */
export const SMOOTHINGS = [1, 5, 10, 20, 50, 100, 200, 500];
const NAME = /^[a-z][a-z0-9_]*$/;

export class View {
  constructor() {
    this.listeners = [];
    this.read();
    addEventListener("hashchange", () => {
      if (location.hash.slice(1) === this.written) return;
      this.read();
      this.tell();
    });
  }

  /** `listener(changes)` gets what was changed, by name; without `changes` anything may have. */
  onChange(listener) {
    this.listeners.push(listener);
  }

  tell(changes) {
    for (const listener of this.listeners) listener(changes);
  }

  /** Change some of it, and say so to whoever shows it. */
  set(changes) {
    Object.assign(this, changes);
    this.write();
    this.tell(changes);
  }

  read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const step = (name) => (/^\d+(\.\d+)?$/.test(given.get(name) ?? "") ? Number(given.get(name)) : null);
    const [from, to, width] = [step("from"), step("to"), step("last")];
    this.range = from !== null && to !== null && from < to ? { min: from, max: to } : null;
    this.width = width || null;
    this.mode = this.range ? MODES[2] : this.width ? MODES[1] : MODES[0];
    this.axis = AXES.includes(given.get("x")) ? given.get("x") : AXES[0];
    this.smoothing = SMOOTHINGS.includes(Number(given.get("smooth"))) ? Number(given.get("smooth")) : 1;
    this.isLog = given.get("log") === "1";
    this.series = (given.get("series") ?? "").split(",").filter((name) => NAME.test(name));
    this.step = step("step");
    this.written = location.hash.slice(1);
  }

  write() {
    const parts = [];
    if (this.mode === "frozen") parts.push(`from=${Math.round(this.range.min)}`, `to=${Math.round(this.range.max)}`);
    if (this.mode === "following") parts.push(`last=${Math.round(this.width)}`);
    if (this.axis !== "step") parts.push(`x=${this.axis}`);
    if (this.smoothing > 1) parts.push(`smooth=${this.smoothing}`);
    if (this.isLog) parts.push("log=1");
    if (this.series.length) parts.push(`series=${this.series.join(",")}`);
    if (this.step !== null) parts.push(`step=${this.step}`);
    this.written = parts.join("&");
    history.replaceState(null, "", this.written ? `#${this.written}` : location.pathname);
  }

  /** The steps to show, of those between `first` and `last`. */
  shown(first, last) {
    if (this.mode === "frozen") return this.range;
    if (this.mode === "following") return { min: Math.max(first, last - this.width), max: last };
    return { min: first, max: last };
  }
}
