// The curve of the quality: the network against plain enlargement, where it overtook it, and whether it still gains.

import { byId, write } from "../../shared/elements.js";
import { fixed, signed, whole } from "../../shared/format.js";
import { counted, t } from "../../shared/texts.js";
import { Chart } from "./chart.js";
import { smoothingOf } from "./columns.js";
import { color, faded } from "./marks.js";

const RECENT = 5;

export class QualityChart extends Chart {
  constructor(board, { place, keys }) {
    super(board, {
      title: t("chart.quality"), place, keys,
      series: [
        { name: "quality_ki_value", label: "KI", tone: "ki", width: 2.25, points: true },
        { name: "quality_lr_value", label: "LR", tone: "lr", width: 1.75, dash: [7, 5], points: false },
      ],
    });
  }

  show() {
    super.show();
    this.compared = this.comparable();
    this.crossing = this.compared[0].length ? findCrossing(this.compared) : null;
    this.plot?.redraw(false);
    this.say();
  }

  /** [steps, KI, LR] where there are both: a validation of which not one image could be read has no quality. */
  comparable() {
    const other = new Map(this.board.history.stretches("quality_lr_value").map((stretch) => [stretch.step, stretch]));
    const both = this.board.history.stretches("quality_ki_value").filter(({ step }) => other.has(step));
    return [both.map(({ step, last }) => (step + last) / 2), both.map(({ mean }) => mean), both.map(({ step }) => other.get(step).mean)];
  }

  drawBehind(plot) {
    super.drawBehind(plot);
    if (this.compared && this.isPlain) fillBetween(plot, this.placed());
  }

  drawOver(plot) {
    super.drawOver(plot);
    if (this.crossing && this.isPlain) this.drawCrossing(plot);
  }

  /** Whether the curves are drawn as they were compared. */
  get isPlain() {
    const { isLog, smoothing } = this.board.view;
    return !isLog && smoothingOf(this.board.history.stretches("quality_ki_value"), smoothing) === 1;
  }

  /** What is compared, with places on the x axis instead of steps. */
  placed() {
    const [steps, ki, lr] = this.compared;
    return [steps.map((step) => this.board.scale.toX(step)), ki, lr];
  }

  say() {
    const [steps, ki, lr] = this.compared;
    byId("gain").hidden = ki.length < 2;
    if (!ki.length) return;
    const isAhead = ki.at(-1) >= lr.at(-1);
    byId("verdict").dataset.tone = isAhead ? "ki" : "lr";
    const distance = fixed(Math.abs(ki.at(-1) - lr.at(-1)), 4);
    if (!isAhead) write("verdict", t("quality.behind", { distance }));
    else write("verdict", this.crossing ? t("quality.ahead-since", { distance, step: whole(this.crossing.step) }) : t("quality.ahead", { distance }));
    const count = Math.min(RECENT, ki.length - 1);
    const gain = signed(ki.at(-1) - ki[ki.length - 1 - count], 4);
    const best = ki.reduce((found, value, place) => (value > ki[found] ? place : found), 0);
    const where = best === ki.length - 1 ? t("quality.best-now") : t("quality.best-at", { step: whole(steps[best]) });
    write("gain", `${counted("quality.gain", count, { gain })} ${where}`);
  }

  drawCrossing(plot) {
    const [x, y] = [plot.valToPos(this.board.scale.toX(this.crossing.at), "x", true), plot.valToPos(this.crossing.quality, "y", true)];
    const { ctx, bbox } = plot;
    if (x < bbox.left || x > bbox.left + bbox.width) return;
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
