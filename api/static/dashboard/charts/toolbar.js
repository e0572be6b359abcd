// The controls of the view: which steps, on which axis, how smooth; and what is shown now, in words.

import { byId, write } from "../../shared/elements.js";
import { whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";
import { SMOOTHINGS } from "./view.js";

/** The part of all steps that is followed where no range says how wide the view is to be. */
const FOLLOWED = 0.2;

export class Toolbar {
  constructor(board) {
    this.board = board;
    const { view } = board;
    byId("view-smoothing").append(...SMOOTHINGS.map((points) => new Option(points === 1 ? t("view.unsmoothed") : t("view.smoothed", { points }), points)));
    byId("view-smoothing").addEventListener("change", ({ target }) => view.set({ smoothing: Number(target.value) }));
    byId("view-axis").addEventListener("change", ({ target }) => view.set({ axis: target.value }));
    byId("view-log").addEventListener("change", ({ target }) => view.set({ isLog: target.checked }));
    for (const mode of ["all", "following", "frozen"]) byId(`view-${mode}`).addEventListener("click", () => this.choose(mode));
    view.onChange(() => this.show());
    this.show();
  }

  choose(mode) {
    const { view } = this.board;
    const range = this.board.range() ?? { min: 0, max: 1 };
    const steps = this.board.steps();
    const width = view.mode === "all" ? FOLLOWED * (range.max - range.min) : range.max - range.min;
    if (mode === "all") view.set({ mode, range: null, width: null });
    if (mode === "following") view.set({ mode, range: null, width: Math.max(1, width) });
    if (mode === "frozen" && steps.length) view.set({ mode, range: { min: range.min, max: range.max } });
  }

  show() {
    const { view } = this.board;
    byId("view-smoothing").value = String(view.smoothing);
    byId("view-axis").value = view.axis;
    byId("view-log").checked = view.isLog;
    for (const mode of ["all", "following", "frozen"]) byId(`view-${mode}`).setAttribute("aria-pressed", String(view.mode === mode));
    const range = view.range ?? { min: 0, max: 0 };
    write("view-text", t(`view.${view.mode}-text`, { from: whole(range.min), to: whole(range.max), steps: whole(view.width) }));
  }
}
