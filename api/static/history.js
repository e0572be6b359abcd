// The run's curves as this page has them: fetched piece by piece, begun anew when the run begins anew.
//
// The server reduces a long history to stretches of steps. Each is drawn by its lowest and its highest point, in their
// order, so that no spike is lost; a stretch with one point, or two, is just these.

import { get } from "./api.js";

const [KI, LR] = ["quality_ki_value", "quality_lr_value"];
const NAMES = ["total_loss_value", "validation_loss_value", KI, LR];
const STRETCHES = 1000;
const MOST_STEPS = 20_000;

export class History {
  constructor() {
    this.begin(null);
  }

  begin(identity) {
    this.identity = identity;
    this.points = new Map();
    this.lastStep = 0;
  }

  /** Fetch what is new. A resume forgets later steps, so a new start of the run empties what is kept. */
  async update(identity) {
    if (identity !== this.identity || this.points.size > MOST_STEPS) this.begin(identity);
    // The last step is asked for again: a validation may have joined its values to that log point.
    let from = this.lastStep;
    for (let width = Infinity; width > 1; ) {
      const answer = await get(`/series?names=${NAMES.join(",")}&from=${from}&points=${STRETCHES}`);
      if (identity !== this.identity) return;
      this.replace(from, answer);
      // What came last is looked at more closely: its latest values are shown as numbers.
      width = Math.min(width - 1, answer.stretch_steps);
      from = Math.max(from, answer.last_step - answer.stretch_steps + 1);
    }
  }

  replace(from, { series, last_step: lastStep }) {
    for (const step of this.points.keys()) if (step >= from) this.points.delete(step);
    this.lastStep = Math.max(from, lastStep);
    for (const [name, stretches] of Object.entries(series)) {
      stretches.steps.forEach((_, place) => {
        this.put(stretches.low_steps[place], name, stretches.lows[place]);
        this.put(stretches.high_steps[place], name, stretches.highs[place]);
      });
    }
    if (series[KI] && series[LR]) this.pair(series[KI], series[LR]);
  }

  /** KI is compared with LR where KI has its extremes; LR is there what it was on average. */
  pair(ki, lr) {
    ki.steps.forEach((step, place) => {
      if (lr.steps[place] !== step) return;
      for (const at of [ki.low_steps[place], ki.high_steps[place]]) {
        if (this.points.get(at)[LR] == null) this.put(at, LR, lr.means[place]);
      }
    });
  }

  put(step, name, value) {
    if (!this.points.has(step)) this.points.set(step, {});
    this.points.get(step)[name] = value;
  }

  /** [steps, …columns] of the steps at which at least one of `names` has a value. */
  columns(names) {
    const steps = [...this.points.keys()].sort((one, other) => one - other);
    const chosen = steps.filter((step) => names.some((name) => this.points.get(step)[name] != null));
    return [chosen, ...names.map((name) => chosen.map((step) => this.points.get(step)[name] ?? null))];
  }
}
