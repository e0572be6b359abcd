// How numbers and times are written, in the reader's own way. Every function takes null for "not known" and answers with a dash.

import { locale, t } from "./texts.js";

const DASH = "–";
const DAY = 86_400;
const formatters = new Map();

function formatter(Kind, options) {
  const key = JSON.stringify(options);
  if (!formatters.has(key)) formatters.set(key, new Kind(locale, options));
  return formatters.get(key);
}

function number(value, options) {
  return formatter(Intl.NumberFormat, options).format(value).replace("-", "−");
}

export function whole(value) {
  return isNumber(value) ? number(value, { maximumFractionDigits: 0 }) : DASH;
}

export function fixed(value, digits) {
  return isNumber(value) ? number(value, { minimumFractionDigits: digits, maximumFractionDigits: digits }) : DASH;
}

export function signed(value, digits) {
  if (!isNumber(value)) return DASH;
  return number(value, { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "always" });
}

export function percent(share, digits = 0) {
  return isNumber(share) ? `${fixed(100 * share, digits)} %` : DASH;
}

/** Losses and other numbers: four significant digits, never an exponent above 1e-4. */
export function significant(value, digits = 4) {
  if (!isNumber(value)) return DASH;
  if (value !== 0 && Math.abs(value) < 1e-4) return power(value);
  if (Math.abs(value) >= 10 ** digits) return whole(value);
  return number(value, { minimumSignificantDigits: digits, maximumSignificantDigits: digits });
}

/** A number on an axis: as short as it can be. */
export function short(value) {
  if (!isNumber(value)) return "";
  if (value !== 0 && Math.abs(value) < 1e-4) return power(value, 1);
  return Math.abs(value) >= 1e5 ? number(value, { notation: "compact", maximumSignificantDigits: 4 }) : number(value, { maximumSignificantDigits: 6 });
}

/** A learning rate: 8.95e-5 as 8.95·10⁻⁵. */
export function power(value, digits = 2) {
  if (!isNumber(value)) return DASH;
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(digits).split("e");
  const raised = [...String(Number(exponent))].map((sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign] ?? "⁻").join("");
  return `${fixed(Number(mantissa), digits)}·10${raised}`;
}

/** Seconds as the largest two units that matter. */
export function duration(seconds) {
  if (!isNumber(seconds)) return DASH;
  const total = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(total / DAY), Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60];
  if (days) return t("duration.days", { days, hours });
  if (hours) return t("duration.hours", { hours, minutes });
  return minutes ? t("duration.minutes", { minutes, seconds: total % 60 }) : t("duration.seconds", { seconds: total });
}

/** Unix seconds as date and time. */
export function moment(seconds) {
  return isNumber(seconds) ? time(seconds, { dateStyle: "medium", timeStyle: "short" }) : DASH;
}

/** Unix seconds as time of day; of another day with the weekday, or further away with the date. */
export function clock(seconds, weekday = "short") {
  if (!isNumber(seconds)) return DASH;
  const now = Date.now() / 1000;
  if (time(seconds, { dateStyle: "short" }) === time(now, { dateStyle: "short" })) return time(seconds, { timeStyle: "short" });
  if (Math.abs(seconds - now) < 6 * DAY) return time(seconds, { weekday, hour: "numeric", minute: "2-digit" });
  return time(seconds, { dateStyle: "short", timeStyle: "short" });
}

function time(seconds, options) {
  return formatter(Intl.DateTimeFormat, options).format(new Date(1000 * seconds));
}

export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
