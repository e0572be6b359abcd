// A small curve of a run's quality, fetched only for runs that are shown, a few at a time, and again after a new record.

import { get } from "../shared/api.js";
import { fixed } from "../shared/format.js";
import { say } from "./texts.js";

const AT_A_TIME = 4;
const POINTS = 40;
const [WIDTH, HEIGHT, MARGIN] = [120, 28, 3];
const SVG = "http://www.w3.org/2000/svg";

export class Sparklines {
  constructor() {
    this.known = new Map();
    this.places = new Map();
    this.waiting = [];
    this.asked = new Set();
    this.running = 0;
  }

  /** Draw the curves of these runs, each `{run, place}`: those that are known now, the others once they have come. */
  draw(shown) {
    this.places = new Map(shown.map(({ run, place }) => [run.run_id, place]));
    this.waiting = []; // of runs that are not shown any more, none is asked for
    for (const { run, place } of shown) {
      const stamp = `${run.best_quality} ${run.quality}`;
      const known = this.known.get(run.run_id);
      if (known) show(place, known.points);
      const isNew = known?.stamp !== stamp && !this.asked.has(run.run_id);
      if (isNew && run.best_quality !== null) this.waiting.push({ id: run.run_id, stamp });
    }
    this.next();
  }

  next() {
    while (this.running < AT_A_TIME && this.waiting.length) {
      const { id, stamp } = this.waiting.shift();
      this.running += 1;
      this.asked.add(id);
      this.fetch(id, stamp).finally(() => {
        this.running -= 1;
        this.asked.delete(id);
        this.next();
      });
    }
  }

  async fetch(id, stamp) {
    const path = `/runs/${encodeURIComponent(id)}/series?names=quality_ki_value&points=${POINTS}`;
    // Without it, the row is still right: the curve is tried again after the next record.
    const points = await get(path).then(({ series }) => pointsOf(series.quality_ki_value), () => []);
    this.known.set(id, { stamp, points });
    if (this.places.has(id)) show(this.places.get(id), points);
  }
}

function pointsOf({ steps, last_steps, means }) {
  return means.map((mean, index) => [(steps[index] + last_steps[index]) / 2, mean]);
}

function show(place, points) {
  if (place.points === points) return;
  place.points = points;
  place.replaceChildren();
  if (!points.length) return;
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const scale = (values, size) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return (value) => MARGIN + (size - 2 * MARGIN) * (high > low ? (value - low) / (high - low) : 0.5);
  };
  const [x, y] = [scale(xs, WIDTH), scale(ys, HEIGHT)];
  const svg = part("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img" });
  svg.setAttribute("aria-label", say("spark.label", { first: fixed(ys[0], 3), last: fixed(ys.at(-1), 3) }));
  const line = points.map(([px, py]) => `${x(px).toFixed(1)},${(HEIGHT - y(py)).toFixed(1)}`).join(" ");
  svg.append(part("polyline", { points: line }));
  svg.append(part("circle", { cx: x(xs.at(-1)).toFixed(1), cy: (HEIGHT - y(ys.at(-1))).toFixed(1), r: 2.5 }));
  place.append(svg);
}

function part(name, attributes) {
  const item = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) item.setAttribute(key, value);
  return item;
}
