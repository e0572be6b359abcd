// What the run's time went to, and its incidents: a fact beside the others, a card, and a sentence for the banner.

import { byId, cell, element, fill, head, write } from "../../shared/elements.js";
import { clock, duration, fixed, isNumber, percent, whole } from "../../shared/format.js";
import { counted, hasText, t } from "../../shared/texts.js";

/** What time went to, in the order in which it is shown. */
const USES = ["useful", "repeated", "starting", "validating", "saving", "paused", "stalled", "down", "stopped", "unknown"];
const LEAST_SHARE = 0.005;

const countOf = (state) => Object.values(state.incident_counts ?? {}).reduce((sum, count) => sum + count, 0);
const incidentsText = (state) => (countOf(state) ? counted("ledger.count", countOf(state)) : t("ledger.no-incident"));

/** The uses that took some time: { use, seconds, share } of the wall time. */
function usesOf(state) {
  return USES.map((use) => ({ use, seconds: state.time_seconds[use] ?? 0, share: state.time_seconds[use] / state.wall_seconds }))
    .filter(({ seconds }) => seconds >= 0.05);
}

/** "Useful: 93 % of 2 h 10 min (validating 4 %, starting 3 %); 2 incidents." Nothing where no time is known. */
export function ledgerSentence(state) {
  if (!isNumber(state?.useful_time_ratio)) return "";
  const rest = usesOf(state).filter(({ use, share }) => use !== "useful" && share >= LEAST_SHARE).toSorted((one, other) => other.share - one.share);
  const parts = rest.map(({ use, share }) => `${t(`ledger.${use}`)} ${percent(share)}`).join(", ");
  const values = { share: percent(state.useful_time_ratio, 1), wall: duration(state.wall_seconds), rest: parts && ` (${parts})` };
  return `${t("ledger.sentence", values)} ${incidentsText(state)}${lostText(state)}.`;
}

const lostText = (state) => (state.steps_lost ? `, ${counted("ledger.lost", state.steps_lost, { steps: whole(state.steps_lost) })}` : "");

/** Show the share of useful time, and in the card what the rest went to and the newest incidents. */
export function showLedger(state) {
  byId("ledger-card").hidden = !state?.time_seconds;
  if (!state?.time_seconds) return void write("useful", "–");
  write("useful", isNumber(state.useful_time_ratio) ? percent(state.useful_time_ratio, 1) : t("ledger.not-known"));
  write("ledger-note", `${isNumber(state.useful_time_ratio) ? t("ledger.of", { share: percent(state.useful_time_ratio, 1), wall: duration(state.wall_seconds) }) : t("ledger.not-known")} · ${incidentsText(state)}${lostText(state)}`);
  showUses(usesOf(state));
  fill(byId("incidents"), (state.incidents ?? []).map(rowOf), ([since, kind, recovery, lost, more]) => [
    head(since), cell(kind), cell(recovery), cell(lost, "num"), cell(more, "incident-text"),
  ], t("ledger.no-incident"));
}

function showUses(uses) {
  const stamp = JSON.stringify(uses.map(({ use, seconds, share }) => [use, Math.round(seconds), share.toFixed(3)]));
  const bar = byId("time-bar");
  if (bar.dataset.stamp === stamp) return;
  bar.dataset.stamp = stamp;
  bar.replaceChildren(...uses.map(({ use, share }) => {
    const part = element("span", "");
    part.dataset.use = use;
    part.style.setProperty("flex-grow", String(share));
    return part;
  }));
  byId("time-uses").replaceChildren(...uses.map(({ use, seconds, share }) => {
    const key = element("span", "time-key");
    key.dataset.use = use;
    return element("div", "", element("dt", "", key, t(`ledger.${use}`)), element("dd", "", `${percent(share, 1)} · ${duration(seconds)}`));
  }));
}

/** One incident as texts: when, what, how and when it was over, steps lost, and what else is known. */
function rowOf({ kind, began_at: began, detected_at: detected, recovery_seconds: seconds, recovery, source, steps_lost: lost, is_over: isOver, ranks, named_by: by, reason }) {
  const who = ranks?.length ? ` (${counted("ledger.ranks", ranks.length, { ranks: ranks.join(", ") })})` : "";
  const from = recovery ? t(`ledger.from-${recovery}`, { source: source ?? "" }) : t("ledger.not-known");
  const after = isNumber(seconds) ? t("ledger.after", { duration: seconds < 10 ? t("duration.seconds", { seconds: fixed(seconds, 1) }) : duration(seconds) }) : "";
  const named = by && hasText(`ledger.by-${by}`) ? t(`ledger.by-${by}`) : t("ledger.by-nobody");
  return [clock(detected ?? began), `${t(`ledger.${kind}`)}${who}`, isOver ? [from, after].filter(Boolean).join(", ") : t("ledger.lasts"), isNumber(lost) ? whole(lost) : t("ledger.not-known"), [named, by === "person" ? "" : reason].filter(Boolean).join(": ")];
}
