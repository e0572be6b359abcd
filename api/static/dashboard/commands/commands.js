// The buttons, and what became of the commands. A button never claims success: only the trainer's answer does.

import { ApiError, change, get } from "../../shared/api.js";
import { byId, element, write } from "../../shared/elements.js";
import { clock, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";

const OBEYING = new Set(["starting", "running", "paused", "stalled"]);
const PENDING = new Set(["queued", "running", "sending"]);
/** Requests of commands that are not `POST /<kind>`. */
const REQUESTS = { set: ["PATCH", "/settings"] };

export class Commands {
  /** `onChange` is called when a command was sent or came to its end. */
  constructor(onChange) {
    this.onChange = onChange;
    this.last = null;
    this.newestId = null;
    this.waiting = new Map();
    this.runState = "none";
    this.isReachable = false;
    this.mayControl = true;
    for (const kind of ["validate", "resume", "checkpoint"]) byId(kind).addEventListener("click", () => this.send(kind));
    byId("pause").addEventListener("click", () => this.send("pause"));
    byId("stop").addEventListener("click", () => this.askToStop());
    byId("stop-dialog").addEventListener("close", () => this.stopIfConfirmed());
  }

  get isPending() {
    return PENDING.has(this.last?.state);
  }

  askToStop() {
    if (!byId("stop").disabled) openAsking("stop");
  }

  stopIfConfirmed() {
    const dialog = byId("stop-dialog");
    if (dialog.returnValue === "stop") this.send("stop", undefined, { why: byId("stop-why").value });
    dialog.returnValue = "";
  }

  /**
   * Send a command, for the step in the field where there is one; returns whether it was accepted. `why` is the
   * person's note, that of the field where none is given; `etag`: see `change`.
   */
  async send(kind, body, { etag, why = byId("why").value } = {}) {
    const [method, path] = REQUESTS[kind] ?? ["POST", `/${kind}`];
    const step = byId("at-step").value;
    this.show({ kind, state: "sending" });
    try {
      this.take(await change(method, step ? `${path}?apply_at_step=${encodeURIComponent(step)}` : path, withWhy(body, why), etag), { isOwn: true });
      byId("at-step").value = byId("why").value = "";
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.show({ kind, state: "refused", reason: error.message });
      return false;
    } finally {
      this.onChange();
    }
  }

  async cancel(id) {
    try {
      this.take(await change("DELETE", `/commands/${id}`));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.show({ kind: "cancel", state: "refused", reason: error.message });
    }
  }

  /** Take in a command as the API tells of it. */
  take(command, { isOwn = false } = {}) {
    if (PENDING.has(command.state)) this.waiting.set(command.id, command);
    else this.waiting.delete(command.id);
    this.showWaiting();
    const isSending = this.last?.state === "sending" && !isOwn;
    const isOlder = this.last?.id && command.id !== this.last.id && command.created_at < this.last.created_at;
    // A refusal is newer than what the store told before it.
    const isBeforeRefusal = this.last?.state === "refused" && !isOwn && command.id === this.newestId;
    // One that waits for its step is not the answer to what was asked for now.
    if (!isSending && !isOlder && !isBeforeRefusal) this.show(command);
  }

  /** Fetch the newest commands, and those that wait. */
  async update() {
    const { commands } = await get("/commands?limit=20");
    for (const [id, known] of this.waiting) if (!commands.some((command) => command.id === id)) this.take(await get(`/commands/${known.id}`));
    for (const command of commands.toReversed()) this.take(command);
  }

  /** What the buttons may do follows the confirmed state of the run, and the rights of the token. */
  showRun(runState, isReachable) {
    Object.assign(this, { runState, isReachable });
    document.body.classList.toggle("may-only-read", !this.mayControl);
    const hasTrainer = OBEYING.has(runState);
    document.body.classList.toggle("no-trainer", !hasTrainer);
    byId("read-only").hidden = this.mayControl;
    byId("no-trainer").hidden = hasTrainer || !this.mayControl;
    const isPaused = runState === "paused";
    byId("resume").hidden = !isPaused;
    byId("pause").hidden = isPaused;
    byId("validate").classList.toggle("primary", !isPaused);
    this.enableButtons();
  }

  get mayAsk() {
    return this.mayControl && this.isReachable && OBEYING.has(this.runState);
  }

  enableButtons() {
    const isBusy = (...kinds) => this.isPending && this.last.apply_at_step == null && kinds.includes(this.last.kind);
    byId("validate").disabled = !this.mayAsk || isBusy("validate");
    for (const kind of ["pause", "resume"]) byId(kind).disabled = !this.mayAsk || isBusy("pause", "resume");
    byId("checkpoint").disabled = !this.mayAsk || isBusy("checkpoint");
    byId("stop").disabled = !this.mayAsk || isBusy("stop");
    byId("change").disabled = byId("go-back").disabled = !this.mayAsk;
    byId("at-step").disabled = byId("why").disabled = !this.mayAsk;
  }

  show(command) {
    this.last = command;
    this.newestId = command.id ?? this.newestId;
    byId("outcome").dataset.state = command.state;
    write("outcome-kind", t(`command.${command.kind}`));
    byId("outcome-state").hidden = false;
    write("outcome-state", t(`outcome.${command.state}`));
    write("outcome-text", outcomeText(command));
    this.enableButtons();
  }

  /** Commands that wait for their step, each with a button that cancels it. */
  showWaiting() {
    const waiting = [...this.waiting.values()].filter(({ state }) => state === "queued");
    byId("waiting").replaceChildren(...waiting.map((command) => {
      const button = element("button", "small", t("command.cancel"));
      button.type = "button";
      button.addEventListener("click", () => this.cancel(command.id));
      const step = command.apply_at_step;
      return element("li", "", element("span", "", t(step == null ? "waiting.soon" : "waiting.at", { kind: t(`command.${command.kind}`), step: whole(step) })), button);
    }));
  }
}

/** Open the dialog that asks before a command, with what was already written as the reason for it. */
export function openAsking(name) {
  byId(`${name}-why`).value = byId("why").value;
  byId(`${name}-dialog`).showModal();
}

/** The body of a command with the person's note, where there is one. */
function withWhy(body, why) {
  return why.trim() ? { ...body, why: why.trim() } : body;
}

function outcomeText(command) {
  const asked = command.actor ? ` ${t("outcome.by", { actor: command.actor, source: command.source })}` : "";
  const by = command.why ? `${asked} ${t("outcome.why", { why: command.why })}` : asked;
  switch (command.state) {
    case "sending": return t("outcome.sending-text");
    case "queued": return `${command.apply_at_step == null ? t("outcome.queued-text") : t("outcome.queued-at", { step: whole(command.apply_at_step) })}${by}`;
    case "running": return `${t("outcome.running-text")}${by}`;
    case "done": return `${doneText(command)}${by}`;
    default: return `${command.reason ?? t("outcome.no-reason")}${by}`;
  }
}

function doneText({ step, result, finished_at: finishedAt }) {
  const time = clock(finishedAt);
  const at = step == null ? t("outcome.done-text", { time }) : t("outcome.done-at", { step: whole(step), time });
  return result?.record ? `${at} ${t("outcome.saved", { name: result.record })}` : at;
}
