// What is drawn over and under the curves: events at their steps, and the mode of the adaptive controller as a band.

const MODE_TONES = { Stable: "good", Aggressive: "warn", Panic: "bad" };
const BAND_HEIGHT = 5;

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
export const color = (name) => style(name) || style("muted");
export const faded = (name, percent) => `color-mix(in srgb, ${color(name)} ${percent}%, transparent)`;
export const toneOfMode = (mode) => MODE_TONES[mode] ?? "val";

const toPlace = (plot, board, step) => Math.round(plot.valToPos(board.scale.toX(step), "x", true));

/** A dotted line with a head for each event, and a line at the step that was chosen. */
export function drawMarks(plot, board) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  const chosen = board.view.step === null ? [] : [{ step: board.view.step, tone: "text" }];
  for (const { step, tone } of [...board.marks, ...chosen]) {
    const x = toPlace(plot, board, step);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = ctx.fillStyle = color(tone);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillRect(x - 3 * devicePixelRatio, bbox.top, 6 * devicePixelRatio, 3 * devicePixelRatio);
  }
  ctx.restore();
}

/** The controller's modes as a band below the curves: [{ from, to, mode }] of the board. */
export function drawModes(plot, board) {
  const { ctx, bbox } = plot;
  const height = BAND_HEIGHT * devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const { from, to, mode } of board.modes) {
    const [left, right] = [toPlace(plot, board, from), to === null ? bbox.left + bbox.width : toPlace(plot, board, to)];
    ctx.fillStyle = faded(toneOfMode(mode), 60);
    ctx.fillRect(left, bbox.top + bbox.height - height, Math.max(0, right - left), height);
  }
  ctx.restore();
}

/** The stretches of the controller's modes, from its changes in the order of steps and the mode now. */
export function modesOf(changes, present) {
  const modes = changes.map(({ step, details }, place) => ({ from: step, to: changes[place + 1]?.step ?? null, mode: details.after }));
  const before = changes[0]?.details.before ?? present;
  return before ? [{ from: 0, to: changes[0]?.step ?? null, mode: before }, ...modes] : modes;
}
