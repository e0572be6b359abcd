// Talking to the API: JSON in and out, the token of this tab, and one error class for every way to fail.

import { t } from "./texts.js";

// The page may stand below a path of a proxy, and there may be others at the same origin: the token is this one's.
export const ROOT = new URL(document.body.dataset.root ?? "./", document.baseURI).pathname;
const TOKEN_KEY = ROOT === "/" ? "leitstand-token" : `leitstand-token ${ROOT}`;
const TIMEOUT_MS = 8000;
const JSON_TYPE = "application/json";

/** Why a request failed. `status` is 0 when nothing answered; `slug` is the problem's stable type. */
export class ApiError extends Error {
  constructor(status, slug, text) {
    super(text);
    this.status = status;
    this.slug = slug;
  }
}

export function hasToken() {
  return Boolean(sessionStorage.getItem(TOKEN_KEY));
}

/** A header carries ASCII only: of anything else the server is to say that it is no token. */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN_KEY, token.replace(/[^!-~]/g, "?"));
}

export function tokenHeaders() {
  const token = sessionStorage.getItem(TOKEN_KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

const asJson = (response) => response.json();

export function get(path) {
  return send("GET", path, asJson);
}

/** An answer with its `ETag`, which names what was seen. */
export function getTagged(path) {
  return send("GET", path, async (response) => ({ content: await response.json(), etag: response.headers.get("ETag") }));
}

/** An answer of the server as a whole, as `/runs`, whatever run the page is of. */
export function getOfServer(path) {
  return send("GET", path, asJson, { address: ofServer(path) });
}

export function getBlob(path) {
  return send("GET", path, (response) => response.blob());
}

export function getText(path) {
  return send("GET", path, (response) => response.text());
}

/** What a log has after `cursor`, or its last `count` lines; `isContinued` says which, `cursor` where to go on. */
export function getLog(count, cursor = null) {
  const after = cursor === null ? "" : `&after=${encodeURIComponent(cursor)}`;
  return send("GET", `/logs?tail=${count}${after}`, async (response) => ({
    text: await response.text(),
    cursor: response.headers.get("Log-Cursor"),
    isContinued: response.headers.get("Log-Continued") === "true",
  }));
}

/** The entries of all pages of a list, which an answer has under `key`. */
export async function getPages(path, key) {
  const entries = [];
  for (let cursor = ""; cursor !== null; ) {
    const page = await get(cursor ? `${path}&cursor=${encodeURIComponent(cursor)}` : path);
    entries.push(...page[key]);
    cursor = page.next_cursor;
  }
  return entries;
}

/** Send a request that changes something, with a body where there is one; with `etag`, only if that still holds. */
export function change(method, path, body, etag = null) {
  return send(method, path, asJson, { body, etag });
}

/** The same for what belongs to the server as a whole, as the description of any run. */
export function changeOfServer(method, path, body) {
  return send(method, path, asJson, { body, address: ofServer(path) });
}

/** Save a file by way of memory: a plain link cannot carry the token. */
export async function saveFile(path, name) {
  saveBlob(await getBlob(path), name);
}

export function saveBlob(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const ofServer = (path) => `${ROOT}${path.slice(1)}`;

/** The address of a path of this page's run: beside the page, whatever stands before it. */
export function beside(path) {
  return `.${path}`;
}

/** Make an error of an answer that is a refusal. */
export async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  const slug = String(problem.type ?? "").split("/").pop();
  return new ApiError(response.status, slug, problem.detail ?? t("api.status", { status: response.status }));
}

async function send(method, path, read, { body, etag, address = beside(path) } = {}) {
  const headers = { "X-Leitstand-Source": "web", ...tokenHeaders(), ...(etag ? { "If-Match": etag } : {}) };
  if (body !== undefined) headers["Content-Type"] = JSON_TYPE;
  const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" };
  let response;
  try {
    response = await fetch(address, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (response.ok) return await read(response);
  } catch {
    throw new ApiError(0, "unreachable", method === "GET" ? t("api.away") : t("api.doubt"));
  }
  throw await refusal(response);
}
