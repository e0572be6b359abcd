// What the page says, in the reader's language. One file a language; both have the same keys.

const LANGUAGE_KEY = "leitstand-language";
const LANGUAGES = ["en", "de"];

/** The language in use: the one that was chosen on this page, or the first of the browser's that there is. */
export const language = chosenLanguage();
/** The reader's way to write numbers and times: that of the browser, if it is one of this language. */
export const locale = navigator.languages.find((name) => name.split("-")[0] === language) ?? language;

const { default: texts } = await import(`../texts/${language}.js`);

function chosenLanguage() {
  const wanted = [kept(), ...navigator.languages].map((name) => name?.split("-")[0]);
  return wanted.find((name) => LANGUAGES.includes(name)) ?? "en";
}

function kept() {
  try {
    return localStorage.getItem(LANGUAGE_KEY);
  } catch {
    return null; // the browser keeps nothing for this page
  }
}

export function chooseLanguage(name) {
  localStorage.setItem(LANGUAGE_KEY, name);
  location.reload();
}

export const hasText = (key) => key in texts;

/** The text of `key`, with `{name}` replaced by `values.name`. */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** The text for one, or for any other number, of something. */
export function counted(key, count, values = {}) {
  return t(`${key}.${count === 1 ? "one" : "other"}`, { count, ...values });
}

/** Write the texts of the page's own elements; the page is delivered in English. */
export function translatePage() {
  document.documentElement.lang = language;
  if (language === "en") return;
  for (const place of document.querySelectorAll("[data-t]")) place.textContent = t(place.dataset.t);
  for (const place of document.querySelectorAll("[data-t-label]")) place.setAttribute("aria-label", t(place.dataset.tLabel));
  for (const place of document.querySelectorAll("[data-t-hint]")) place.placeholder = t(place.dataset.tHint);
}
