// The state of the view in the address, behind the `#`: it can be sent to others, and the back button undoes it.

const DEFAULTS = {
  find: "", state: "all", sort: "-started", page: 1, chosen: [], compare: false, value: "quality_ki_value", over: "step",
  at: "last",
};
export const MOST_CHOSEN = 8;

/** The view that the present address means; what it does not say, or says wrongly, is as by default. */
export function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  const text = (name) => said.get(name) ?? DEFAULTS[name];
  return {
    find: text("find"),
    state: text("state"),
    sort: text("sort"),
    page: Math.max(1, Math.trunc(Number(text("page"))) || 1),
    chosen: [...new Set(text("runs") ? said.get("runs").split(",").filter(Boolean) : [])].slice(0, MOST_CHOSEN),
    compare: said.has("compare"),
    value: text("value"),
    over: ["step", "samples", "time"].includes(said.get("over")) ? said.get("over") : DEFAULTS.over,
    at: text("at"),
  };
}

/** Write a view into the address; with `asNew`, the back button leads to the one before. */
export function writeAddress(view, { asNew = false } = {}) {
  const said = new URLSearchParams();
  for (const name of ["find", "state", "sort", "page", "value", "over", "at"]) {
    if (view[name] !== DEFAULTS[name]) said.set(name, view[name]);
  }
  if (view.chosen.length) said.set("runs", view.chosen.join(","));
  if (view.compare) said.set("compare", "1");
  const hash = said.size ? `#${said}` : "";
  if (hash === location.hash) return;
  const address = `${location.pathname}${location.search}${hash}`;
  if (asNew) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}
