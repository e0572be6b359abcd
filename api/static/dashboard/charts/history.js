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
/** Stretches of the end of a curve, which is looked at more closely than its pixels could show. */
const CLOSE_STRETCHES = 64;
const MAX_STRETCHES = 6000;
/** So long the curves that were asked for before the run was known are of use. */
const EARLY_MS = 5000;

export class History {
  /** `pixels()` is the width of a chart in pixels of the screen. */
  constructor(pixels = () => Infinity) {
    this.pixels = pixels;
    this.names = new Set([TIME, ...DRAWN]);
    /** Counts the beginnings: what was asked for before one is not taken in after it. */
    this.turn = 0;
    this.early = null;
    this.begin(null);
  }

  begin(identity) {
    this.identity = identity;
    this.turn += 1;
    this.curves = new Map();
    this.details = null;
    this.lastStep = 0;
    /** The first step of which values may be missing here, though later ones came by the stream. */
    this.missedFrom = 0;
  }

  get points() {
    return this.pixels() > MANY_PIXELS ? MANY_STRETCHES : FEW_STRETCHES;
  }

  /** Ask for the curves before the run is known, as the page opens: they take longest. `update` takes them in. */
  askEarly() {
    const path = this.path([...this.names], 0);
    this.early = { path, answer: get(path).catch(() => null), askedAt: performance.now() };
  }

  /** Fetch what is new of all names, and everything if the run began anew; `onPart()` is called as it comes. */
  async update(identity, onPart = () => {}) {
    if (identity !== this.identity || this.size() > MAX_STRETCHES) this.begin(identity);
    const first = Math.min(this.lastStep, this.missedFrom);
    this.missedFrom = Infinity;
    await this.fetch([...this.names], first, onPart).catch((error) => this.miss(first, error));
  }

  /** Note from which step on values are missing, because they could not be fetched: the next update fetches them. */
  miss(step, error) {
    this.missedFrom = Math.min(this.missedFrom, step);
    throw error;
  }

  /** Fetch the whole of names that are not there yet; returns whether there were any. */
  async want(names) {
    const missing = names.filter((name) => !this.names.has(name));
    if (!missing.length) return false;
    missing.forEach((name) => this.names.add(name)); // at once: log points that come meanwhile are theirs too
    try {
      await this.fetch(missing, 0);
    } catch (error) {
      missing.forEach((name) => this.names.delete(name) && this.curves.delete(name));
      throw error;
    }
    return true;
  }

  /** Fetch one step again: a validation has joined its values to a log point that is here. */
  async refresh(step) {
    const { turn } = this;
    const path = `/series?names=${[...this.names].join(",")}&from=${step}&to=${step}`;
    const { values } = await get(path).catch((error) => this.miss(step, error));
    if (turn !== this.turn) return;
    this.add(step, Object.fromEntries(Object.entries(values).map(([name, [value]]) => [name, value])));
  }

  async fetch(names, first, onPart = () => {}) {
    const { turn } = this;
    const early = await this.earlyAnswer(names, first);
    if (turn !== this.turn) return;
    if (early) onPart(this.take(names, first, early));
    let [from, width] = [early ? this.closer(names, first, early) : this.beginningOf(names, first), Infinity];
    let points = early ? CLOSE_STRETCHES : this.points;
    while (width > 1) {
      const answer = await get(this.path(names, from, points));
      if (turn !== this.turn) return;
      if (early && hasLess(answer, early)) return this.fetchAnew(names, onPart);
      onPart(this.take(names, from, answer));
      // What came last is looked at more closely: its latest values are shown as numbers.
      width = Math.min(width - 1, answer.stretch_steps);
      [from, points] = [this.closer(names, from, answer), CLOSE_STRETCHES];
    }
  }

  take(names, from, answer) {
    for (const name of names) this.replace(name, from, answer.series[name], answer.last_step);
    this.lastStep = Math.max(this.lastStep, answer.last_step);
  }

