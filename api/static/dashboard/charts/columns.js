// From stretches of steps to what a chart draws: smoothed means, with the true lowest and highest values behind them.

import { middle, TIME } from "./history.js";

/**
 * The means of stretches, smoothed over about `points` log points. Every point counts: a stretch of many weighs as much
 * as if they came one by one.
 */
export function smoothed(stretches, points) {
  if (points <= 1) return stretches.map(({ mean }) => mean);
  const keep = 1 - 2 / (points + 1);
  let [sum, weight] = [0, 0];
  return stretches.map(({ mean, count }) => {
    const kept = keep ** count;
    sum = kept * sum + (1 - kept) * mean;
    weight = kept * weight + 1 - kept;
    return sum / weight;
  });
}

/**
 * The lowest and the highest value of all points in a window of about `points` log points around each stretch: what
 * the smoothed line passes over.
 */
export function envelope(stretches, points) {
  if (points <= 1) return stretches.map(({ low, high }) => [low, high]);
  return stretches.map(({ count }, place) => {
    const reach = Math.ceil(points / count / 2);
    const window = stretches.slice(Math.max(0, place - reach), place + reach + 1);
    return [Math.min(...window.map(({ low }) => low)), Math.max(...window.map(({ high }) => high))];
  });
}

/** Over how many points a curve is smoothed: of few points, as of validations, so few that its course remains. */
export function smoothingOf(stretches, wanted) {
  const count = stretches.reduce((sum, stretch) => sum + stretch.count, 0);
  return Math.max(1, Math.min(wanted, Math.floor(count / 8)));
}

/**
 * What uPlot draws of some values: [x, then line, lowest and highest of each]. `toX` turns a step into a place on the
 * x axis; `isLog` leaves out what a logarithm does not know.
 */
export function columns(history, names, { smoothing: wanted, toX, isLog }) {
  const curves = names.map((name) => history.stretches(name));
  const steps = [...new Set(curves.flatMap((curve) => curve.map(middle)))].sort((one, other) => one - other);
  const place = new Map(steps.map((step, number) => [step, number]));
  const known = (value) => (isLog && !(value > 0) ? null : value);
  const drawn = curves.flatMap((curve) => {
    const smoothing = smoothingOf(curve, wanted);
    const [line, low, high] = [0, 1, 2].map(() => new Array(steps.length).fill(null));
    const [means, edges] = [smoothed(curve, smoothing), envelope(curve, smoothing)];
    curve.forEach((stretch, number) => {
      const at = place.get(middle(stretch));
      [line[at], low[at], high[at]] = [means[number], ...edges[number]].map(known);
    });
    return [line, low, high];
  });
  return { steps, data: [steps.map(toX), ...drawn] };
}

/** The stretch nearest to a step, or undefined. */
export function nearest(stretches, step) {
  let [low, high] = [0, stretches.length - 1];
  while (high - low > 1) {
    const between = (low + high) >> 1;
    if (middle(stretches[between]) < step) low = between;
    else high = between;
  }
  const [one, other] = [stretches[low], stretches[high]];
  if (!one || !other) return one ?? other;
  return Math.abs(middle(one) - step) <= Math.abs(middle(other) - step) ? one : other;
}

/** Turns steps into the x axis's values and back: steps, Unix seconds, or seconds since the first log point. */
export class Scale {
  constructor(history, kind) {
    this.kind = kind;
    this.known = history.stretches(TIME).map((stretch) => [middle(stretch), stretch.mean]);
    this.start = this.known.length ? (history.stretches(TIME)[0].low ?? 0) : 0;
    if (!this.known.length) this.kind = "step";
  }

  toX(step) {
    if (this.kind === "step") return step;
    return this.timeOf(step) - (this.kind === "relative" ? this.start : 0);
  }

  toStep(x) {
    if (this.kind === "step") return x;
    return interpolate(this.known.map(([step, time]) => [time, step]), x + (this.kind === "relative" ? this.start : 0));
  }

  timeOf(step) {
    return this.known.length ? interpolate(this.known, step) : null;
  }
}

function interpolate(pairs, at) {
  let [low, high] = [0, pairs.length - 1];
  if (!high) return pairs[0][1];
  while (high - low > 1) {
    const between = (low + high) >> 1;
    if (pairs[between][0] <= at) low = between;
    else high = between;
  }
  const [[x0, y0], [x1, y1]] = [pairs[low], pairs[high]];
  return x1 === x0 ? y1 : y0 + ((at - x0) * (y1 - y0)) / (x1 - x0);
}
