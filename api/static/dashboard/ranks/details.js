// What is asked for while a person may need it: stages of the ranks and their stacks, and the end of the log.

import { ApiError, get, getLog, getText } from "../../shared/api.js";
import { byId, cell, element, fill, head } from "../../shared/elements.js";
import { counted, t } from "../../shared/texts.js";
import { duration, fixed, isNumber, whole } from "../../shared/format.js";

const RANKS_MS = 2000;
const LOG_MS = 3000;
const LOG_LINES = 200;
const MOST_LOG_CHARACTERS = 200_000;
const LONG_SECONDS = 3;
const SLOW_FACTOR = 1.5;

/** Asks one thing once it is wanted, but not again before its time; without an answer, what is shown stays. */
class Repeated {
  constructor(everyMs, ask) {
    this.everyMs = everyMs;
    this.ask = ask;
    this.askedAt = -Infinity;
    this.isWanted = true;
  }

  async runIfDue(isWanted) {
    this.isWanted ||= isWanted;
    if (!this.isWanted || performance.now() < this.askedAt + this.everyMs) return;
    this.askedAt = performance.now();
    this.isWanted = false;
    try {
      await this.ask();
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 401) throw error;
    }
  }
}

export class Details {
  constructor() {
    this.measured = [];
    this.stages = [];
    this.logCursor = null;
    this.ranks = new Repeated(RANKS_MS, () => this.askRanks());
    this.log = new Repeated(LOG_MS, () => this.askLog());
    byId("log-card").addEventListener("toggle", () => this.askLog());
    byId("log-follow").addEventListener("change", () => this.scrollLog());
  }

  /** Another run, or another start of it, has another log. */
  begin() {
    this.logCursor = null;
  }

  /** Ask what is due; `isNew` says whether `state` differs from the last one. */
  async follow(state, isNew) {
    this.measured = state.per_rank ?? [];
    if (isNew) this.showRanks();
    await this.ranks.runIfDue(isNew || state.run_state === "stalled");
    await this.log.runIfDue(isNew && byId("log-card").open);
  }

  async askRanks() {
    this.stages = (await get("/ranks")).ranks;
    this.showRanks();
  }

  showRanks() {
    const rows = Math.max(this.measured.length, this.stages.length);
    const typical = median(this.measured.map((row) => row.own_duration ?? row.step_duration));
    byId("ranks-note").textContent = rows ? counted("ranks.processes", rows) : "";
    const joined = Array.from({ length: rows }, (_, rank) => ({ ...this.measured[rank], ...stageOf(this.stages[rank]), rank }));
    fill(byId("ranks"), joined, (row) => cellsOf(row, typical, (rank) => this.showStack(rank)), t("ranks.empty"));
  }

  async showStack(rank) {
    byId("stack-title").textContent = t("ranks.stack-title", { rank });
    byId("stack-text").textContent = "…";
    byId("stack-dialog").showModal();
    try {
      byId("stack-text").textContent = await getText(`/ranks/${rank}/stack`);
    } catch (error) {
      byId("stack-text").textContent = error.message;
    }
  }

  async askLog() {
    if (!byId("log-card").open) return;
    const place = byId("log");
    try {
      const { text, cursor, isContinued } = await getLog(LOG_LINES, this.logCursor);
      this.logCursor = cursor;
      if (isContinued && !text) return;
      if (isContinued) extend(place, text);
      else place.textContent = text;
    } catch (error) {
      this.logCursor = null;
      place.textContent = error.message;
    }
    this.scrollLog();
  }

  scrollLog() {
    if (byId("log-follow").checked) byId("log").scrollTop = byId("log").scrollHeight;
  }
}

/** Append a text; what is there stays, with what a person has selected in it, until it is too much. */
function extend(place, text) {
  place.append(text);
  if (place.textContent.length > MOST_LOG_CHARACTERS) place.textContent = place.textContent.slice(-MOST_LOG_CHARACTERS / 2).replace(/^.*\n/, "");
}

/** Only what a person reads: the seconds of a stage change all the time and matter when it lasts. */
function stageOf(status) {
  if (!status) return {};
  const seconds = status.stage_seconds + status.age_seconds;
  return {
    stage: status.stage, atStep: status.step, hasStack: status.has_stack, deviceOf: status.device, hostOf: status.host,
    lasting: seconds > LONG_SECONDS ? duration(seconds) : "", isSilent: status.age_seconds > 2 * LONG_SECONDS,
  };
}

function cellsOf(row, typical, onStack) {
  const own = row.own_duration ?? row.step_duration;
  const isSlow = isNumber(own) && own > SLOW_FACTOR * typical;
  const stage = element("span", "", row.stage ?? "–", row.atStep == null ? "" : ` · ${whole(row.atStep)}`, row.lasting ? ` · ${row.lasting}` : "");
  if (row.isSilent) stage.append(element("span", "tag alarm", t("ranks.silent")));
  const name = head(String(row.rank));
  if (isSlow) name.append(element("span", "tag alarm", t("ranks.slow")));
  const button = element("button", "small", t("ranks.stack"));
  button.type = "button";
  button.setAttribute("aria-label", t("ranks.stack-of", { rank: row.rank }));
  button.addEventListener("click", () => onStack(row.rank));
  return [
    name,
    cell(element("span", "", element("span", "wide", `${row.host ?? row.hostOf ?? "–"} · `), row.device ?? row.deviceOf ?? "–")),
    cell(stage),
    cell(fixed(row.step_duration, 3), "num"),
    cell(isNumber(row.data_wait) ? `${(1000 * row.data_wait).toFixed(0)} ms` : "–", "num wide"),
    cell(isNumber(row.memory) ? `${fixed(row.memory, 1)} GiB` : "–", "num wide"),
    cell(row.hasStack ? button : "", "num"),
  ];
}

function median(values) {
  const known = values.filter(isNumber).sort((one, other) => one - other);
  return known.length ? known[Math.floor((known.length - 1) / 2)] : NaN;
}
