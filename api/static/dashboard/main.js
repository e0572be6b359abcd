// The dashboard: what the stream brings goes to the parts that show it. It keeps nothing but the token of this tab.

import { ApiError, change, hasToken, keepToken } from "../shared/api.js";
import { byId, write } from "../shared/elements.js";
import { chooseLanguage, language, t, translatePage } from "../shared/texts.js";
import { Board } from "./charts/board.js";
import { Chooser } from "./charts/chooser.js";
import { Layers } from "./charts/layers.js";
import { modesOf } from "./charts/marks.js";
import { Table } from "./charts/table.js";
import { Toolbar } from "./charts/toolbar.js";
import { View } from "./charts/view.js";
import { Checkpoints } from "./commands/checkpoints.js";
import { Commands } from "./commands/commands.js";
import { Keys } from "./commands/keys.js";
import { Settings } from "./commands/settings.js";
import { Alerts } from "./events/alerts.js";
import { Events } from "./events/events.js";
import { Feed } from "./feed/feed.js";
import { Pictures } from "./pictures/pictures.js";
import { Details } from "./ranks/details.js";
import { Records } from "./records/records.js";
import { Status } from "./state/status.js";

const TICK_MS = 1000;
/** Events after which steps are repeated, so that the curves begin anew. */
const REPEATING = new Set(["rollback", "started", "forked"]);
/** Kinds of entries that are messages of their own on the stream. */
const OWN_KINDS = new Set(["record", "command", "alert"]);

class Dashboard {
  constructor() {
    this.view = new View();
    this.board = new Board(this.view);
    this.parts();
    this.feed = new Feed({
      onState: (state, isPolled) => this.do(() => this.takeState(state, isPolled)),
      onMessage: (message) => this.do(() => this.takeMessage(message)),
      onTrouble: (error) => this.explain(error),
    });
    this.identity = undefined;
    this.stamp = null;
    this.work = Promise.resolve();
  }

  parts() {
    new Toolbar(this.board);
    new Table(this.board);
    this.chooser = new Chooser(this.board);
    this.layers = new Layers();
    this.pictures = new Pictures((step) => this.view.set({ step }));
    this.board.onChosen = (step) => this.lookAt(step);
    this.events = new Events();
    this.alerts = new Alerts();
    this.details = new Details((error) => this.do(() => { throw error; }));
    this.commands = new Commands(() => this.feed.hurry());
    new Settings(this.commands);
    this.checkpoints = new Checkpoints(this.commands);
    this.records = new Records(this.checkpoints);
    this.status = new Status(this);
    new Keys({ commands: this.commands, onStep: (by) => this.pictures.move(by) });
  }

  start() {
    document.addEventListener("visibilitychange", () => this.listen());
    byId("token-form").addEventListener("submit", () => this.takeToken());
    byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
    byId("language").value = language;
    byId("language").addEventListener("change", ({ target }) => chooseLanguage(target.value));
    setInterval(() => this.tick(), TICK_MS);
    if (!document.hidden) this.board.history.askEarly();
    this.listen();
  }

  /** Follow the run while somebody looks; an alert is told of even while nobody does, where that is wanted. */
  listen() {
    if (document.hidden && !this.alerts.mayNotify) this.feed.close();
    else if (!document.hidden || !this.feed.controller) this.feed.open();
  }

  tick() {
    if (!document.hidden) this.status.tick();
  }

  /** One thing after another: what is fetched and what the stream brings must not overtake each other. */
  do(task) {
    this.work = this.work.then(task).catch((error) => {
      this.identity = undefined; // something was missed: the next state fetches what is new
      if (error instanceof ApiError) this.explain(error);
      else reportError(error);
    });
  }

  async takeState(state, isPolled) {
    this.status.take(state, this.feed.link);
    this.commands.showRun(state?.run_state ?? "none", true);
    const identity = state ? `${state.run_id} ${state.started_at}` : null;
    const stamp = state ? [identity, state.step_live, state.last_update_time, state.run_state].join() : "none";
    const isNew = stamp !== this.stamp;
    if (identity !== this.identity) await this.catchUp(state, identity);
    else if (isPolled && state && (isNew || this.commands.isPending)) await this.takeNews();
    this.stamp = stamp;
    if (!state) return this.status.showBanner();
    this.alerts.told = state.run_state; // a state that is an alert has a banner, too
    if (state.run_state !== this.runState) await this.alerts.update(); // before the monitor of alerts has looked
    this.runState = state.run_state;
    this.records.setBest(state.best_quality_ever);
    this.pictures.setBest(this.records.best?.step ?? null);
    this.details.follow(state, isNew);
    await this.pictures.lookForExpected();
    this.showModes();
    this.status.showBanner();
  }

