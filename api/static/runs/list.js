// The list of runs: filtered, sorted and paged here, so that a thousand runs cost no more requests than ten.

import { byId, element, write } from "../shared/elements.js";
import { MOST_CHOSEN } from "./address.js";
import { ENDED, rowOf, stampOf, titleOf } from "./row.js";
import { Sparklines } from "./sparkline.js";
import { say } from "./texts.js";

export const PAGE = 50;
const SORTS = {
  started: (run) => run.started_at,
  name: (run) => titleOf(run).toLocaleLowerCase(),
  state: (run) => run.run_state,
  best: (run) => run.best_quality,
  quality: (run) => run.quality,
  step: (run) => run.step,
  age: (run) => run.heartbeat_at,
};
/** In which direction a first click sorts: what a person looks for comes first. */
const ASCENDING_FIRST = new Set(["name", "state"]);

export class RunTable {
  /** `view` is the shared state of the view; `onChange` is called after it was changed here, with `{asNew}`. */
  constructor(view, { onChange, onEdit }) {
    this.view = view;
    this.onChange = onChange;
    this.runs = [];
    this.mayEdit = false;
    this.sparklines = new Sparklines();
    byId("find").addEventListener("input", (event) => this.change({ find: event.target.value, page: 1 }));
    byId("state").addEventListener("change", (event) => this.change({ state: event.target.value, page: 1 }));
    byId("sort").addEventListener("change", (event) => this.change({ sort: event.target.value, page: 1 }));
    byId("previous").addEventListener("click", () => this.turn(-1));
    byId("next").addEventListener("click", () => this.turn(1));
    byId("clear").addEventListener("click", () => this.change({ chosen: [] }));
    for (const button of document.querySelectorAll("thead button")) {
      button.addEventListener("click", () => this.change({ sort: nextSort(this.view.sort, button.dataset.sort), page: 1 }));
    }
    byId("rows").addEventListener("change", (event) => this.choose(runOf(event), event.target.checked));
    byId("rows").addEventListener("click", (event) => {
      if (event.target.closest("button")) onEdit(this.runs.find(({ run_id }) => run_id === runOf(event)));
      else if (!event.target.closest("a, label, input")) openRun(event);
    });
  }

  change(changes, options) {
    Object.assign(this.view, changes);
    this.onChange(options);
  }

  turn(pages) {
    this.change({ page: this.view.page + pages }, { asNew: true });
    byId("list").scrollIntoView({ block: "start" });
  }

  choose(id, isChosen) {
    const others = this.view.chosen.filter((other) => other !== id);
    this.change({ chosen: isChosen ? [...others, id] : others });
  }

  /** Show what the view asks for of these runs; rows that did not change stay, with the focus in them. */
  show(runs, { isComplete }) {
    this.runs = runs;
    const found = sorted(runs.filter((run) => isWanted(run, this.view)), this.view.sort);
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    this.view.page = isComplete ? Math.min(this.view.page, pages) : this.view.page;
    const first = (this.view.page - 1) * PAGE;
    this.showRows(found.slice(first, first + PAGE), runs.length ? "empty.filtered" : isComplete ? "empty" : "loading");
    this.showControls(found.length, first, pages);
  }

  showRows(shown, emptyText) {
    const chosen = new Set(this.view.chosen);
    const choice = (run) => ({ isChosen: chosen.has(run.run_id), mayChoose: chosen.size < MOST_CHOSEN, mayEdit: this.mayEdit });
    const present = new Map([...byId("rows").rows].map((row) => [row.dataset.run, row]));
    const rows = shown.map((run) => {
      const stamp = stampOf(run, choice(run));
      const known = present.get(run.run_id);
      if (known?.dataset.stamp === stamp) return known;
      const row = rowOf(run, choice(run));
      row.dataset.stamp = stamp;
      return row;
    });
    this.sparklines.draw(rows.map((row, index) => ({ run: shown[index], place: row.querySelector(".spark") })));
    replaceRows(byId("rows"), rows.length ? rows : [emptyRow(say(emptyText))]);
  }

  showControls(count, first, pages) {
    const { view } = this;
    for (const [id, value] of [["find", view.find], ["state", view.state], ["sort", view.sort]]) {
      if (byId(id).value !== value) byId(id).value = value;
    }
    write("shown", count ? say("shown", { from: first + 1, to: Math.min(count, first + PAGE), of: count }) : "");
    byId("pager").hidden = count <= PAGE;
    byId("previous").disabled = view.page <= 1;
    byId("next").disabled = view.page >= pages;
    for (const button of document.querySelectorAll("thead button")) {
      const direction = view.sort === button.dataset.sort ? "ascending" : view.sort === `-${button.dataset.sort}` ? "descending" : "none";
      button.closest("th").setAttribute("aria-sort", direction);
    }
    const chosen = view.chosen.length;
    write("compare-text", chosen >= MOST_CHOSEN ? say("compare.limit", { count: MOST_CHOSEN }) : chosen ? "" : say("compare.hint"));
    write("compare", chosen === 1 ? say("compare.one") : say("compare", { count: chosen }));
    byId("compare").hidden = byId("clear").hidden = chosen === 0;
    byId("choice").dataset.chosen = chosen;
  }
}

/** Put rows into a table's body, moving none that is in its place: a moved row loses the focus. */
function replaceRows(body, rows) {
  const wanted = new Set(rows);
  for (const row of [...body.rows]) if (!wanted.has(row)) keepFocus(row, rows);
  rows.forEach((row, index) => {
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  });
}

/** Remove a row; where it had the focus, the new row of the same run gets it, at the same place. */
function keepFocus(row, rows) {
  const controls = (of) => [...of.querySelectorAll("a, button, input")];
  const index = controls(row).indexOf(document.activeElement);
  const successor = rows.find(({ dataset }) => dataset.run === row.dataset.run);
  if (index < 0 || !successor) row.remove();
  else {
    row.replaceWith(successor);
    controls(successor)[index]?.focus();
  }
}

function isWanted(run, { find, state }) {
  const hasState = state === "all" || state === run.run_state || (state === "ended") === ENDED.has(run.run_state) && ["ended", "alive"].includes(state);
  const text = [run.name, run.run_id, run.note, run.run_state].join(" ").toLocaleLowerCase();
  return hasState && find.toLocaleLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** Sort by a key, `-` for descending; runs without such a value come last in both directions. */
function sorted(runs, sort) {
  const sign = sort.startsWith("-") ? -1 : 1;
  const key = SORTS[sort.replace("-", "")] ?? SORTS.started;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  return runs.toSorted((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * compare(a, b) || other.started_at - one.started_at;
  });
}

function nextSort(present, name) {
  if (present === name) return `-${name}`;
  if (present === `-${name}`) return name;
  return ASCENDING_FIRST.has(name) ? name : `-${name}`;
}

const runOf = (event) => event.target.closest("tr").dataset.run;

function openRun(event) {
  const link = event.target.closest("tr")?.querySelector("a.title");
  if (!link || getSelection()?.toString()) return;
  if (event.ctrlKey || event.metaKey) window.open(link.href, "_blank", "noopener");
  else location.assign(link.href);
}

function emptyRow(text) {
  const note = element("td", "empty", text);
  note.colSpan = 20;
  return element("tr", "none", note);
}
