// The page of all runs: loads the list page by page, refreshes it while somebody looks, and leads to the comparison.

import { ApiError, get, hasToken, keepToken } from "../shared/api.js";
import { byId, write } from "../shared/elements.js";
import { readAddress, writeAddress } from "./address.js";
import { Comparison } from "./compare/comparison.js";
import { Editor, mayControl } from "../shared/edit.js";
import { RunTable } from "./list.js";
import { ENDED } from "./row.js";
import { fillTexts, say } from "./texts.js";

const REFRESH_MS = 5000;
/** Runs that started long ago may still be alive, or be renamed: now and then the whole list is loaded again. */
const RELOAD_MS = 60_000;
const PER_REQUEST = 500;
const PER_REFRESH = 100;

class RunsPage {
  constructor() {
    this.view = readAddress();
    this.byId = new Map();
    this.isComplete = false;
    this.loadedAt = -Infinity;
    this.isAsking = this.isWanted = false;
    this.hasAskedForRights = false;
    this.timer = null;
    this.table = new RunTable(this.view, { onChange: (options) => this.changed(options), onEdit: (run) => this.editor.open(run) });
    this.comparison = new Comparison(this.view, { onChange: (options) => this.changed(options) });
    this.editor = new Editor((run) => {
      this.byId.set(run.run_id, run);
      this.show();
    });
  }

  start() {
    addEventListener("popstate", () => this.readAddress());
    addEventListener("hashchange", () => this.readAddress());
    document.addEventListener("visibilitychange", () => this.lookAgain(0));
    byId("compare").addEventListener("click", () => this.compare(true));
    byId("back").addEventListener("click", () => this.compare(false));
    byId("token-form").addEventListener("submit", () => this.takeToken());
    byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
    this.show();
    this.lookAgain(0);
  }

  readAddress() {
    Object.assign(this.view, readAddress());
    this.show();
  }

  compare(isOn) {
    this.view.compare = isOn;
    this.changed({ asNew: true });
    scrollTo(0, 0);
  }

  changed(options) {
    writeAddress(this.view, options);
    this.show();
  }

  get runs() {
    return [...this.byId.values()];
  }

  show() {
    const { runs, view } = this;
    byId("list").hidden = view.compare;
    byId("comparison").hidden = !view.compare;
    if (view.compare) this.comparison.show(this.byId, { isComplete: this.isComplete });
    else this.table.show(runs, { isComplete: this.isComplete });
    const alive = runs.filter((run) => !ENDED.has(run.run_state)).length;
    const said = runs.length === 1 ? say("count.one") : say("count", { count: runs.length, alive });
    write("count", this.isComplete ? said : say("count.loading", { count: runs.length }));
  }

  lookAgain(delay) {
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.look(), delay);
  }

  async look() {
    if (this.isAsking) return void (this.isWanted = true);
    this.isAsking = true;
    this.isWanted = false;
    try {
      if (performance.now() - this.loadedAt > RELOAD_MS) await this.load();
      else await this.refresh();
      if (!this.hasAskedForRights) await this.askForRights();
      write("trouble", "");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 401 && !this.isWanted) this.askForToken(); // else there may be another token by now
      else write("trouble", error.status === 0 ? say("unreachable") : error.message);
    } finally {
      this.isAsking = false;
      byId("trouble").hidden = !byId("trouble").textContent;
      if (!byId("token-dialog").open) this.lookAgain(this.isWanted ? 0 : REFRESH_MS);
    }
  }

  /** Load all runs; those that are gone from the list go at the end only, so that nothing flickers. */
  async load() {
    const found = new Set();
    let skipped = [];
    for (let cursor = ""; cursor !== null; ) {
      const page = await get(`/runs?limit=${PER_REQUEST}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      this.take(page.runs, found);
      ({ skipped, next_cursor: cursor } = page);
      this.show();
    }
    for (const id of this.byId.keys()) if (!found.has(id)) this.byId.delete(id);
    this.isComplete = true;
    this.loadedAt = performance.now();
    const reasons = skipped.map(({ directory, reason }) => `${directory} (${reason})`).join(", ");
    write("skipped", skipped.length ? say("skipped", { count: skipped.length, reasons }) : "");
    this.show();
  }

  async refresh() {
    const page = await get(`/runs?limit=${PER_REFRESH}`);
    this.take(page.runs, new Set());
    this.show();
  }

  take(runs, found) {
    for (const run of runs) {
      this.byId.set(run.run_id, run);
      found.add(run.run_id);
    }
  }

  async askForRights() {
    this.table.mayEdit = await mayControl();
    this.hasAskedForRights = true;
    this.show();
  }

  askForToken() {
    write("token-text", say(hasToken() ? "token.again" : "token.text"));
    byId("token-warning").hidden = isSecureContext;
    if (!byId("token-dialog").open) byId("token-dialog").showModal();
  }

  takeToken() {
    keepToken(byId("token").value.trim());
    byId("token").value = "";
    this.hasAskedForRights = false;
    this.lookAgain(0);
  }
}

fillTexts();
new RunsPage().start();
