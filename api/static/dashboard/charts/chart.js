// One chart over steps, drawn by uPlot on a canvas; its legend is ordinary text above it, so that everything can read it.

import { element } from "../../shared/elements.js";
import { clock, duration, short, significant, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";
import { columns, nearest } from "./columns.js";
import { middle } from "./history.js";
import { color, drawMarks, drawModes, faded } from "./marks.js";

const MANY_POINTS = 50;
const BAND_PERCENT = 16;
const KEYS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };

/** What all charts share: data, legend, cursor, size and theme. Subclasses draw more over them. */
export class Chart {
  /** `series` are { name, label, tone, width, dash, points }; the board has the view and the history that all share. */
  constructor(board, { title, place, keys, series }) {
    Object.assign(this, { board, title, place, series });
    this.plot = this.data = null;
    this.steps = [];
    this.values = series.map(({ label, tone }) => appendKey(keys, label, tone));
    place.tabIndex = 0;
    place.setAttribute("role", "slider");
    place.addEventListener("keydown", (event) => this.onKey(event));
    place.addEventListener("blur", () => board.point(null));
    place.addEventListener("click", () => board.point(this.stepUnder(), { isChosen: true }));
    place.addEventListener("mousemove", () => board.point(this.stepUnder(), { by: this }));
    place.addEventListener("mouseleave", () => board.point(null, { by: this }));
    this.observer = new ResizeObserver(() => this.plot?.setSize(this.size()));
    this.observer.observe(place);
  }

  get names() {
    return this.series.map(({ name }) => name);
  }

  /** Draw what the history has now, in the view that the board has. */
  show() {
    const { view, scale } = this.board;
    const { steps, data } = columns(this.board.history, this.names, { smoothing: view.smoothing, toX: (step) => scale.toX(step), isLog: view.isLog });
    this.steps = steps;
    this.data = steps.length ? data : null;
    const form = [scale.kind, view.isLog, view.smoothing > 1, steps.length > MANY_POINTS, Boolean(this.data), this.series.length].join();
    if (this.plot && form === this.form) this.plot.setData(this.data, false);
    else this.draw();
    this.form = form;
    this.setRange();
    this.showValues(this.board.step);
  }

  draw() {
    this.plot?.destroy();
    this.plot = null;
    this.place.classList.toggle("is-drawn", Boolean(this.data));
    if (!this.data) return;
    this.plot = new uPlot({ ...this.size(), ...this.options() }, this.data, this.place);
    this.plot.over.addEventListener("dblclick", () => this.board.view.set({ mode: "all", range: null }));
  }

  remove() {
    this.observer.disconnect();
    this.plot?.destroy();
  }

  setRange() {
    const range = this.board.range();
    if (!this.plot || !range) return;
    const [min, max] = [range.min, range.max].map((step) => this.board.scale.toX(step));
    this.plot.setScale("x", min < max ? { min, max } : { min: min - 1, max: max + 1 });
  }

  size() {
    return { width: Math.max(180, Math.floor(this.place.clientWidth)), height: Math.max(140, this.place.clientHeight) };
  }

  options() {
    const { scale, view } = this.board;
    const format = { step: whole, time: (x) => clock(x), relative: duration }[scale.kind];
    const manyPoints = this.steps.length > MANY_POINTS;
    return {
      legend: { show: false },
      padding: [12, 14, 0, 0],
      cursor: { y: false, points: { size: 7 }, drag: { x: true, y: false } },
      scales: { x: { time: scale.kind === "time" }, y: { distr: view.isLog ? 3 : 1 } },
      axes: [axis((_, places) => places.map(format), 30), axis((_, values) => values.map((value) => (value === null ? "" : short(value))), 58)],
      series: [{}, ...this.series.flatMap((series) => lines(series, !manyPoints, view.smoothing > 1))],
      bands: this.series.map(({ tone }, number) => ({ series: [3 * number + 3, 3 * number + 2], fill: faded(tone, BAND_PERCENT) })),
      hooks: { setSelect: [(plot) => this.onSelect(plot)], drawAxes: [(plot) => this.drawBehind(plot)], draw: [(plot) => this.drawOver(plot)] },
    };
  }

