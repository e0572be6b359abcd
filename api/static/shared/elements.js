// Small helpers for what every page is made of: elements, cells of tables, texts that change.

export const byId = (id) => document.getElementById(id);

/** Only real changes reach an element: a screen reader is not told the same twice, and a selection in it survives. */
export function write(id, text) {
  const place = byId(id);
  if (place.textContent !== text) place.textContent = text;
}

/** Fill a table's body; it is left alone while nothing changed, so that a selection in it survives. */
export function fill(body, rows, cellsOf, emptyText = "") {
  const stamp = JSON.stringify(rows);
  if (body.dataset.stamp === stamp) return;
  body.dataset.stamp = stamp;
  body.replaceChildren(...rows.map((row) => element("tr", "", ...cellsOf(row))));
  if (rows.length || !emptyText) return;
  const note = element("td", "empty", emptyText);
  note.colSpan = 20;
  body.append(element("tr", "", note));
}

export const cell = (content, className = "") => element("td", className, content);

export function head(text, className = "") {
  const item = element("th", className, text);
  item.scope = "row";
  return item;
}

export function element(name, className, ...content) {
  const item = document.createElement(name);
  if (className) item.className = className;
  item.append(...content);
  return item;
}

/** A cell with a bar of this share (0…1, or null) and a text behind it. */
export function bar(share, text) {
  const filled = element("span", "bar-filled");
  filled.style.setProperty("width", `${100 * Math.min(1, Math.max(0, share ?? 0))}%`);
  return cell(element("span", "bar-row", element("span", "bar", filled), element("span", "bar-text", text)));
}
