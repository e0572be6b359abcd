// The dashboard: asks /state every second, everything else only when it says that something changed, and rests while
// nobody looks. It shows what the API answers and keeps nothing but the token of this tab.

import { ApiError, get, hasToken, keepToken } from "./api.js";
import { LossChart, QualityChart } from "./charts.js";
import { Commands } from "./commands.js";
import { duration } from "./format.js";
import { History } from "./history.js";
import { sentenceAbout, showState, showStrip, showUnknown } from "./panels.js";
import { updateRecords } from "./records.js";

const POLL_MS = 1000;
const POLL_SOON_MS = 150;

const byId = (id) => document.getElementById(id);

class Dashboard {
  constructor() {
    this.history = new History();
    this.lossChart = new LossChart(byId("loss-plot"), byId("loss-keys"));
    this.qualityChart = new QualityChart(byId("quality-plot"), byId("quality-keys"), byId("verdict"));
    this.commands = new Commands(() => this.lookAgain(POLL_SOON_MS));
    this.stamp = null;
    this.state = null;
    this.answeredAt = null;
    this.isAsking = false;
    this.timer = null;
  }

  start() {
    document.addEventListener("visibilitychange", () => this.lookAgain(0));
    byId("token-form").addEventListener("submit", () => this.takeToken());
    byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
    this.lookAgain(0);
  }

  lookAgain(delay) {
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.look(), delay);
  }

  async look() {
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      await this.ask();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.explain(error);
    } finally {
      this.isAsking = false;
      if (!byId("token-dialog").open) this.lookAgain(this.commands.isPending ? POLL_MS / 2 : POLL_MS);
    }
  }

  async ask() {
    const state = await stateOrNull();
    this.answeredAt = Date.now();
    this.state = state;
    showState(state);
    if (state) showStrip(...sentenceAbout(state));
    else showStrip("note", "There is no run yet: start one with “leitstand up”. Waiting for it.");
    this.commands.showRun(state?.run_state ?? "none", true);
    await this.refresh(state);
  }

  /** What is costly is fetched only when the state says that there is something new. */
  async refresh(state) {
    const stamp = state
      ? [state.run_id, state.started_at, state.step_live, state.last_update_time, state.run_state].join()
      : "none";
    const isNew = stamp !== this.stamp;
    if (state) await this.commands.follow(isNew);
    if (!isNew) return;
    await updateRecords(state?.best_quality_ever);
    if (state) await this.history.update(`${state.run_id} ${state.started_at}`);
    else this.history.begin(null);
    this.lossChart.show(this.history.columns(["total_loss_value", "validation_loss_value"]));
    this.qualityChart.show(this.history.columns(["quality_ki_value", "quality_lr_value"]));
    this.stamp = stamp;
  }

  explain(error) {
    if (error.status === 401) {
      this.askForToken();
      return;
    }
    const age = this.answeredAt && this.state ? (Date.now() - this.answeredAt) / 1000 + this.state.age_seconds : null;
    const text = error.status === 0 ? "The API does not answer; trying again every second." : error.message;
    showStrip("alarm", text, age === null ? "" : `The values below are ${duration(age)} old.`);
    showUnknown(this.state);
    this.commands.showRun(this.state?.run_state ?? "none", false);
  }

  askForToken() {
    showStrip("warning", "This control room asks for a token.");
    if (hasToken()) byId("token-text").textContent = "That token was not accepted. Enter another one.";
    if (!byId("token-dialog").open) byId("token-dialog").showModal();
  }

  takeToken() {
    keepToken(byId("token").value.trim());
    byId("token").value = "";
    this.lookAgain(POLL_SOON_MS);
  }
}

/** The state of the run, or null while there is none. */
async function stateOrNull() {
  try {
    return await get("/state");
  } catch (error) {
    if (error instanceof ApiError && error.slug === "no-run") return null;
    throw error;
  }
}

new Dashboard().start();
