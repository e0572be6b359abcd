// The saved checkpoints, each with a way back to it.

import { ApiError, get } from "../../shared/api.js";
import { byId, cell, element, fill, head, write } from "../../shared/elements.js";
import { clock, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";
import { openAsking } from "./commands.js";

export class Checkpoints {
  constructor(commands) {
    this.commands = commands;
    this.list = [];
    /** Called when the list has changed. */
    this.onChange = () => {};
    byId("go-back").addEventListener("click", () => this.open());
    byId("checkpoints-close").addEventListener("click", () => byId("checkpoints-dialog").close());
    byId("rollback-dialog").addEventListener("close", () => this.goBackIfConfirmed());
  }

  async update() {
    try {
      this.list = (await get("/checkpoints")).checkpoints;
    } catch (error) {
      // Those of a run whose folder is on another machine are not known here.
      if (!(error instanceof ApiError) || error.status === 401) throw error;
    }
    this.show();
    this.onChange();
  }

  at(step) {
    return this.list.find((checkpoint) => checkpoint.step === step);
  }

  open() {
    if (byId("go-back").disabled) return;
    this.show();
    byId("checkpoints-dialog").showModal();
  }

  show() {
    const rows = this.list.toReversed().map(({ name, step, size_bytes: size, saved_at: savedAt, links }) => ({ name, step, size, savedAt, links }));
    fill(byId("checkpoints"), rows, (row) => this.cellsOf(row), t("checkpoints.empty"));
  }

  cellsOf({ name, step, size, savedAt, links }) {
    const title = head(whole(step), "num");
    const tags = links.map((link) => element("span", "tag", t(`checkpoints.${link}`)));
    return [title, cell(element("span", "", ...tags)), cell(clock(savedAt), "wide"), cell(`${whole(size / 2 ** 20)} MiB`, "num wide"), cell(this.button(name, step), "num")];
  }

  /** A button "Go back…" to a checkpoint. */
  button(name, step) {
    const button = element("button", "small control", t("checkpoints.go-back"));
    button.type = "button";
    button.setAttribute("aria-label", t("checkpoints.go-back-to", { step: whole(step) }));
    button.addEventListener("click", () => this.ask(name, step));
    return button;
  }

  ask(name, step) {
    this.wanted = name;
    byId("checkpoints-dialog").close();
    write("rollback-title", t("rollback.title", { step: whole(step) }));
    byId("rollback-confirm").disabled = !this.commands.mayAsk;
    openAsking("rollback");
  }

  goBackIfConfirmed() {
    const dialog = byId("rollback-dialog");
    if (dialog.returnValue === "rollback") this.commands.send("rollback", { checkpoint: this.wanted }, { why: byId("rollback-why").value });
    dialog.returnValue = "";
  }
}
