// The buttons, and what became of the last command. A button never claims success: only the trainer's answer does.

import { ApiError, get, post } from "./api.js";
import { whole } from "./format.js";

const VERBS = { validate: "Validate", pause: "Pause", resume: "Resume", checkpoint: "Checkpoint", stop: "Stop" };
const OBEYING = new Set(["starting", "running", "paused", "stalled"]);
const PENDING = new Set(["queued", "running", "sending"]);

const byId = (id) => document.getElementById(id);

export class Commands {
  /** `onChange` is called when a command was sent or came to its end. */
  constructor(onChange) {
    this.onChange = onChange;
    this.last = null;
    this.newestId = null;
    this.runState = "none";
    this.isReachable = false;
    for (const kind of ["validate", "checkpoint"]) byId(kind).addEventListener("click", () => this.send(kind));
    byId("pause").addEventListener("click", () => this.send(byId("pause").dataset.kind ?? "pause"));
    byId("stop").addEventListener("click", () => byId("stop-dialog").showModal());
    byId("stop-dialog").addEventListener("close", () => this.stopIfConfirmed());
  }

  get isPending() {
    return PENDING.has(this.last?.state);
  }

  stopIfConfirmed() {
    const dialog = byId("stop-dialog");
    if (dialog.returnValue === "stop") this.send("stop");
    dialog.returnValue = "";
  }

  async send(kind) {
    this.show({ kind, state: "sending" });
    try {
      this.show(await post(`/${kind}`));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.show({ kind, state: "refused", reason: error.message });
    }
    this.onChange();
  }

  /** Look at an unfinished command again; with `also`, at whatever command is the newest. */
  async follow(also) {
    if (this.last?.id && this.isPending) await this.look(`/commands/${this.last.id}`, (answer) => answer);
    else if (also && this.last?.state !== "sending") await this.look("/commands?limit=1", ({ commands }) => commands[0]);
  }

  async look(path, pick) {
    const before = this.last;
    const command = pick(await get(path));
    // A click may have come in between, and a refusal is newer than what the store told before it.
    if (!command || this.last !== before || (before?.state === "refused" && command.id === this.newestId)) return;
    this.show(command);
    if (before && PENDING.has(before.state) && !this.isPending) this.onChange();
  }

  /** What the buttons may do follows the confirmed state of the run. */
  showRun(runState, isReachable) {
    this.runState = runState;
    this.isReachable = isReachable;
    const isPaused = runState === "paused";
    byId("pause").dataset.kind = isPaused ? "resume" : "pause";
    byId("pause").textContent = isPaused ? "Resume" : "Pause";
    this.enableButtons();
  }

  enableButtons() {
    const mayAsk = this.isReachable && OBEYING.has(this.runState);
    const isBusy = (...kinds) => this.isPending && kinds.includes(this.last.kind);
    byId("validate").disabled = !mayAsk || isBusy("validate");
    byId("pause").disabled = !mayAsk || isBusy("pause", "resume");
    byId("checkpoint").disabled = !mayAsk || isBusy("checkpoint");
    byId("stop").disabled = !mayAsk || isBusy("stop");
  }

  show(command) {
    this.last = command;
    this.newestId = command.id ?? this.newestId;
    byId("outcome").dataset.state = command.state;
    write("outcome-kind", VERBS[command.kind] ?? command.kind);
    byId("outcome-state").hidden = false;
    write("outcome-state", command.state);
    write("outcome-text", outcomeText(command));
    this.enableButtons();
  }
}

function outcomeText(command) {
  const by = command.actor ? ` Asked by ${command.actor} (${command.source}).` : "";
  switch (command.state) {
    case "sending": return "On its way to the API.";
    case "queued": return `Accepted; the ranks obey at their next common step.${by}`;
    case "running": return `The ranks are carrying it out.${by}`;
    case "done": return `${doneText(command)}${by}`;
    default: return `${command.reason ?? "No reason was given."}${by}`;
  }
}

function doneText({ step, result }) {
  const at = step == null ? "Carried out." : `Carried out at step ${whole(step)}.`;
  return result?.record ? `${at} Saved as ${result.record}.` : at;
}

/** Only real changes reach a live region, so that a screen reader is not told the same twice. */
function write(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}