  drawBehind(plot) {
    drawModes(plot, this.board);
  }

  drawOver(plot) {
    drawMarks(plot, this.board);
  }

  onSelect(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const [min, max] = [left, left + width].map((x) => this.board.scale.toStep(plot.posToVal(x, "x")));
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.board.view.set({ mode: "frozen", range: { min, max } });
  }

  onKey(event) {
    if (event.key === "Enter" && this.board.step !== null) this.board.point(this.board.step, { isChosen: true });
    if (event.key === "Escape") this.board.point(null);
    const by = KEYS[event.key];
    if (by === undefined || !this.data || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const { min, max } = this.board.range();
    const shown = this.steps.filter((step) => step >= min && step <= max);
    const before = this.board.step === null ? shown.length : shown.findIndex((step) => step >= this.board.step);
    this.board.point(shown[Math.min(shown.length - 1, Math.max(0, before + by))] ?? null);
  }

  /** The step of the point under the cursor, or null. */
  stepUnder() {
    const at = this.plot?.cursor.idx;
    return at == null ? null : this.steps[at];
  }

  /** Put the cursor at a step; `null` takes it away. */
  point(step) {
    if (this.plot) this.plot.setCursor({ left: step === null ? -10 : this.plot.valToPos(this.board.scale.toX(step), "x"), top: 10 }, false);
    this.showValues(step);
  }

  /** The values nearest to a step, or each series' latest. */
  showValues(step) {
    const said = this.series.map(({ name, label }, number) => {
      const curve = this.board.history.stretches(name);
      const found = step === null ? curve.at(-1) : nearest(curve, step);
      const place = this.values[number];
      place.textContent = significant(found?.mean);
      place.title = found ? rangeText(found) : "";
      const isElsewhere = found && step !== null && Math.abs(middle(found) - step) > 0.5;
      if (isElsewhere) place.append(element("small", "", ` @ ${whole(middle(found))}`));
      return `${label} ${significant(found?.mean)}`;
    });
    const texts = { title: this.title, values: said.join(", ") };
    this.place.setAttribute("aria-label", this.data ? t("chart.latest", texts) : t("chart.nothing", texts));
    this.place.setAttribute("aria-valuetext", step === null ? said.join(", ") : `${t("chart.step", { step: whole(step) })}: ${said.join(", ")}`);
    this.place.setAttribute("aria-valuenow", String(Math.round(step ?? this.steps.at(-1) ?? 0)));
    this.place.title = step === null ? "" : this.board.marksAt(step).join("\n");
  }
}

function rangeText({ step, last, low, high, count }) {
  if (count === 1) return t("chart.step", { step: whole(step) });
  return t("chart.stretch", { first: whole(step), last: whole(last), count: whole(count), low: significant(low), high: significant(high) });
}

function appendKey(keys, label, tone) {
  const value = element("b", "", "–");
  const item = element("li", "", element("span", "", label), value);
  item.dataset.tone = tone;
  keys.append(item);
  return value;
}

/** The line of a series, and its lowest and highest values, between which the band is filled. */
function lines({ tone, width, dash, points }, mayShowPoints, isSmoothed) {
  const stroke = color(tone);
  const shown = { show: Boolean(points) && mayShowPoints, size: 6, fill: color("panel"), stroke, width: 1.5 };
  const edge = { stroke: faded(tone, isSmoothed ? 0 : 34), width: 1, spanGaps: true, points: { show: false } };
  return [{ stroke, width, dash, spanGaps: true, points: shown }, edge, { ...edge }];
}

function axis(values, size) {
  return {
    values,
    size,
    stroke: color("muted"),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    grid: { stroke: color("grid"), width: 1 },
    ticks: { show: false },
  };
}
