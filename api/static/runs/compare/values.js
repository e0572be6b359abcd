// The table of values at a step: a column for each chosen run, a row for each value, the best of each row marked.

import { byId, cell, element, head, write } from "../../shared/elements.js";
import { fixed, isNumber, power, significant, whole } from "../../shared/format.js";
import { say } from "../texts.js";

const quality = (value) => fixed(value, 4);
const decibel = (value) => fixed(value, 2);
/** Key, how it is written, and which is better: 1 the higher, -1 the lower, 0 neither. */
const ROWS = [
  ["quality_ki_value", quality, 1], ["quality_improvement_value", quality, 1], ["quality_lr_value", quality, 0],
  ["psnr_ki_db", decibel, 1], ["ssim_ki", quality, 1], ["validation_loss_value", significant, -1],
  ["total_loss_value", significant, 0], ["learning_rate_value", power, 0], ["grad_norm", significant, 0],
  ["iteration_duration", significant, 0], ["samples_seen", whole, 0],
];
export const VALUE_NAMES = [...ROWS.map(([name]) => name), "last_update_time"];

/** Fill the choice of steps: those of all runs' records, and how many runs have one there. */
export function showSteps(recordsOf, at) {
  const counts = new Map();
  for (const records of recordsOf) for (const { step } of records) counts.set(step, (counts.get(step) ?? 0) + 1);
  const some = (count) => (count < recordsOf.length ? { count, of: recordsOf.length } : null);
  const steps = [...counts].sort(([one], [other]) => other - one);
  const options = [["last", say("values.last")], ["best", say("values.best")]];
  for (const [step, count] of steps) {
    options.push([String(step), some(count) ? say("values.some", { step, ...some(count) }) : whole(step)]);
  }
  const select = byId("at");
  const stamp = JSON.stringify(options);
  if (select.dataset.stamp !== stamp) {
    select.dataset.stamp = stamp;
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  }
  select.value = options.some(([value]) => value === at) ? at : "last";
}

/** The record of a run that `at` means: its last, its best, or that of a step; null if it has none there. */
function recordAt(records, at) {
  if (at === "best") return records.reduce((best, record) => (isBetter(record, best) ? record : best), null);
  return at === "last" ? records.at(-1) : records.find(({ step }) => String(step) === at);
}

function isBetter(record, best) {
  const [value, other] = [record.values.quality_ki_value, best?.values.quality_ki_value];
  return isNumber(value) && (!isNumber(other) || value > other);
}

/** Show the values; `columns` are `{heading, records}` in the order of the runs. */
export function showValues(columns, at) {
  const wanted = byId("at").value || at;
  const found = columns.map(({ records }) => recordAt(records, wanted) ?? null);
  byId("values-empty").hidden = found.some(Boolean);
  byId("values-scroll").hidden = !found.some(Boolean);
  write("values-empty", say("values.empty"));
  const stamp = JSON.stringify([columns.map(({ stamp: of }) => of), found]);
  if (byId("values").dataset.stamp === stamp) return;
  byId("values").dataset.stamp = stamp;
  const headings = columns.map(({ heading }) => heading());
  const steps = element("tr", "", head(say("values.row")), ...found.map((record) => cell(whole(record?.step), "num")));
  byId("values").replaceChildren(
    element("thead", "", element("tr", "", corner(), ...headings)),
    element("tbody", "", steps, ...ROWS.map((row) => rowOf(row, found))),
  );
}

function corner() {
  const item = element("th", "", element("span", "unseen", say("value")));
  item.scope = "col";
  return item;
}

function rowOf([name, written, better], found) {
  const values = found.map((record) => record?.values[name] ?? null);
  const numbers = values.filter(isNumber);
  const best = better && new Set(numbers).size > 1 ? better * Math.max(...numbers.map((value) => better * value)) : null;
  const cells = values.map((value) => {
    const isBest = best !== null && value === best;
    const mark = isBest ? element("span", "unseen", ` (${say("values.mark")})`) : "";
    return element("td", `num${isBest ? " best" : ""}`, written(value), mark);
  });
  return element("tr", "", head(say(name)), ...cells);
}
