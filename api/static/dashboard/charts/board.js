// All charts together: one history, one view, one cursor by step. No update ever moves a view that is frozen.

import { byId, write } from "../../shared/elements.js";
import { clock, duration, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";
import { Chart } from "./chart.js";
import { Scale } from "./columns.js";
import { History, middle } from "./history.js";
import { QualityChart } from "./quality.js";

const LOSS_SERIES = [
  { name: "total_loss_value", label: t("series.training"), tone: "loss", width: 1.75, points: false },
  { name: "validation_loss_value", label: t("series.validation"), tone: "val", width: 1.5, dash: [5, 4], points: true },
];

export class Board {
  constructor(view) {
    this.view = view;
    this.history = new History(() => byId("loss-plot").clientWidth * devicePixelRatio);
    this.scale = new Scale(this.history, "step");
    this.marks = [];
    this.modes = [];
    this.step = null;
    /** Called with the step that a person chose, by a click or by Enter. */
    this.onChosen = () => {};
    this.charts = [
      new QualityChart(this, { place: byId("quality-plot"), keys: byId("quality-keys") }),
      new Chart(this, { title: t("chart.loss"), place: byId("loss-plot"), keys: byId("loss-keys"), series: LOSS_SERIES }),
    ];
    this.detailed = this.frame = this.redrawing = null;
    view.onChange((changes) => (isStepAlone(changes) ? this.redrawSoon() : this.show()));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.charts.forEach((chart) => chart.draw()));
  }

  get names() {
    return [...new Set(this.charts.flatMap((chart) => chart.names))];
  }

  show() {
    this.scale = new Scale(this.history, this.view.axis);
    for (const chart of this.charts) chart.show();
    this.showCursor();
    this.refine();
  }

  /** Show once for all that comes before the next frame: after a break there may be thousands of log points. */
  showSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.show();
    });
  }

  setMarks(marks, modes) {
    Object.assign(this, { marks, modes });
    this.redraw();
  }

  /** Draw lines and marks again, with the data that the charts have. */
  redraw() {
    for (const { plot } of this.charts) plot?.redraw(false);
  }

  /** The chosen step is a mark on the curves; while a slider moves, the picture of the step goes first. */
  redrawSoon() {
    this.redrawing ??= requestAnimationFrame(() => {
      this.redrawing = null;
      this.redraw();
    });
  }

  /** The steps that are shown; null while there are none. */
  range() {
    const curves = this.names.map((name) => this.history.stretches(name)).filter((curve) => curve.length);
    if (!curves.length) return null;
    return this.view.shown(Math.min(...curves.map((curve) => middle(curve[0]))), Math.max(...curves.map((curve) => middle(curve.at(-1)))));
  }

  /** Of a range that a person has frozen, the points are fetched more finely than those of the whole. */
  async refine() {
    const range = this.view.mode === "frozen" ? this.view.range : null;
    const wanted = JSON.stringify([range, this.names, this.history.turn]);
    if (wanted === this.detailed) return;
    this.detailed = wanted;
    await this.history.focus(range).catch(() => { this.detailed = null; });
    if (this.history.details) this.charts.forEach((chart) => chart.show());
  }

  /** Put the cursor of all charts at a step; `null` takes it away. */
  point(step, { by = null, isChosen = false } = {}) {
    if (step !== this.step) {
      this.step = step;
      for (const chart of this.charts) {
        if (chart === by) chart.showValues(step);
        else chart.point(step);
      }
      this.showCursor();
    }
    if (isChosen && step !== null) this.onChosen(step);
  }

  showCursor() {
    const time = this.step === null ? null : this.scale.timeOf(this.step);
    if (this.step === null) write("cursor-text", t("cursor.none"));
    else write("cursor-text", t("cursor.at", { step: whole(this.step), time: clock(time), since: duration(time === null ? null : time - this.scale.start) }));
  }

  /** The texts of the marks at a step, or between it and the point before. */
  marksAt(step) {
    const reach = this.steps().findLast((other) => other < step) ?? -1;
    return this.marks.filter((mark) => mark.step > reach && mark.step <= step).map(({ text }) => text);
  }

  steps() {
    return this.history.stretches("total_loss_value").map(middle);
  }
}

const isStepAlone = (changes) => Object.keys(changes ?? {}).join() === "step";
