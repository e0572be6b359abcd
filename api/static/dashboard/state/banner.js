// The banner, only when something is to be known or done: what is wrong, which rank stands out, the last lines of the
// log, and the next command to copy.

import { ApiError, getText } from "../../shared/api.js";
import { byId, write } from "../../shared/elements.js";
import { duration, fixed, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";
import { ledgerSentence } from "./ledger.js";
import { stepOf } from "./panels.js";

const LOG_LINES = 8;
const WAITING = new Set(["all-reduce", "log", "command"]);
const SILENT_SECONDS = 6;
const LONG_SECONDS = 3;
const TONES = { lost: "bad", failed: "bad", stalled: "warn", paused: "note", stopped: "note", finished: "good", starting: "note" };

/** The rank that keeps the others waiting, with the reason; null where none stands out. */
export function outlierOf(ranks, slowRank) {
  const silent = ranks.filter(({ age_seconds: age }) => age > SILENT_SECONDS);
  if (silent.length && silent.length < ranks.length) return { rank: silent[0].rank, text: t("banner.rank-silent", { rank: silent[0].rank, age: duration(silent[0].age_seconds) }) };
  const busy = ranks.filter(({ stage }) => !WAITING.has(stage));
  if (busy.length === 1 && ranks.length > 1 && busy[0].stage_seconds > LONG_SECONDS) {
    const [{ rank, stage, stage_seconds: seconds }] = busy;
    return { rank, text: t("banner.rank-busy", { rank, stage, seconds: duration(seconds) }) };
  }
  return slowOf(slowRank);
}

const slowOf = (rank) => (rank == null ? null : { rank, text: t("banner.rank-slow", { rank }) });

/** What the banner says of a state: { tone, title, text, more, purpose, command, hasLog }, or null where nothing is to be said. */
export function messageOf(state, ages, facts) {
  if (!state) return { tone: "note", title: t("banner.none"), text: t("banner.none-text"), purpose: t("banner.begin"), command: "leitstand up" };
  const kind = state.run_state;
  const reason = state.run_reason ?? "";
  const values = { age: duration(ages.data), progress: duration(ages.progress), step: whole(stepOf(state)), reason };
  const message = { tone: TONES[kind], title: t(`banner.${kind}`, values), text: reason || t(`banner.${kind}-text`, values) };
  const goOn = { purpose: t("banner.go-on"), command: "leitstand up" };
  const outlier = outlierOf(facts.ranks, state.slow_rank);
  switch (kind) {
    case "lost": return { ...message, text: t("banner.lost-text", values), ...goOn, hasLog: true };
    case "failed": return { ...message, more: ledgerSentence(state), ...goOn, hasLog: true };
    case "stalled": return { ...message, outlier, ...stackOf(outlier?.rank ?? 0), hasLog: true };
    case "stopped": return { ...message, more: ledgerSentence(state), ...goOn };
    case "finished": return { ...message, more: ledgerSentence(state), ...finished(state, facts) };
    case "paused": case "starting": return message;
    default: return reason ? hangMessage(reason, outlier) : slowMessage(slowOf(state.slow_rank));
  }
}

/** A rank was named that hangs, before the run as a whole counts as stalled. */
const hangMessage = (text, outlier) => ({ tone: "warn", title: t("banner.hang"), text, outlier, ...stackOf(outlier?.rank ?? 0), hasLog: true });
const slowMessage = (slow) => slow && { tone: "warn", title: slow.text, text: t("banner.slow-text"), ...stackOf(slow.rank) };
const stackOf = (rank) => ({ purpose: t("banner.stack"), command: `leitstand ranks --stack ${rank}` });

/** Of a finished run: how long it took, its best record with the checkpoint of it, and how to train on. */
function finished(state, { took, best, checkpoints }) {
  const saved = checkpoints.find(({ links }) => links.includes("best"));
  const texts = [
    took === null ? "" : t("banner.took", { duration: duration(took) }),
    best ? t("banner.best", { name: best.name, quality: fixed(best.quality_ki_value, 4) }) : "",
    saved ? t("banner.best-checkpoint", { name: saved.name }) : "",
  ];
  return { text: texts.filter(Boolean).join(" "), purpose: t("banner.train-on"), command: `leitstand up --set MAX_STEPS=${2 * (state.step_max ?? 1000)}` };
}

export class Banner {
  constructor() {
    this.hasLog = false;
    byId("banner-copy").addEventListener("click", () => this.copy());
    byId("banner-rank").addEventListener("click", () => this.onRank(this.rank));
    /** Called with the rank whose stack a person wants to see. */
    this.onRank = () => {};
  }

  /** Show a message as `messageOf` makes it; null hides the banner. */
  show(message) {
    byId("banner").hidden = !message;
    if (!message) return void (this.hasLog = false);
    byId("banner").dataset.tone = message.tone;
    write("banner-title", message.title);
    write("banner-text", message.text);
    write("banner-more", message.more ?? "");
    byId("banner-more").hidden = !message.more;
    byId("banner-rank-line").hidden = !message.outlier;
    this.rank = message.outlier?.rank;
    write("banner-outlier", message.outlier?.text ?? "");
    byId("banner-next").hidden = !message.command;
    write("banner-purpose", message.purpose ?? "");
    write("banner-command", message.command ?? "");
    byId("banner-log").hidden = !message.hasLog || !byId("banner-log").textContent;
    if (message.hasLog && !this.hasLog) this.fetchLog();
    this.hasLog = Boolean(message.hasLog);
  }

  async fetchLog() {
    try {
      const text = await getText(`/logs?tail=${LOG_LINES}`);
      byId("banner-log").textContent = text.trimEnd();
      byId("banner-log").hidden = !text.trim() || !this.hasLog;
      byId("banner-log").scrollTop = byId("banner-log").scrollHeight; // what came last tells most
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 0 || error.status >= 500) this.hasLog = false; // asked for again when the banner is shown next
    }
  }

  /** Without the right to write to the clipboard the command is selected, ready to be copied by hand. */
  async copy() {
    try {
      await navigator.clipboard.writeText(byId("banner-command").textContent);
      write("banner-copy", t("banner.copied"));
      setTimeout(() => write("banner-copy", t("banner.copy")), 2000);
    } catch {
      getSelection().selectAllChildren(byId("banner-command"));
    }
  }
}
