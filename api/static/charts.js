// The two curves. Drawn by uPlot on a canvas; the legend is ordinary text above it, so it is readable by everything.

import { fixed, significant, whole } from "./format.js";

const HEIGHT = 264;
const MANY_POINTS = 60;
const SYNC = "steps";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const faded = (name, percent) => `color-mix(in srgb, ${color(name)} ${percent}%, transparent)`;

/** What all charts share: data, legend, size and theme. Subclasses say which series and what is drawn over them. */
class Chart {
  constructor(place, keys, series) {
    this.place = place;
    this.series = series;
    this.data = null;
    this.values = series.map(({ label, tone }) => appendKey(keys, label, tone));
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(columns) {
    const wasEmpty = !this.data;
    this.data = columns[0].length ? columns : null;
    if (this.plot && this.data && !wasEmpty && !this.pointsChanged()) this.plot.setData(this.data);
    else this.draw();
    this.showValues(null);
    this.place.setAttribute("aria-label", this.summary());
  }

  draw() {
    this.plot?.destroy();
    this.plot = null;
    this.place.classList.toggle("is-drawn", Boolean(this.data));
    if (!this.data) return;
    this.manyPoints = this.data[0].length > MANY_POINTS;
    this.plot = new uPlot({ ...this.size(), ...this.options() }, this.data, this.place);
  }

  pointsChanged() {
    return this.manyPoints !== this.data[0].length > MANY_POINTS;
  }

  size() {
    return { width: Math.max(200, Math.floor(this.place.clientWidth)), height: HEIGHT };
  }

  options() {
    return {
      legend: { show: false },
      padding: [12, 14, 0, 0],
      cursor: { sync: { key: SYNC }, y: false, points: { size: 7 }, drag: { x: true, y: false } },
      scales: { x: { time: false } },
      axes: [axis((_, steps) => steps.map(whole), 30), axis((_, values) => values.map(shortest), 58)],
      series: [{}, ...this.series.map((series) => line(series, !this.manyPoints))],
      hooks: { setCursor: [(plot) => this.showValues(plot.cursor.idx)] },
    };
  }

  /** The values under the cursor, or each series' latest. */
  showValues(place) {
    this.values.forEach((item, number) => {
      const column = this.data?.[number + 1] ?? [];
      const value = place == null ? column.findLast((entry) => entry != null) : column[place];
      item.textContent = significant(value);
    });
  }

  summary() {
    const texts = this.series.map(({ label }, number) => `${label} ${this.values[number].textContent}`);
    return this.data ? `${this.title} over steps, latest: ${texts.join(", ")}` : `${this.title} over steps: nothing yet`;
  }
}

export class LossChart extends Chart {
  title = "Loss";

  constructor(place, keys) {
    super(place, keys, [
      { label: "Training", tone: "loss", width: 1.75, points: false },
      { label: "Validation", tone: "val", width: 1.5, dash: [5, 4], points: true },
    ]);
  }
}

export class QualityChart extends Chart {
  title = "Quality";

  constructor(place, keys, verdict) {
    super(place, keys, [
      { label: "KI", tone: "ki", width: 2.25, points: true },
      { label: "LR", tone: "lr", width: 1.75, dash: [7, 5], points: false },
    ]);
    this.verdict = verdict;
  }

  show(columns) {
    // A validation of which not one image could be read has no quality to compare.
    const both = [...columns[0].keys()].filter((place) => columns[1][place] != null && columns[2][place] != null);
    const compared = columns.map((column) => both.map((place) => column[place]));
    this.crossing = both.length ? findCrossing(compared) : null;
    super.show(compared);
    if (this.data) this.sayVerdict();
  }

  options() {
    const options = super.options();
    const drawn = { drawAxes: [(plot) => fillBetween(plot, this.data)], draw: [(plot) => this.drawCrossing(plot)] };
    return { ...options, hooks: { ...options.hooks, ...drawn } };
  }