  /** From which step on to look more closely than an answer from the step `from` on. */
  closer(names, from, { last_step: last, stretch_steps: width }) {
    return this.beginningOf(names, Math.max(from, last - width + 1));
  }

  /** The run has gone back to an earlier step since its curves were asked for early. */
  fetchAnew(names, onPart) {
    this.begin(this.identity);
    this.missedFrom = Infinity;
    return this.fetch(names, 0, onPart);
  }

  path(names, from, points = this.points) {
    return `/series?names=${names.join(",")}&from=${from}&points=${points}`;
  }

  /** The answer that was asked for early, once, if it is to this question and of this run; else null. */
  async earlyAnswer(names, first) {
    const { early } = this;
    if (early?.path !== this.path(names, first)) return null;
    this.early = null;
    const answer = await early.answer;
    const isOfUse = answer !== null && performance.now() < early.askedAt + EARLY_MS;
    return isOfUse && this.identity?.startsWith(`${answer.run_id} `) ? answer : null;
  }

  /** The last step, at most `step`, at which no stretch of these names goes on: from there they can be replaced. */
  beginningOf(names, step) {
    const curves = names.map((name) => this.curves.get(name) ?? []);
    const first = Math.min(step, ...curves.map((curve) => curve.find(({ last }) => last >= step)?.step ?? step));
    return first === step ? step : this.beginningOf(names, first);
  }

  /** Put what the server had from step `from` to `last` in place of what is here; what came since then is kept. */
  replace(name, from, series, last) {
    const known = this.curves.get(name) ?? [];
    const added = series ? series.steps.map((step, place) => stretchOf(series, place)) : [];
    this.curves.set(name, [...known.filter(({ step }) => step < from), ...added, ...known.filter(({ step }) => step > last)]);
  }

  /** Take a log point in, at its place; one at a step that is known replaces its value. */
  add(step, values) {
    for (const name of this.names) {
      const value = values[name];
      if (value == null) continue;
      if (!this.curves.has(name)) this.curves.set(name, []);
      join(this.curves.get(name), step, value);
      const isFine = this.details && step >= this.details.from && step <= this.details.to;
      if (isFine && this.details.curves.has(name)) join(this.details.curves.get(name), step, value);
    }
    this.lastStep = Math.max(this.lastStep, step);
  }

  /** Fetch a range of steps more finely than the whole is; `null` lets go of it. */
  async focus(range) {
    const { turn } = this;
    this.details = null;
    this.focused = range;
    const isCoarse = [...this.curves.values()].some((curve) => curve.some(({ step, last }) => last > step));
    if (!range || !isCoarse) return;
    const [from, to] = [Math.max(0, Math.floor(range.min)), Math.ceil(range.max)];
    const { series } = await get(`/series?names=${[...this.names].join(",")}&from=${from}&to=${to}&points=${this.points}`);
    if (turn !== this.turn || range !== this.focused) return; // another range is wanted by now
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

/** Whether a later answer ends before an earlier one. */
function hasLess({ series, last_step: last }, earlier) {
  return last < earlier.last_step || (isEmpty(series) && !isEmpty(earlier.series));
}

const isEmpty = (series) => Object.values(series).every(({ steps }) => !steps.length);

/** Put a value at its place in a curve; in a stretch of several points it is there already. */
function join(curve, step, value) {
  const before = curve.findLastIndex((stretch) => stretch.step <= step);
  if (before >= 0 && curve[before].last >= step && curve[before].count > 1) return;
  const known = before >= 0 && curve[before].step === step ? 1 : 0;
  curve.splice(before + 1 - known, known, { step, last: step, mean: value, low: value, high: value, count: 1 });
}

function stretchOf({ steps, last_steps: lasts, means, lows, highs, counts }, place) {
  return { step: steps[place], last: lasts[place], mean: means[place], low: lows[place], high: highs[place], count: counts[place] };
}

/** Where on the curve a stretch stands. */
export const middle = ({ step, last }) => (step + last) / 2;
