// The curves of one run for the comparison: a value over steps, and when and after how many samples a step was made.

import { get } from "../../shared/api.js";

const POINTS = 600;

/** A run's curve of `value` as `{steps, values}`; empty where it has none. */
export async function fetchCurve(runId, value) {
  const { series } = await get(`/runs/${encodeURIComponent(runId)}/series?names=${value}&points=${POINTS}`);
  const { steps, last_steps, means } = series[value];
  // A value of one step is at that step; one of a stretch of steps is a mean, and so at its middle.
  return { steps: steps.map((first, index) => (first + last_steps[index]) / 2), values: means };
}

/** Where a run was at the steps of its records and is now: `[{step, samples_seen, last_update_time}, …]` in order of step. */
export function anchorsOf(records, state) {
  const known = records.map(({ step, values }) => ({ step, ...values }));
  if (state?.step_current != null) known.push({ ...state, step: state.step_current });
  const whole = known.filter(({ samples_seen: samples, last_update_time: at }) => samples != null && at != null);
  return whole.sort((one, other) => one.step - other.step);
}

/** A function from steps to the x of a chart: the steps themselves, samples, or hours since the start; null if unknown. */
export function positionOver(over, anchors) {
  if (over === "step") return (step) => step;
  const known = distinct(anchors);
  if (over === "samples") return interpolate([{ step: 0, samples_seen: 0 }, ...known.filter(({ step }) => step > 0)], "samples_seen");
  const at = interpolate(known, "last_update_time");
  if (!at) return null;
  const start = at(0);
  return (step) => (at(step) - start) / 3600;
}

function distinct(anchors) {
  return anchors.filter(({ step }, index) => step !== anchors[index + 1]?.step);
}

/** Straight lines between the anchors, and on beyond the outer ones; null if there are fewer than two. */
function interpolate(anchors, key) {
  if (anchors.length < 2) return null;
  return (step) => {
    const above = anchors.findIndex((anchor) => anchor.step >= step);
    const index = Math.min(Math.max(1, above < 0 ? anchors.length - 1 : above), anchors.length - 1);
    const [one, other] = [anchors[index - 1], anchors[index]];
    return one[key] + ((other[key] - one[key]) * (step - one.step)) / (other.step - one.step);
  };
}
