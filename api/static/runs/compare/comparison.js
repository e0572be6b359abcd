// The comparison of the chosen runs: their curves, their values at a step, and the settings in which they differ.

import { ApiError, get } from "../../shared/api.js";
import { byId, element, write } from "../../shared/elements.js";
import { significant } from "../../shared/format.js";
import { ENDED, pageOf, stateTag, titleOf } from "../row.js";
import { say } from "../texts.js";
import { anchorsOf, fetchCurve, positionOver } from "./curves.js";
import { emptyPlot, Plot, positionText, valueAt } from "./plot.js";
import { showSettings } from "./settings.js";
import { showSteps, showValues, VALUE_NAMES } from "./values.js";

const CURVES = [
  "quality_ki_value", "quality_improvement_value", "psnr_ki_db", "ssim_ki", "validation_loss_value", "total_loss_value",
  "learning_rate_value", "grad_norm", "gradient_clip_val", "samples_per_second", "iteration_duration", "data_wait_ratio",
];
const RECORDS_PER_RUN = 1000;

export class Comparison {
  constructor(view, { onChange }) {
    this.view = view;
    this.onChange = onChange;
    /** What was fetched, by run and by what it depends on: nothing of an ended run is fetched twice. */
    this.cache = new Map();
    this.turn = 0;
    this.plot = new Plot(byId("curve"), (x, values) => this.tell(x, values));
    byId("value").replaceChildren(...CURVES.map((name) => new Option(say(name), name)));
    for (const name of ["value", "over", "at"]) {
      byId(name).addEventListener("change", (event) => this.change({ [name]: event.target.value }));
    }
    byId("chips").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.change({ chosen: this.view.chosen.filter((id) => id !== button.dataset.run) });
    });
  }

  change(changes) {
    Object.assign(this.view, changes);
    this.onChange();
  }

  /** Show the comparison of the chosen runs among all `runs`, once they are known. */
  async show(runs, { isComplete }) {
    const { view } = this;
    byId("value").value = CURVES.includes(view.value) ? view.value : (view.value = CURVES[0]);
    byId("over").value = view.over;
    const chosen = view.chosen.map((id) => runs.get(id)).filter(Boolean);
    if (isComplete && chosen.length < view.chosen.length) {
      this.change({ chosen: chosen.map(({ run_id }) => run_id) });
      return;
    }
    this.showChips(chosen);
    const turn = (this.turn += 1);
    if (!chosen.length) {
      emptyPlot(say(isComplete ? "compare.hint" : "loading"));
      this.plot.show([], "", "");
      return;
    }
    if (!this.plot.chart) emptyPlot(say("curve.loading"));
    const fetched = await Promise.all(chosen.map((run) => this.fetch(run)));
    if (turn === this.turn) this.showFetched(chosen, fetched);
  }

  /** Everything about a run that the comparison shows; what cannot be read is left out, and said. */
  async fetch(run) {
    const path = `/runs/${encodeURIComponent(run.run_id)}`;
    const names = VALUE_NAMES.join(",");
    const compare = `/statistics/compare?runs=${encodeURIComponent(run.run_id)}&names=${names}&limit=${RECORDS_PER_RUN}`;
    const [curve, records, settings, state] = await Promise.all([
      this.cached(run, this.view.value, () => fetchCurve(run.run_id, this.view.value), { steps: [], values: [] }),
      this.cached(run, "records", async () => (await get(compare)).records, []),
      this.cached(run, "settings", async () => (await get(`${path}/settings`)).settings, null),
      this.cached(run, "state", () => get(`${path}/state`), null),
    ]);
    return { curve, records: records.toSorted((one, other) => one.step - other.step), settings, anchors: anchorsOf(records, state) };
  }

  async cached(run, what, fetchIt, without) {
    const stamp = ENDED.has(run.run_state) ? `${run.started_at} ${run.step}` : `${run.started_at} ${run.step} ${run.best_quality}`;
    const key = `${run.run_id} ${what}`;
    const known = this.cache.get(key);
    if (known?.stamp === stamp) return known.answer;
    try {
      const answer = await fetchIt();
      this.cache.set(key, { stamp, answer });
      return answer;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return known?.answer ?? without;
    }
  }

  showFetched(chosen, fetched) {
    const { over, value, at } = this.view;
    const curves = fetched.flatMap(({ curve, anchors }, index) => {
      const position = positionOver(over, anchors);
      return position && curve.steps.length ? [{ index, xs: curve.steps.map(position), ys: curve.values }] : [];
    });
    emptyPlot(curves.length ? "" : say("curve.empty"));
    const label = say("curve.label", { value: say(value), over: say(`over.${over}`), count: curves.length });
    this.plot.show(curves, say(`axis.${over}`), label);
    this.tell(null, curves.map((curve) => [curve.index, valueAt(curve, Infinity)]));
    const columns = chosen.map((run, index) => ({ ...fetched[index], stamp: titleOf(run), heading: () => heading(run, index) }));
    showSteps(fetched.map(({ records }) => records), at);
    showValues(columns, at);
    showSettings(columns);
  }

  showChips(chosen) {
    const stamp = JSON.stringify(chosen.map((run) => [run.run_id, run.name, run.note, run.run_state]));
    if (byId("chips").dataset.stamp === stamp) return;
    byId("chips").dataset.stamp = stamp;
    byId("chips").replaceChildren(...chosen.map(chip));
  }

  /** Say the values under the cursor, or the last ones, beside the names. */
  tell(x, values) {
    write("curve-at", x === null ? say("curve.last") : say("curve.at", { x: positionText(this.view.over, x) }));
    const places = document.querySelectorAll("#chips .chip-value");
    for (const place of places) place.textContent = "–";
    for (const [index, value] of values) if (places[index]) places[index].textContent = significant(value);
  }
}

function chip(run, index) {
  const link = element("a", "", titleOf(run));
  link.href = pageOf(run);
  const remove = element("button", "small remove", "×");
  remove.type = "button";
  remove.dataset.run = run.run_id;
  remove.setAttribute("aria-label", say("remove", { run: titleOf(run) }));
  const item = element("li", "chip", key(index), link, stateTag(run), element("span", "chip-value", "–"), remove);
  if (run.note) item.title = run.note;
  return item;
}

function heading(run, index) {
  const item = element("th", "num", key(index), titleOf(run));
  item.scope = "col";
  return item;
}

/** The sign of a curve: its colour, and from the fifth on a dashed line. */
function key(index) {
  const sign = element("span", "key");
  sign.dataset.run = index + 1;
  sign.setAttribute("aria-hidden", "true");
  return sign;
}
