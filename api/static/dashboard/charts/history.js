// The run's curves as this page has them: fetched once, then continued by every log point that the stream brings.
//
// The server reduces a long history to stretches of steps: mean, lowest and highest value of all points in it. A
// stretch of one log point is just that point.

import { get } from "../../shared/api.js";

export const TIME = "last_update_time";
/** What the page always draws. */
export const DRAWN = ["quality_ki_value", "quality_lr_value", "total_loss_value", "validation_loss_value"];
/** Stretches that are asked for where a chart has many pixels, and where it has few: more could not be told apart. */
const [MANY_STRETCHES, FEW_STRETCHES] = [1000, 600];
const MANY_PIXELS = 700;
const MAX_STRETCHES = 6000;

export class History {
  /** `pixels()` is the width of a chart in pixels of the screen. */
  constructor(pixels = () => Infinity) {
    this.pixels = pixels;
    this.names = new Set([TIME, ...DRAWN]);
    this.begin(null);
  }

  begin(identity) {
    this.identity = identity;
    this.curves = new Map();
    this.details = null;
    this.lastStep = 0;
  }

  get points() {
    return this.pixels() > MANY_PIXELS ? MANY_STRETCHES : FEW_STRETCHES;
  }

  /** Fetch what is new of all names, and everything if the run began anew; `onPart()` is called as it comes. */
  async update(identity, onPart = () => {}) {
    if (identity !== this.identity || this.size() > MAX_STRETCHES) this.begin(identity);
    await this.fetch([...this.names], this.lastStep, onPart);
  }

  /** Fetch the whole of names that are not there yet; returns whether there were any. */
  async want(names) {
    const missing = names.filter((name) => !this.names.has(name));
    if (!missing.length) return false;
    await this.fetch(missing, 0);
    missing.forEach((name) => this.names.add(name));
    return true;
  }

  /** Fetch one step again: a validation has joined its values to a log point that is here. */
  async refresh(step) {
    const { identity } = this;
    const { values } = await get(`/series?names=${[...this.names].join(",")}&from=${step}&to=${step}`);
    if (identity !== this.identity) return;
    this.add(step, Object.fromEntries(Object.entries(values).map(([name, [value]]) => [name, value])));
  }

  async fetch(names, first, onPart = () => {}) {
    const { identity } = this;
    for (let [from, width] = [this.beginningOf(names, first), Infinity]; width > 1; ) {
      const answer = await get(`/series?names=${names.join(",")}&from=${from}&points=${this.points}`);
      if (identity !== this.identity) return;
      for (const name of names) this.replace(name, from, answer.series[name]);
      this.lastStep = Math.max(this.lastStep, answer.last_step);
      onPart();
      // What came last is looked at more closely: its latest values are shown as numbers.
      width = Math.min(width - 1, answer.stretch_steps);
      from = this.beginningOf(names, Math.max(from, answer.last_step - answer.stretch_steps + 1));
    }
  }

  /** The last step, at most `step`, at which no stretch of these names goes on: from there they can be replaced. */
  beginningOf(names, step) {
    const curves = names.map((name) => this.curves.get(name) ?? []);
    const first = Math.min(step, ...curves.map((curve) => curve.find(({ last }) => last >= step)?.step ?? step));
    return first === step ? step : this.beginningOf(names, first);
  }

  /** Put what the server has from step `from` on in place of what is here. */
  replace(name, from, series) {
    const kept = (this.curves.get(name) ?? []).filter(({ step }) => step < from);
    const added = series ? series.steps.map((step, place) => stretchOf(series, place)) : [];
    this.curves.set(name, [...kept, ...added]);
  }

  /** Take a log point in, at its place; one at a step that is known replaces its value. */
  add(step, values) {
    for (const name of this.names) {
      const value = values[name];
      if (value == null) continue;
      if (!this.curves.has(name)) this.curves.set(name, []);
      const curve = this.curves.get(name);
      const before = curve.findLastIndex((stretch) => stretch.step <= step);
      if (before >= 0 && curve[before].last >= step && curve[before].count > 1) continue; // it is part of a stretch
      const known = before >= 0 && curve[before].step === step ? 1 : 0;
      curve.splice(before + 1 - known, known, { step, last: step, mean: value, low: value, high: value, count: 1 });
    }
    this.lastStep = Math.max(this.lastStep, step);
  }

  /** Fetch a range of steps more finely than the whole is; `null` lets go of it. */
  async focus(range) {
    this.details = null;
    const isCoarse = [...this.curves.values()].some((curve) => curve.some(({ step, last }) => last > step));
    if (!range || !isCoarse) return;
    const [from, to] = [Math.max(0, Math.floor(range.min)), Math.ceil(range.max)];
    const { series } = await get(`/series?names=${[...this.names].join(",")}&from=${from}&to=${to}&points=${this.points}`);
    const curves = new Map(Object.entries(series).map(([name, one]) => [name, one.steps.map((_, place) => stretchOf(one, place))]));
    this.details = { from, to, curves };
  }

  /** The stretches of a value in the order of their steps, finer where that was fetched. */
  stretches(name) {
    const whole = this.curves.get(name) ?? [];
    const fine = this.details?.curves.get(name);
    if (!fine) return whole;
    const { from, to } = this.details;
    const before = whole.filter(({ last }) => last < from);
    const after = whole.filter(({ step }) => step > to);
    return [...before, ...fine, ...after];
  }

  size() {
    return Math.max(0, ...[...this.curves.values()].map((curve) => curve.length));
  }
}

function stretchOf({ steps, last_steps: lasts, means, lows, highs, counts }, place) {
  return { step: steps[place], last: lasts[place], mean: means[place], low: lows[place], high: highs[place], count: counts[place] };
}

/** Where on the curve a stretch stands. */
export const middle = ({ step, last }) => (step + last) / 2;