  sayVerdict() {
    const [ki, lr] = [1, 2].map((column) => this.data[column].at(-1));
    const isAhead = ki >= lr;
    this.verdict.dataset.tone = isAhead ? "ki" : "lr";
    const distance = fixed(Math.abs(ki - lr), 4);
    const since = this.crossing ? `, since the validation at step ${whole(this.crossing.step)}` : "";
    this.verdict.textContent = isAhead
      ? `KI is ahead of LR by ${distance}${since}.`
      : `KI is behind LR by ${distance}: the network is not yet better than plain enlargement.`;
  }

  drawCrossing(plot) {
    if (!this.crossing) return;
    const [x, y] = [plot.valToPos(this.crossing.at, "x", true), plot.valToPos(this.crossing.quality, "y", true)];
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = faded("ki", 60);
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([3 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, y + 8 * devicePixelRatio);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.strokeStyle = color("ki");
    ctx.beginPath();
    ctx.arc(x, y, 7 * devicePixelRatio, 0, 2 * Math.PI);
    ctx.stroke();
    ctx.restore();
  }
}

/** Shade what lies between the curves, in the colour of the one that is ahead. */
function fillBetween(plot, [steps, ki, lr]) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const [tone, isAhead] of [["ki", (place) => ki[place] >= lr[place]], ["lr", (place) => ki[place] <= lr[place]]]) {
    ctx.fillStyle = faded(tone, 15);
    ctx.beginPath();
    for (let place = 1; place < steps.length; place += 1) {
      const corners = cornersBetween([steps, ki, lr], place, isAhead);
      corners.forEach(([step, value], number) => {
        const [x, y] = [plot.valToPos(step, "x", true), plot.valToPos(value, "y", true)];
        if (number) ctx.lineTo(x, y);
        else ctx.moveTo(x, y);
      });
    }
    ctx.fill();
  }
  ctx.restore();
}

/** The polygon between both curves from validation `place - 1` to `place`, as far as `isAhead` holds. */
function cornersBetween([steps, ki, lr], place, isAhead) {
  const ends = [place - 1, place].filter(isAhead);
  if (!ends.length) return [];
  const upper = ends.map((end) => [steps[end], ki[end]]);
  const lower = ends.map((end) => [steps[end], lr[end]]).reverse();
  return ends.length === 2 ? [...upper, ...lower] : [...upper, meeting([steps, ki, lr], place), ...lower];
}

/** The point between two validations at which the curves cross. */
function meeting([steps, ki, lr], place) {
  const [before, after] = [ki[place - 1] - lr[place - 1], ki[place] - lr[place]];
  const share = before / (before - after);
  const between = (list) => list[place - 1] + share * (list[place] - list[place - 1]);
  return [between(steps), between(lr)];
}

/** Where KI last overtook LR: the first validation ahead, and the point at which the two lines meet. */
function findCrossing([steps, ki, lr]) {
  let place = ki.length - 1;
  if (!(ki[place] >= lr[place])) return null;
  while (place > 0 && ki[place - 1] >= lr[place - 1]) place -= 1;
  if (place === 0) return null;
  const [at, quality] = meeting([steps, ki, lr], place);
  return { step: steps[place], at, quality };
}

function appendKey(keys, label, tone) {
  const item = document.createElement("li");
  item.dataset.tone = tone;
  const name = document.createElement("span");
  name.textContent = label;
  const value = document.createElement("b");
  value.textContent = "–";
  item.append(name, value);
  keys.append(item);
  return value;
}

function line({ label, tone, width, dash, points }, mayShowPoints) {
  const stroke = color(tone);
  return {
    label,
    stroke,
    width,
    dash,
    spanGaps: true,
    points: { show: points && mayShowPoints, size: 6, fill: color("panel"), stroke, width: 1.5 },
  };
}

function axis(values, size) {
  return {
    values,
    ...(size ? { size } : {}),
    stroke: color("muted"),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    grid: { stroke: color("grid"), width: 1 },
    ticks: { show: false },
  };
}

function shortest(value) {
  return Math.abs(value) >= 1e-4 || value === 0 ? String(Number(value.toPrecision(6))) : value.toExponential(1);
}
