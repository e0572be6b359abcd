// Server-sent events over fetch: the token goes into a header, and nothing of it into an address.

import { ApiError, beside, refusal, tokenHeaders } from "./api.js";
import { t } from "./texts.js";

/** Without a byte for so long (the server sends a comment every ten seconds) the connection counts as broken. */
const SILENCE_MS = 25_000;

/**
 * Follow the events at `path` until the server ends them or `signal` aborts; `onMessage({ kind, id, data })` gets each.
 * `lastId` is where to go on. Raises `ApiError` where there is no stream, or it broke.
 */
export async function follow(path, { lastId, signal, onOpen, onId, onMessage }) {
  const broken = new AbortController();
  const either = AbortSignal.any([signal, broken.signal]);
  let watchdog = setTimeout(() => broken.abort(), SILENCE_MS);
  const parser = new Parser(onId, onMessage);
  try {
    const headers = { Accept: "text/event-stream", ...tokenHeaders(), ...(lastId ? { "Last-Event-ID": lastId } : {}) };
    const response = await fetch(beside(path), { headers, cache: "no-store", signal: either });
    if (!response.ok) throw await refusal(response);
    onOpen();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => broken.abort(), SILENCE_MS);
      parser.take(piece.value);
    }
  } catch (error) {
    if (error instanceof ApiError || signal.aborted) throw error;
    throw new ApiError(0, "unreachable", t("api.away"));
  } finally {
    clearTimeout(watchdog);
  }
}

/** Reads the lines of a stream (WHATWG HTML, 9.2.6), in pieces that end anywhere. */
class Parser {
  constructor(onId, onMessage) {
    this.onId = onId;
    this.onMessage = onMessage;
    this.rest = "";
    this.begin();
  }

  begin() {
    this.kind = "message";
    this.lines = [];
  }

  take(text) {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop();
    for (const line of lines) this.read(line);
  }

  read(line) {
    if (!line) {
      if (this.lines.length) this.onMessage({ kind: this.kind, id: this.id, data: JSON.parse(this.lines.join("\n")) });
      this.begin();
      return;
    }
    const place = line.indexOf(":");
    const [name, value] = place < 0 ? [line, ""] : [line.slice(0, place), line.slice(place + 1).replace(/^ /, "")];
    if (name === "event") this.kind = value;
    if (name === "data") this.lines.push(value);
    if (name === "id") this.onId((this.id = value));
  }
}
