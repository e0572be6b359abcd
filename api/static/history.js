// The run's curves as this page has them: fetched piece by piece, begun anew when the run begins anew.

import { get } from "./api.js";

const NAMES = ["total_loss_value", "validation_loss_value", "quality_ki_value", "quality_lr_value"];

export class History {
  constructor() {
    this.begin(null);
  }

  begin(identity) {
    this.identity = identity;
    this.steps = [];
    this.values = Object.fromEntries(NAMES.map((name) => [name, []]));
  }

  /** Fetch what is new. A resume forgets later steps, so a new start of the run empties what is kept. */
  async update(identity) {
    if (identity !== this.identity) this.begin(identity);
    // The last step is asked for again: a validation may have joined its values to that log point.
    const from = this.steps.at(-1) ?? 0;
    const answer = await get(`/series?names=${NAMES.join(",")}&from=${from}`);
    if (identity !== this.identity) return;
    const kept = this.steps.findIndex((step) => step >= from);
    if (kept >= 0) this.cut(kept);
    this.steps.push(...answer.steps);
    for (const name of NAMES) this.values[name].push(...answer.values[name]);
  }

  cut(length) {
    this.steps.length = length;
    for (const name of NAMES) this.values[name].length = length;
  }

  /** [steps, …columns] of the steps at which at least one of `names` has a value. */
  columns(names) {
    const chosen = [...this.steps.keys()].filter((place) => names.some((name) => this.values[name][place] != null));
    const pick = (list) => chosen.map((place) => list[place] ?? null);
    return [pick(this.steps), ...names.map((name) => pick(this.values[name]))];
  }
}
