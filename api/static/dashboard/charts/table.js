// The curves as a table, for who cannot see them or wants the numbers: what the view shows, newest first.

import { byId, cell, element, fill, head, write } from "../../shared/elements.js";
import { clock, significant, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";
import { wordsOf } from "./chooser.js";
import { middle } from "./history.js";

const MOST_ROWS = 300;

export class Table {
  constructor(board) {
    this.board = board;
    byId("view-table").addEventListener("click", () => this.open());
    byId("table-close").addEventListener("click", () => byId("table-dialog").close());
  }

  open() {
    const { names } = this.board;
    const titles = [t("table.step"), t("table.time"), ...names.map(wordsOf)];
    byId("table-head").replaceChildren(...titles.map((title, number) => heading(title, number !== 1)));
    const rows = this.rows(names);
    fill(byId("table"), rows, ([step, time, ...values]) => [head(whole(step), "num"), cell(clock(time)), ...values.map((value) => cell(value, "num"))], t("table.empty"));
    write("table-note", rows.length === MOST_ROWS ? t("table.most", { count: MOST_ROWS }) : "");
    byId("table-dialog").showModal();
  }

  rows(names) {
    const { min, max } = this.board.range() ?? { min: 0, max: -1 };
    const rows = new Map();
    names.forEach((name, number) => {
      for (const stretch of this.board.history.stretches(name)) {
        const step = middle(stretch);
        if (step < min || step > max) continue;
        if (!rows.has(step)) rows.set(step, new Array(names.length).fill("–"));
        rows.get(step)[number] = significant(stretch.mean);
      }
    });
    const newest = [...rows].sort(([one], [other]) => other - one).slice(0, MOST_ROWS);
    return newest.map(([step, values]) => [step, this.board.scale.timeOf(step), ...values]);
  }
}

function heading(title, isNumber) {
  const item = element("th", isNumber ? "num" : "", title);
  item.scope = "col";
  return item;
}
