// One chart with a curve for each chosen run. The names beside it are the legend, and say the values under the cursor.

import { byId } from "../../shared/elements.js";
import { fixed, short, whole } from "../../shared/format.js";
import { say } from "../texts.js";

const HEIGHT = () => (innerWidth < 640 ? 260 : 360);
/** From the fifth curve on, dashes tell those apart that have similar colours. */
const DASHES = [[], [], [], [], [7, 4], [7, 4], [7, 4], [7, 4]];

export class Plot {
  constructor(place, onCursor) {
    this.place = place;
    this.onCursor = onCursor;
    this.chart = null;
    this.stamp = "";
    new ResizeObserver(() => this.chart?.setSize(this.size())).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  size() {
    return { width: this.place.clientWidth, height: HEIGHT() };
  }

  redraw() {
    this.stamp = "";
    if (this.shown) this.show(...this.shown);
  }

  /** Draw `curves`, each `{index, xs, ys}`, over an axis with this name; nothing is drawn anew that did not change. */
  show(curves, axis, label) {
    this.shown = [curves, axis, label];
    const stamp = JSON.stringify([curves, axis]);
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    this.chart?.destroy();
    this.chart = null;
    this.place.setAttribute("aria-label", label);
    if (!curves.length) return;
    const data = uPlot.join(curves.map(({ xs, ys }) => [xs, ys]));
    this.chart = new uPlot(this.options(curves, axis), data, this.place);
  }

  options(curves, axis) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const grid = { stroke: colour("grid"), width: 1 };
    const axes = { stroke: colour("muted"), grid, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      ...this.size(),
      legend: { show: false },
      scales: { x: { time: false } },
      cursor: { y: false, points: { size: 7 } },
      axes: [
        { ...axes, size: 28, label: axis, labelSize: 22, labelFont: "12px system-ui, sans-serif", values: (_, splits) => splits.map(short) },
        { ...axes, size: 56, values: (_, splits) => splits.map(short) },
      ],
      series: [{}, ...curves.map(({ index, xs }) => ({
        stroke: colour(`run-${index + 1}`), width: 2, dash: DASHES[index], spanGaps: true, points: { show: xs.length < 3 },
      }))],
      hooks: { setCursor: [(chart) => this.tell(chart, curves)] },
    };
  }

  /** Report each curve's last value at or before the cursor; without a cursor, its last value of all. */
  tell(chart, curves) {
    const index = chart.cursor.idx;
    const at = index == null ? Infinity : chart.data[0][index];
    this.onCursor(index == null ? null : at, curves.map((curve) => [curve.index, valueAt(curve, at)]));
  }
}

export function valueAt({ xs, ys }, at) {
  const beyond = xs.findIndex((x) => x > at);
  const index = beyond < 0 ? xs.length - 1 : beyond - 1;
  return index < 0 ? null : ys[index];
}

export const emptyPlot = (text) => {
  byId("curve-empty").textContent = text;
  byId("curve-empty").hidden = !text;
};

export const positionText = (over, x) => `${over === "time" ? fixed(x, 2) : whole(x)} ${say(`axis.${over}`)}`;
