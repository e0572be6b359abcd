// How the run is, from the last state that was heard: bar, panels and banner, and how old all of it is.

import { duration } from "../../shared/format.js";
import { t } from "../../shared/texts.js";
import { Banner, messageOf } from "./banner.js";
import { showAge, showBar } from "./bar.js";
import { showLedger } from "./ledger.js";
import { showState, showUnknown } from "./panels.js";
import { Runs } from "./runs.js";

export class Status {
  /** `page` has the other parts, whose facts the banner tells. */
  constructor(page) {
    this.page = page;
    this.state = null;
    this.heardAt = null;
    this.link = "waiting";
    this.trouble = null;
    this.runs = new Runs((run) => run.run_id === this.state?.run_id && this.describe(run));
    this.banner = new Banner();
    this.banner.onRank = (rank) => page.details.showStack(rank);
  }

  /** Seconds since the trainer's last sign of life and since its last progress, as of now. */
  get ages() {
    const heard = this.heardAt === null ? 0 : (Date.now() - this.heardAt) / 1000;
    return { data: (this.state?.age_seconds ?? 0) + heard, progress: (this.state?.progress_age_seconds ?? 0) + heard };
  }

  take(state, link) {
    this.state = state;
    this.heardAt = Date.now();
    this.trouble = null;
    this.link = link === "stream" ? "stream" : "polling";
    showState(state);
    showLedger(state);
    this.showAges();
  }

  takeTrouble(error) {
    this.trouble = error;
    this.link = error.status === 401 ? "refused" : "away";
    showUnknown(this.state);
    this.showAges();
    this.showBanner();
  }

  /** Take in what a person has just called the run, or written down about it. */
  describe({ name, note }) {
    if (name !== undefined) this.state.run_name = name;
    if (note !== undefined) this.state.run_note = note;
    this.showAges();
  }

  /** Let what is said grow older; before the first answer nothing is said. */
  tick() {
    this.showAges();
    if (this.heardAt !== null || this.trouble) this.showBanner();
  }

  showAges() {
    showBar(this.state, this.ages, this.page.events.noted, this.trouble !== null);
    this.runs.showCurrent(this.state);
    showAge(this.state, this.ages, this.link);
  }

  showBanner() {
    this.banner.show(this.trouble ? this.messageOfTrouble() : messageOf(this.state, this.ages, this.facts()));
  }

  messageOfTrouble() {
    const { status, message } = this.trouble;
    const age = this.state ? t("banner.values-old", { age: duration(this.ages.data) }) : "";
    if (status === 0) return { tone: "bad", title: t("banner.away"), text: age, purpose: t("banner.serve"), command: "leitstand serve" };
    if (status === 401) return { tone: "warn", title: message, text: age, purpose: t("banner.token"), command: "leitstand token create" };
    return { tone: "bad", title: message, text: age };
  }

  facts() {
    const { board, checkpoints, details, records } = this.page;
    const last = board.history.lastStep;
    const took = last ? board.scale.timeOf(last) - board.scale.start : null;
    return { ranks: details.stages, best: records.best, checkpoints: checkpoints.list, took };
  }
}
