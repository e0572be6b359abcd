// What comes from the server by itself: the state of the run and everything that happens, by one event stream. After a
// break it goes on where it was; while there is no stream, /state is asked every second. Nothing while nobody looks.

import { ApiError, get, tokenHeaders } from "../../shared/api.js";
import { follow } from "../../shared/stream.js";
import { Tabs } from "./tabs.js";

const POLL_MS = 1000;
const STREAM_AGAIN_MS = 3000;
const QUIET_MS = 10_000;

const pause = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});

export class Feed {
  /**
   * `onState(state, isPolled)` gets every state, null while there is no run; `onMessage({ kind, id, data })` whatever
   * else happens, each thing once; `onTrouble(error)` why there is neither.
   */
  constructor({ onState, onMessage, onTrouble }) {
    Object.assign(this, { onState, onMessage, onTrouble });
    this.lastId = null;
    /** How the page hears of the run: "stream", "polling", or "none". */
    this.link = "none";
    this.heardAt = -Infinity;
    this.tabs = new Tabs((message) => this.take(message));
    this.controller = null;
  }

  /** Begin, or begin anew; ends what was open before. */
  async open() {
    this.close();
    const { signal } = (this.controller = new AbortController());
    await this.tabs.join(tokenHeaders());
    if (signal.aborted) return;
    this.ask(signal);
    try {
      await this.tabs.lead(signal, () => this.keepFollowing(signal));
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  close() {
    this.controller?.abort();
    this.controller = null;
    this.tabs.leave();
    this.link = "none";
  }

  /** Ask for the state now, as after a command while there is no stream. */
  hurry() {
    if (this.link !== "stream" && this.controller) this.ask(this.controller.signal);
  }

  async keepFollowing(signal) {
    const ticking = setInterval(() => this.askIfQuiet(signal), QUIET_MS / 4);
    let streamAt = -Infinity;
    try {
      while (!signal.aborted) {
        if (performance.now() >= streamAt) {
          const wait = await this.stream(signal);
          if (signal.aborted) return;
          streamAt = performance.now() + wait;
        }
        await this.ask(signal);
        await pause(POLL_MS, signal);
      }
    } finally {
      clearInterval(ticking);
    }
  }

  /** One stream from its opening to its end; returns after how many milliseconds to try the next one. */
  async stream(signal) {
    try {
      await follow("/events", {
        lastId: this.lastId,
        signal,
        onOpen: () => { this.link = "stream"; },
        onId: (id) => { this.lastId = id; },
        onMessage: (message) => this.spread(message),
      });
      return 0;
    } catch (error) {
      if (!(error instanceof ApiError) && !signal.aborted) throw error;
      return error.slug === "too-many-streams" ? 5 * STREAM_AGAIN_MS : STREAM_AGAIN_MS;
    } finally {
      if (!signal.aborted) this.link = "polling";
    }
  }

  /** Take a message in, and hand it on to the other tabs. */
  spread(message) {
    this.take(message);
    this.tabs.share({ ...message, link: this.link });
  }

  take(message) {
    this.link = message.link ?? this.link;
    if (message.kind === "trouble") return this.onTrouble(new ApiError(message.status, message.slug, message.text));
    if (message.id) this.lastId = message.id;
    if (message.kind === "run") this.lastId = null;
    this.heardAt = performance.now();
    if (message.kind === "state") this.onState(message.data, message.isPolled ?? false);
    else this.onMessage(message);
  }

  /** A state is sent when it changes, not because it grows old: of a paused run it is asked for now and then. */
  askIfQuiet(signal) {
    if (this.link === "stream" && performance.now() > this.heardAt + QUIET_MS) this.ask(signal);
  }

  async ask(signal) {
    try {
      const data = await stateOrNull();
      if (!signal.aborted) this.spread({ kind: "state", data, isPolled: this.link === "polling" });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!signal.aborted) this.spread({ kind: "trouble", status: error.status, slug: error.slug, text: error.message });
    }
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
