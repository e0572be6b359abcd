// What happened to the run: entries of its event log as sentences, newest first, and marks for the curves.

import { ApiError, get } from "../../shared/api.js";
import { byId, element } from "../../shared/elements.js";
import { clock, moment, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";
import { sentenceOf, toneOf } from "./sentences.js";

const PAGE = 60;
const MOST_SHOWN = 600;
const KINDS = {
  all: null,
  commands: ["command", "set", "rollback", "paused", "resumed"],
  records: ["record", "checkpoint", "checkpoint failed"],
  controller: ["mode", "weights", "perceptual", "boost", "safety reset"],
  trouble: ["alert", "alert undelivered", "stalled", "going on", "hang ended", "slow rank", "not finite", "checkpoint failed", "left out", "skipped", "data changed", "recovered"],
};
/** What a person would look for on a curve, with the tone of its mark. */
const MARKS = { rollback: "bad", set: "accent", boost: "loss", "safety reset": "warn", started: "muted", "not finite": "bad" };
/** What says since when a state lasts, and in which mode the controller was. */
const CHANGES = ["paused", "resumed", "started", "mode"];
const ENDED = new Set(["done", "failed", "rejected", "expired", "cancelled"]);

export class Events {
  constructor() {
    this.entries = [];
    this.noted = [];
    this.lastId = 0;
    this.cursor = this.frame = null;
    byId("events-kind").addEventListener("change", () => this.choose());
    byId("events-find").addEventListener("input", () => this.show());
    byId("events-more").addEventListener("click", () => this.fetchMore());
  }

  async choose() {
    try {
      await this.update();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }

  /** Fetch the newest entries of the chosen kinds, and those that the curves show; older ones that were asked for are kept. */
  async update() {
    const kind = byId("events-kind").value;
    const page = await get(this.path());
    page.events.forEach((event) => this.note(event));
    const oldest = page.events.at(-1)?.id ?? Infinity;
    // What was fetched before is kept where it joins on; otherwise there may be more in between.
    const joins = kind === this.kind && this.entries.some(({ id }) => id >= oldest);
    const kept = joins ? this.entries.filter(({ id }) => id < oldest) : [];
    if (!kept.length) this.cursor = page.next_cursor;
    this.kind = kind;
    this.entries = [...page.events, ...kept];
    this.show();
    const kinds = [...Object.keys(MARKS), ...CHANGES].map(encodeURIComponent).join(",");
    this.noted = (await get(`/event-log?limit=500&kinds=${kinds}`)).events;
  }

  /** Take in an entry that the stream brought; one that is there already is left out. */
  add(event) {
    this.note(event);
    if ((event.kind in MARKS || CHANGES.includes(event.kind)) && !this.noted.some(({ id }) => id === event.id)) this.noted.unshift(event);
    const kinds = KINDS[byId("events-kind").value];
    if ((kinds && !kinds.includes(event.kind)) || this.entries.some(({ id }) => id === event.id)) return;
    this.entries.unshift(event);
    this.entries.sort((one, other) => other.id - one.id);
    if (this.entries.length > MOST_SHOWN) this.entries.length = MOST_SHOWN;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.show();
    });
  }

  get marks() {
    return this.noted.filter(({ kind }) => kind in MARKS).map((event) => ({ step: event.step, tone: MARKS[event.kind], text: sentenceOf(event) }));
  }

  /** Changes of the controller's mode, in the order of steps. */
  get modes() {
    return this.noted.filter(({ kind, details }) => kind === "mode" && details.after).toSorted((one, other) => one.step - other.step);
  }

  /**
   * The entries after the newest that is known, the oldest first; null where there are more than a page of them. What
   * is known is counted by `note`.
   */
  async news() {
    const page = await get(`/event-log?limit=${PAGE}&after=${this.lastId}`);
    page.events.forEach((event) => this.note(event));
    return page.next_cursor ? null : page.events.toReversed();
  }

  note({ id }) {
    this.lastId = Math.max(this.lastId, id || 0);
  }

  async fetchMore() {
    const page = await get(`${this.path()}&cursor=${encodeURIComponent(this.cursor)}`);
    this.entries.push(...page.events);
    this.cursor = page.next_cursor;
    this.show();
  }

  path() {
    const kinds = KINDS[byId("events-kind").value];
    return `/event-log?limit=${PAGE}${kinds ? `&kinds=${kinds.map(encodeURIComponent).join(",")}` : ""}`;
  }

  show() {
    byId("events-more").hidden = !this.cursor;
    const wanted = byId("events-find").value.trim().toLowerCase();
    const stamp = `${wanted} ${this.entries.map(({ id }) => id).join()}`;
    const list = byId("events");
    if (list.dataset.stamp === stamp) return;
    list.dataset.stamp = stamp;
    const shown = this.entries.filter((event) => isTelling(event) && sentenceOf(event).toLowerCase().includes(wanted));
    list.replaceChildren(...shown.map(itemOf));
    if (!shown.length) list.append(element("li", "empty", t("events.empty")));
  }
}

/** A command is told once, at its end: not each of its states; a start once all ranks stand, not when it began. */
function isTelling({ kind, details }) {
  return kind !== "registered" && (kind !== "command" || ENDED.has(details.state));
}

function itemOf(event) {
  const time = element("time", "", clock(event.time));
  time.dateTime = new Date(1000 * event.time).toISOString();
  time.title = moment(event.time);
  const item = element("li", "", time, element("span", "event-step", whole(event.step)), element("span", "event-text", sentenceOf(event)));
  item.dataset.tone = toneOf(event);
  return item;
}
