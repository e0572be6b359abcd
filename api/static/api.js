// Talking to the API: JSON in and out, the token of this tab, and one error class for every way to fail.

const TOKEN_KEY = "leitstand-token";
const TIMEOUT_MS = 8000;
// Below `/runs/<run>/` the page speaks of that run; paths that the server gave have this at their head already.
const BASE = document.body.dataset.base ?? "";

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

export function get(path) {
  return send("GET", path, (response) => response.json());
}

export function post(path) {
  return send("POST", path, (response) => response.json());
}

/** Save a file by way of memory: a plain link cannot carry the token. */
export async function saveFile(path, name) {
  const content = await send("GET", path, (response) => response.blob());
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function send(method, path, read) {
  const headers = { "X-Leitstand-Source": "web" };
  const token = sessionStorage.getItem(TOKEN_KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  const whole = path.startsWith(`${BASE}/`) ? path : BASE + path;
  let response;
  try {
    response = await fetch(whole, { method, headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (response.ok) return await read(response);
  } catch {
    const doubt = method === "GET" ? "" : " The command may or may not have been taken.";
    throw new ApiError(0, "unreachable", `The API does not answer.${doubt}`);
  }
  const problem = await response.json().catch(() => ({}));
  const slug = String(problem.type ?? "").split("/").pop();
  throw new ApiError(response.status, slug, problem.detail ?? `The API answered ${response.status}.`);
}
