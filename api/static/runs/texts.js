// The texts of the page of runs, in the reader's language: `say("shown", { from: 1, to: 50, of: 1000 })`.

import { whole } from "../shared/format.js";
import { language, t } from "../shared/texts.js";
import english from "../texts/runs-en.js";

const texts = language === "de" ? (await import("../texts/runs-de.js")).default : english;

/** The text under a key; numbers in `values` are written as whole numbers. */
export function say(key, values = {}) {
  const written = (name) => (typeof values[name] === "number" ? whole(values[name]) : values[name]);
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => written(name));
}

/** Fill in the texts of the template: `data-t` is content, `data-t-label` an accessible name, `data-t-hint` a placeholder. */
export function fillTexts() {
  document.documentElement.lang = language;
  for (const option of document.querySelectorAll("option[data-state]")) option.textContent = t(`state.${option.value}`);
  for (const place of document.querySelectorAll("[data-t]")) place.textContent = say(place.dataset.t);
  for (const place of document.querySelectorAll("[data-t-label]")) place.setAttribute("aria-label", say(place.dataset.tLabel));
  for (const place of document.querySelectorAll("[data-t-hint]")) place.placeholder = say(place.dataset.tHint);
}
