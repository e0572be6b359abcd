// The other runs of this control room, by the names that people gave them.

import { ApiError, getOfServer, ROOT } from "../../shared/api.js";
import { editButton, Editor } from "../../shared/edit.js";
import { byId, element } from "../../shared/elements.js";
import { clock, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";

const MOST = 50;

export class Runs {
  /** `onSaved` gets a run whose name or note was changed here. */
  constructor(onSaved) {
    this.current = null;
    const button = editButton(t("edit.title"));
    button.addEventListener("click", () => this.editor.open(this.current));
    byId("edit-place").append(button);
    this.editor = new Editor((run) => {
      onSaved(run);
      if (byId("runs-dialog").open) this.fetch();
    });
    byId("run-button").addEventListener("click", () => this.open());
    byId("runs-dialog").addEventListener("click", ({ target }) => target === byId("runs-dialog") && byId("runs-dialog").close());
  }

  /** Take in the state of the run that the page shows, which its own pencil edits. */
  showCurrent(state) {
    this.current = state && { run_id: state.run_id, name: state.run_name, note: state.run_note };
    byId("edit-place").hidden = !state;
  }

  open() {
    byId("runs-list").replaceChildren(element("li", "empty", "…"));
    byId("runs-dialog").showModal();
    return this.fetch();
  }

  async fetch() {
    try {
      const { runs } = await getOfServer(`/runs?limit=${MOST}`);
      byId("runs-list").replaceChildren(...runs.map((run) => this.item(run)));
      if (!runs.length) byId("runs-list").append(element("li", "empty", t("banner.none")));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("runs-list").replaceChildren(element("li", "empty", error.message));
    }
  }

  item(run) {
    const link = element("a", "run-link", element("b", "", run.name || run.run_id), element("span", "tag", t(`state.${run.run_state}`)));
    link.href = `${ROOT}runs/${encodeURIComponent(run.run_id)}/`;
    link.dataset.run = run.run_state;
    if (run.run_id === this.current?.run_id) link.setAttribute("aria-current", "page");
    const position = t("bar.step", { step: whole(run.step), max: whole(run.step_max) });
    link.append(element("span", "card-note", [run.name ? run.run_id : "", position, t("runs.started", { time: clock(run.started_at) })].filter(Boolean).join(" · ")));
    if (run.note) link.append(element("span", "run-note", run.note));
    const button = editButton(t("edit.label", { run: run.name || run.run_id }));
    button.classList.add("control");
    button.addEventListener("click", () => this.editor.open(run));
    return element("li", "", link, button);
  }
}
