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

/**
 * Asks one thing whenever it is wanted, one request after the other and not more often than every so many milliseconds.
 * No wish is dropped: what is wanted meanwhile is asked for as soon as it may be, and again where there was no answer.
 */
class Repeated {
  /** `onError` gets what is no failure of the API, and the refusal of the token. */
  constructor(everyMs, ask, onError) {
    Object.assign(this, { everyMs, ask, onError });
    this.askedAt = -Infinity;
    this.isWanted = this.isAsking = false;
    this.timer = null;
  }

  want() {
    this.isWanted = true;
    if (this.isAsking || this.timer) return;
    this.timer = setTimeout(() => this.run(), Math.max(0, this.askedAt + this.everyMs - performance.now()));
  }

  /** Ask without waiting for the time, as where a person asks for it. */
  wantNow() {
    clearTimeout(this.timer);
    this.timer = null;
    this.askedAt = -Infinity;
    this.want();
  }

  /** Ask what is wanted and was not answered. */
  goOn() {
    if (this.isWanted) this.want();
  }

  async run() {
    this.askedAt = performance.now();
    this.timer = null;
    this.isWanted = false;
    this.isAsking = true;
    try {
      await this.ask();
      this.isAsking = false;
      this.goOn();
    } catch (error) {
      this.isAsking = false;
      this.isWanted = true; // the next state goes on with it: then the API answers again
      if (!(error instanceof ApiError) || error.status === 401) this.onError(error);
    }
  }
}

export class Details {
  /** `onError` gets why nothing more can be asked. */
  constructor(onError) {
    this.measured = [];
    this.stages = [];
    this.logCursor = null;
    this.logNumber = 0;
    this.ranks = new Repeated(RANKS_MS, () => this.askRanks(), onError);
    this.log = new Repeated(LOG_MS, () => this.askLog(), onError);
    byId("log-card").addEventListener("toggle", () => byId("log-card").open && this.log.wantNow());
    byId("log-follow").addEventListener("change", () => this.scrollLog());
  }

  /** Another run, or another start of it, has another log. */
  begin() {
    this.logCursor = null;
    this.logNumber += 1;
    if (byId("log-card").open) this.log.want();
  }

  /** Ask what is due; `isNew` says whether `state` differs from the last one. */
  follow(state, isNew) {
    this.measured = state.per_rank ?? [];
    if (isNew) this.showRanks();
    if (isNew || state.run_state === "stalled" || state.run_reason) this.ranks.want();
    if (isNew && byId("log-card").open) this.log.want();
    this.ranks.goOn();
    this.log.goOn();
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
    const number = this.logNumber;
    const part = await getLog(LOG_LINES, this.logCursor).catch((error) => this.withoutLog(error));
    if (number !== this.logNumber) return this.log.want(); // it is that of the run before
    this.logCursor = part.cursor;
    if (part.isContinued && !part.text) return;
    if (part.isContinued) extend(byId("log"), part.text);
    else byId("log").textContent = part.text;
    this.scrollLog();
    if (part.cursor) this.log.want(); // what grows may grow on, also after the last state of the run
  }

  /** What there is to show where there is no log yet; a log that is shown stays, whatever failed. */
  withoutLog(error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 404) return { text: error.message, cursor: null, isContinued: false };
    if (this.logCursor === null) byId("log").textContent = error.message;
    throw error;
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
