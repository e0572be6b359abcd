// The bar that stays: which run, how it is and since when, where it stands, when it ends, and how old all this is.

import { byId, write } from "../../shared/elements.js";
import { clock, duration, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";
import { secondsLeft, stepOf } from "./panels.js";

const ENDED = new Set(["finished", "stopped", "failed"]);
const OLD_SECONDS = 10;

/** Since when (Unix seconds) the present state lasts; null where that is not known. `changes` are pauses and their ends. */
export function sinceOf(state, ages, changes) {
  const now = Date.now() / 1000;
  if (state.run_state === "lost" || ENDED.has(state.run_state)) return now - ages.data;
  if (state.run_state === "stalled") return now - ages.progress;
  const kinds = state.run_state === "paused" ? ["paused"] : ["resumed", "started"];
  const known = changes.filter(({ kind, time }) => kinds.includes(kind) && time >= state.started_at - 1).map(({ time }) => time);
  if (known.length) return Math.max(...known);
  return state.run_state === "paused" ? null : state.started_at;
}

function sinceText(state, ages, changes, isAway) {
  if (isAway) return t("bar.was", { state: t(`state.${state.run_state}`).toLowerCase() });
  const since = sinceOf(state, ages, changes);
  return since === null ? "" : t("bar.since", { time: clock(since), duration: duration(Date.now() / 1000 - since) });
}

/** When a running training will have finished, in words: "finishes Tuesday 14:20". */
export function finishText(state) {
  const left = secondsLeft(state);
  if (left === null || state.run_state !== "running" || !state.last_update_time) return "";
  return t("bar.finishes", { time: clock(state.last_update_time + left, "long"), left: duration(left) });
}

/** Show the state, or that there is none; while the API is away it is only known how it was. */
export function showBar(state, ages, changes, isAway) {
  const name = state?.run_name || state?.run_id || t("bar.no-run");
  write("run-name", name);
  write("run-id", state?.run_name ? state.run_id : "");
  write("run-note", state?.run_note ?? "");
  byId("run-note").hidden = !state?.run_note;
  write("since", state ? sinceText(state, ages, changes, isAway) : "");
  write("bar-step", state ? t("bar.step", { step: whole(stepOf(state)), max: whole(state.step_max) }) : "");
  write("finish", state && !isAway ? finishText(state) : "");
}

/** Show how the page hears of the run, and how old what it shows is. */
export function showAge(state, ages, link) {
  const isOld = state && ages.data > OLD_SECONDS && !ENDED.has(state.run_state);
  document.body.dataset.link = ["away", "refused"].includes(link) ? "alarm" : isOld ? "warning" : state ? "live" : "note";
  write("link-text", state ? t(`link.${link}`, { age: duration(ages.data) }) : t("link.waiting"));
}
