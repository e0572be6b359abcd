// The keys, as in the terminal: commands, steps, help. Not while a person writes, or a dialog asks something.

import { byId } from "../../shared/elements.js";

export class Keys {
  constructor({ commands, onStep }) {
    const click = (id) => !byId(id).hidden && byId(id).click();
    this.actions = {
      v: () => click("validate"),
      p: () => click(byId("resume").hidden ? "pause" : "resume"),
      c: () => click("checkpoint"),
      s: () => commands.askToStop(),
      "?": () => byId("help-dialog").showModal(),
      ArrowLeft: () => onStep(-1),
      ArrowRight: () => onStep(1),
    };
    document.addEventListener("keydown", (event) => this.onKey(event));
    byId("help-button").addEventListener("click", () => byId("help-dialog").showModal());
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, [contenteditable]")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const open = document.querySelector("dialog[open]");
    if (open) {
      if ((key === "q" || key === "?") && open.id !== "token-dialog") open.close();
      return;
    }
    const action = this.actions[key];
    if (!action || (key.length > 1 && event.target.closest("[role=slider], .scroll, pre"))) return;
    event.preventDefault();
    action();
  }
}
