// The parts of the page that show one answer of /state: badge, position, tiles, terms, ranks.

import { duration, fixed, isNumber, moment, power, signed, significant, whole } from "./format.js";

const STATES = {
  none: "No run", starting: "Starting", running: "Running", paused: "Paused", stalled: "Stalled",
  lost: "Trainer lost", finished: "Finished", stopped: "Stopped", failed: "Failed",
};

const TERMS = [
  ["L1", "l1"], ["Multi-scale", "ms"], ["Gradient", "gradient"], ["Perceptual", "perceptual"],
];

const byId = (id) => document.getElementById(id);
const write = (id, text) => {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
};

/** Show the state of the run; `state` is null when there is no run. */
export function showState(state) {
  const known = state ?? { run_state: "none", per_rank: [] };
  document.body.dataset.run = known.run_state;
  byId("badge").dataset.state = known.run_state;
  write("badge", STATES[known.run_state] ?? known.run_state);
  byId("activity").hidden = !known.validation_running;
  write("run-id", known.run_id ?? "–");
  write("started", state ? `Started ${moment(known.started_at)}` : "");
  showPosition(known);
  showTiles(known);
  showTerms(known);
  showRanks(known.per_rank ?? []);
}

/** The API is away: what the run does now is not known, and the badge must not go on claiming it. */
export function showUnknown(state) {
  byId("badge").dataset.state = "none";
  byId("activity").hidden = true;
  write("badge", state ? `Unknown, was ${STATES[state.run_state].toLowerCase()}` : "Unknown");
}

function showPosition(state) {
  const step = Math.max(state.step_live ?? 0, state.step_current ?? 0);
  const hasRun = state.run_state !== "none";
  const share = hasRun && state.step_max ? step / state.step_max : 0;
  write("step", hasRun ? whole(step) : "–");
  write("step-max", whole(state.step_max));
  write("percent", state.step_max ? `${(100 * share).toFixed(1)} %` : "");
  byId("progress").value = share;
  write("eta", state.eta_total_formatted ?? "–");
  write("epoch", whole(state.epoch_num));
  write("epoch-step", isNumber(state.epoch_step_current) ? `${whole(state.epoch_step_current)} / ${whole(state.epoch_step_total)}` : "–");
  write("samples", whole(state.samples_seen));
  document.title = hasRun ? `${STATES[state.run_state]} · ${whole(step)} · Leitstand` : "Leitstand";
}

function showTiles(state) {
  write("loss", significant(state.total_loss_value));
  write("quality", fixed(state.quality_ki_value, 4));
  write("quality-note", isNumber(state.quality_ki_value) ? `${signed(state.quality_improvement_value, 4)} against LR` : "not validated yet");
  byId("quality-note").dataset.tone = !isNumber(state.quality_improvement_value) ? "" : state.quality_improvement_value >= 0 ? "ki" : "lr";
  write("best", fixed(state.best_quality_ever, 4));
  write("speed", isNumber(state.iteration_duration) ? `${Number(state.iteration_duration.toPrecision(3))} s/step` : "–");
  write("speed-note", isNumber(state.samples_per_second) ? `${fixed(state.samples_per_second, 1)} samples/s` : "–");
  write("rate", power(state.learning_rate_value));
  write("rate-note", state.lr_phase_name?.replace("_", " ") ?? "–");
  write("gradient", significant(state.grad_norm));
  write("gradient-note", isNumber(state.gradient_clip_val) ? `clipped above ${state.gradient_clip_val}` : "–");
}

function showTerms(state) {
  const rows = TERMS.map(([label, key]) => {
    const [value, weight] = [state[`${key}_loss_value`], state[`${key}_weight_current`]];
    const share = (value * weight) / state.total_loss_value;
    return [label, significant(value), fixed(weight, 2), isNumber(share) ? share : null];
  });
  fill(byId("terms"), rows, ([label, value, weight, share]) => [
    head(label), cell(value, "num"), cell(weight, "num"), bar(share, share === null ? "–" : `${(100 * share).toFixed(0)} %`),
  ]);
}

function showRanks(ranks) {
  write("ranks-note", ranks.length ? `${ranks.length} ${ranks.length === 1 ? "process" : "processes"}` : "");
  fill(byId("ranks"), ranks, (row) => [
    head(String(row.rank)),
    cell(element("span", "", element("span", "wide", `${row.host} · `), row.device)),
    cell(fixed(row.step_duration, 3), "num"),
    cell(isNumber(row.data_wait) ? `${(1000 * row.data_wait).toFixed(0)} ms` : "–", "num"),
    cell(isNumber(row.memory) ? `${row.memory.toFixed(1)} GiB` : "–", "num"),
  ], "The first log point shows every rank.");
}

/** Fill a table's body; it is left alone while nothing changed, so that a selection in it survives. */
export function fill(body, rows, cellsOf, emptyText = "") {
  const stamp = JSON.stringify(rows);
  if (body.dataset.stamp === stamp) return;
  body.dataset.stamp = stamp;
  body.replaceChildren(...rows.map((row) => element("tr", "", ...cellsOf(row))));
  if (rows.length || !emptyText) return;
  const note = element("td", "empty", emptyText);
  note.colSpan = 20;
  body.append(element("tr", "", note));
}

export const cell = (content, className = "") => element("td", className, content);

export function head(text, className = "") {
  const item = element("th", className, text);
  item.scope = "row";
  return item;
}

export function element(name, className, ...content) {
  const item = document.createElement(name);
  if (className) item.className = className;
  item.append(...content);
  return item;
}

function bar(share, text) {
  const filled = element("span", "bar-filled");
  filled.style.setProperty("width", `${100 * Math.min(1, Math.max(0, share ?? 0))}%`);
  return cell(element("span", "bar-row", element("span", "bar", filled), element("span", "bar-text", text)));
}

/** The strip under the head: how sound everything below is, and how old. Only the first is read out when it changes. */
export function showStrip(kind, text, age = "") {
  document.body.dataset.link = kind;
  write("strip-text", text);
  write("strip-age", age);
}

/** [kind, sentence, age] for the strip. */
export function sentenceAbout(state) {
  const age = `Data ${duration(state.age_seconds)} old.`;
  const reason = state.run_reason ? ` (${state.run_reason})` : "";
  switch (state.run_state) {
    case "lost": return ["alarm", "The trainer shows no sign of life.", `The last was ${duration(state.age_seconds)} ago; the values below are from then.`];
    case "failed": return ["alarm", `The run failed${reason}.`, `${duration(state.age_seconds)} ago.`];
    case "stalled": return ["warning", "The trainer is alive, but nothing moves.", `Last progress ${duration(state.progress_age_seconds)} ago.`];
    case "paused": return ["note", `Paused at step ${whole(state.step_live)}.`, age];
    case "starting": return ["note", "The trainer is starting; the first log point follows."];
    case "finished": return ["note", `The run is finished${reason}.`, `${duration(state.age_seconds)} ago.`];
    case "stopped": return ["note", `The run was stopped${reason}.`, `${duration(state.age_seconds)} ago.`];
    default: return ["live", "Live.", age];
  }
}