  /** Fetch what this page does not know: all of it at the start and of another run, else only what is new. */
  async catchUp(state, identity) {
    if (identity !== this.identity) this.begin(identity);
    this.records.setBest(state?.best_quality_ever);
    if (!state) {
      this.board.history.begin(null);
      this.board.show();
    }
    // The curves are asked for first, since they take longest, and shown without waiting for anything else.
    let isDrawn = false;
    const draw = () => {
      if (isDrawn) this.board.showSoon();
      else this.board.show();
      isDrawn = true;
    };
    const curves = state && this.board.history.update(identity, draw);
    await Promise.all([curves, this.records.update(), this.pictures.update(), state && this.events.update()]);
    if (!state) return;
    await this.chooser.follow();
    this.showModes();
    this.board.showSoon();
    await Promise.all([this.commands.update(), this.checkpoints.update(), this.alerts.update(), this.layers.update(state.run_id)]);
    if (this.isFirst) await this.askRights();
    this.isFirst = false;
  }

  /** Without a stream: the entries of the event log since the last ones, as the stream would bring them, and log points. */
  async takeNews() {
    const events = await this.events.news();
    if (events === null) return this.catchUp(this.status.state, this.identity);
    for (const event of events) await this.takeMessage(messageOf(event));
    await this.board.history.update(this.identity);
    this.board.show();
  }

  begin(identity) {
    if (identity !== this.identity) this.details.begin();
    this.identity = identity;
    this.isFirst = true;
    this.stamp = null;
  }

  /** Whether the token may do more than read is learnt by a command that is checked and not queued. */
  async askRights() {
    try {
      await change("POST", "/validate?dry_run=true");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.commands.mayControl = error.slug !== "insufficient-scope";
    }
    this.commands.showRun(this.status.state?.run_state ?? "none", true);
  }

  async takeMessage({ kind, id, data }) {
    const event = { id: Number(id?.split("-")[0]), kind, step: data.step, time: data.time, details: data };
    switch (kind) {
      case "log": return this.takePoint(data);
      case "gap": return this.board.history.update(this.identity).then(() => this.board.show());
      case "run": return void (this.identity = undefined);
      case "command": this.commands.take(data); break;
      case "record": await this.takeRecord(data); break;
      case "alert": this.alerts.notify(data); await this.alerts.update(); break;
      case "event": return this.takeEvent(data);
    }
    this.events.add(event);
  }

  takePoint({ step, time, values }) {
    this.board.history.add(step, { last_update_time: time, ...values });
    this.board.showSoon();
  }

  /** A validation has values that no log point had; they are fetched for its step alone. */
  async takeRecord(record) {
    this.records.add(record);
    this.pictures.setBest(this.records.best?.step ?? null);
    await this.board.history.refresh(record.step);
    this.board.show();
    await this.pictures.expect(record.step);
    await this.layers.update(this.status.state?.run_id);
  }

  async takeEvent(event) {
    this.events.add(event);
    if (event.kind === "described") this.status.describe(event.details);
    if (event.kind.startsWith("checkpoint") || event.kind === "rollback") await this.checkpoints.update();
    if (REPEATING.has(event.kind)) {
      this.board.history.begin(null);
      await this.board.history.update(this.identity);
      this.board.show();
    }
    this.showModes();
  }

  showModes() {
    this.board.setMarks(this.events.marks, modesOf(this.events.modes, this.status.state?.adaptive_mode));
  }

  lookAt(step) {
    this.view.set({ step });
    this.pictures.choose(step);
  }

  explain(error) {
    if (error.status === 401) return this.askForToken();
    this.status.takeTrouble(error);
    this.commands.showRun(this.status.state?.run_state ?? "none", false);
  }

  askForToken() {
    this.feed.close();
    this.status.takeTrouble(new ApiError(401, "unauthorized", t("token.asked")));
    if (hasToken()) write("token-text", t("token.refused"));
    byId("token-warning").hidden = isSecureContext;
    if (!byId("token-dialog").open) byId("token-dialog").showModal();
  }

  takeToken() {
    keepToken(byId("token").value.trim());
    byId("token").value = "";
    this.identity = undefined;
    this.feed.open();
  }
}

/** An entry of the event log as the message that the stream has of it. */
function messageOf(event) {
  const { id, kind, step, time, details } = event;
  return OWN_KINDS.has(kind) ? { kind, id: String(id), data: { step, time, ...details } } : { kind: "event", id: String(id), data: event };
}

translatePage();
new Dashboard().start();
