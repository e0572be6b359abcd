// An entry of the event log as a sentence.

import { fixed, whole } from "../../shared/format.js";
import { counted, hasText, t } from "../../shared/texts.js";

const BAD = new Set(["alert undelivered", "checkpoint failed", "stalled", "hang ended", "not finite", "safety reset"]);

export function toneOf({ kind, details }) {
  if (BAD.has(kind)) return "bad";
  if (kind === "alert") return details.is_on ? "bad" : "good";
  if (kind === "command") return details.state === "done" ? "" : "bad";
  return kind === "record" ? "ki" : "";
}

/** Kinds whose text needs more than the details as they are. */
const VALUES = {
  started: ({ step, world_size: count }) => ({ key: step ? "event.resumed-on" : "event.started-on", values: { ranks: counted("event.ranks", count ?? 1) } }),
  record: ({ name, trigger, quality_ki_value: quality }) => ({
    key: quality == null ? "event.record" : "event.record-quality", values: { name, trigger, quality: fixed(quality, 4) },
  }),
  "slow rank": ({ rank }) => ({ key: rank == null ? "event.no-slow-rank" : "event.slow-rank", values: { rank } }),
  "not finite": ({ steps }) => ({ key: "event.not-finite", values: { steps: [steps].flat().map(whole).join(", ") } }),
  "left out": ({ files }) => ({ key: "event.left-out", values: { files: [files].flat().join(", ") } }),
  skipped: ({ images }) => ({ key: "event.skipped", values: { images: [images].flat().join(", ") } }),
  described: ({ actor, name, note }) => ({ key: "event.described", values: { actor, changes: pairs({ ...(name !== undefined && { name }), ...(note !== undefined && { note }) }) } }),
  "alert undelivered": ({ name, receiver }) => ({ key: "event.alert-undelivered", values: { name, receiver } }),
  set: (details) => ({ key: "event.set", values: { changes: pairs(details) } }),
  mode: ({ before, after }) => (after ? { key: "event.mode", values: { before, after } } : { key: "event.mode-reason", values: {} }),
};

export function sentenceOf({ kind, details }) {
  const reason = details.reason ? `: ${details.reason}` : "";
  if (kind === "alert") return details.sentence;
  if (kind === "command") return commandText(details, reason);
  if (kind === "data changed") return t("event.data-changed", { sets: setsText(details) });
  if (kind in VALUES) {
    const { key, values } = VALUES[kind](details);
    return t(key, values) + reason;
  }
  const key = `event.${kind.replaceAll(" ", "-")}`;
  if (hasText(key)) return t(key, { checkpoint: details.checkpoint ?? t("event.a-checkpoint") }) + reason;
  return `${capital(kind)}${reason || (Object.keys(details).length ? `: ${pairs(details)}` : "")}`;
}

function commandText({ kind, state, actor, arguments: given, why }, reason) {
  const what = given && Object.keys(given).length ? ` (${pairs(given)})` : "";
  const by = actor ? t("event.asked-by", { actor }) : "";
  return `${capital(t(`command.${kind ?? "command"}`))}${what} ${t(`outcome.${state}`)}${by}${why ? ` – ${why}` : ""}${reason}`;
}

function setsText(details) {
  return Object.entries(details).map(([set, { count_before: before, count_now: now }]) => t("event.data-set", { set, before: whole(before), now: whole(now) })).join("; ");
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const pairs = (details) => Object.entries(details).map(([name, value]) => `${name} ${JSON.stringify(value)?.replaceAll('"', "")}`).join(", ");
