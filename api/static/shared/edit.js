// The dialog for a run's name and note. What the server refuses is said beside the field; nothing is lost.

import { ApiError, change, changeOfServer } from "./api.js";
import { byId, element, write } from "./elements.js";

const PENCIL = "M4 16v-3L13 4l3 3-9 9z";

/** The picture of a pencil, for buttons that open the dialog. */
export function pencil() {
  const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  icon.setAttribute("viewBox", "0 0 20 20");
  icon.setAttribute("aria-hidden", "true");
  icon.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  icon.firstChild.setAttribute("d", PENCIL);
  return icon;
}

/** A button with a pencil; `label` says of which run it edits name and note. */
export function editButton(label, ...content) {
  const button = element("button", "small with-pencil", pencil(), ...content);
  button.type = "button";
  button.setAttribute("aria-label", label);
  return button;
}

export class Editor {
  /** `onSaved` gets the run as the server has it now. */
  constructor(onSaved) {
    this.onSaved = onSaved;
    this.run = null;
    byId("edit-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
    byId("edit-cancel").addEventListener("click", () => byId("edit-dialog").close());
  }

  open(run) {
    this.run = run;
    write("edit-id", run.run_id);
    byId("edit-name").value = run.name ?? "";
    byId("edit-note").value = run.note ?? "";
    write("edit-problem", "");
    byId("edit-dialog").showModal();
  }

  async save() {
    const changes = { name: byId("edit-name").value, note: byId("edit-note").value };
    byId("edit-save").disabled = true;
    try {
      const run = await changeOfServer("PATCH", `/runs/${encodeURIComponent(this.run.run_id)}`, changes);
      byId("edit-dialog").close();
      this.onSaved(run);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      write("edit-problem", error.message);
    } finally {
      byId("edit-save").disabled = false;
    }
  }
}

/** Whether this page's token may change anything; a dry run asks, and changes nothing. */
export async function mayControl() {
  try {
    await change("POST", "/checkpoint?dry_run=true");
    return true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return error.slug !== "insufficient-scope" && error.status !== 401 && error.status !== 0;
  }
}
