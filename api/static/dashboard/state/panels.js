// The parts of the page that show one answer of /state: badge, position, tiles, terms.

import { bar, byId, cell, fill, head, write } from "../../shared/elements.js";
import { duration, fixed, isNumber, percent, power, significant, signed, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";

const TERMS = [
  ["L1", "l1"], ["Multi-scale", "ms"], ["Gradient", "gradient"], ["Perceptual", "perceptual"],
];

/** States in which nothing is left to wait for, or nobody can say how long. */
const HALTED = new Set(["finished", "stopped", "failed", "lost"]);

/** Show the state of the run; `state` is null when there is no run. */
export function showState(state) {
  const known = state ?? { run_state: "none", per_rank: [] };
  document.body.dataset.run = known.run_state;
  byId("badge").dataset.state = known.run_state;
  write("badge", t(`state.${known.run_state}`));
  byId("activity").hidden = !known.validation_running;
  showPosition(known);
  showTiles(known);
  showTerms(known);
}

/** The API is away: what the run does now is not known, and the badge must not go on claiming it. */
export function showUnknown(state) {
  byId("badge").dataset.state = "none";
  byId("activity").hidden = true;
  write("badge", t("state.unknown"));
}

/** The last step that is known to be done. */
export const stepOf = (state) => Math.max(state?.step_live ?? 0, state?.step_current ?? 0);

function showPosition(state) {
  const step = stepOf(state);
  const hasRun = state.run_state !== "none";
  const share = hasRun && state.step_max ? step / state.step_max : 0;
  write("step", hasRun ? whole(step) : "–");
  write("step-max", whole(state.step_max));
  write("percent", state.step_max ? percent(share, 1) : "");
  byId("progress").value = share;
  write("eta", duration(HALTED.has(state.run_state) ? null : secondsLeft(state)));
  write("epoch", whole(state.epoch_num));
  write("epoch-step", isNumber(state.epoch_step_current) ? `${whole(state.epoch_step_current)} / ${whole(state.epoch_step_total)}` : "–");
  write("samples", whole(state.samples_seen));
  document.title = hasRun ? `${t(`state.${state.run_state}`)} · ${whole(step)} · Leitstand` : "Leitstand";
}

/** Seconds until the run is done, as of its last log point; null where that is not known. */
export function secondsLeft(state) {
  const parts = /^(\d+):(\d\d):(\d\d)$/.exec(state?.eta_total_formatted ?? "");
  return parts ? 3600 * parts[1] + 60 * parts[2] + Number(parts[3]) : null;
}

function showTiles(state) {
  write("loss", significant(state.total_loss_value));
  write("quality", fixed(state.quality_ki_value, 4));
  const gain = state.quality_improvement_value;
  write("quality-note", isNumber(state.quality_ki_value) ? t("tile.against-lr", { gain: signed(gain, 4) }) : t("tile.not-validated"));
  byId("quality-note").dataset.tone = !isNumber(gain) ? "" : gain >= 0 ? "ki" : "lr";
  write("best", fixed(state.best_quality_ever, 4));
  write("speed", isNumber(state.iteration_duration) ? t("tile.per-step", { seconds: significant(state.iteration_duration, 3) }) : "–");
  write("speed-note", isNumber(state.samples_per_second) ? t("tile.samples", { samples: fixed(state.samples_per_second, 1) }) : "–");
  write("rate", power(state.learning_rate_value));
  write("rate-note", state.lr_phase_name?.replace("_", " ") ?? "–");
  write("gradient", significant(state.grad_norm));
  write("gradient-note", isNumber(state.gradient_clip_val) ? t("tile.clipped", { limit: significant(state.gradient_clip_val, 3) }) : "–");
}

function showTerms(state) {
  const rows = TERMS.map(([label, key]) => {
    const [value, weight] = [state[`${key}_loss_value`], state[`${key}_weight_current`]];
    const share = (value * weight) / state.total_loss_value;
    return [label, significant(value), fixed(weight, 2), isNumber(share) ? share : null];
  });
  fill(byId("terms"), rows, ([label, value, weight, share]) => [
    head(label), cell(value, "num"), cell(weight, "num"), bar(share, percent(share)),
  ]);
}
