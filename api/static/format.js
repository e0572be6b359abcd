// How numbers and times are written. Every function takes null for "not known" and answers with a dash.

const DASH = "–";
const THIN = "\u202f";

export function whole(value) {
  if (!isNumber(value)) return DASH;
  return String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
}

export function fixed(value, digits) {
  return isNumber(value) ? value.toFixed(digits).replace("-", "−") : DASH;
}

export function signed(value, digits) {
  if (!isNumber(value)) return DASH;
  return (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(digits);
}

/** Losses and other small positive numbers: four significant digits, never an exponent above 1e-4. */
export function significant(value) {
  if (!isNumber(value)) return DASH;
  if (value !== 0 && Math.abs(value) < 1e-4) return power(value);
  return Number(value.toPrecision(4)).toFixed(Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value) || 1))));
}

/** A learning rate: 8.95e-5 as 8.95·10⁻⁵. */
export function power(value) {
  if (!isNumber(value)) return DASH;
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(2).split("e");
  const raised = [...String(Number(exponent))].map((sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign] ?? "⁻").join("");
  return `${mantissa}·10${raised}`;
}

/** Seconds as the largest two units that matter. */
export function duration(seconds) {
  if (!isNumber(seconds)) return DASH;
  const total = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(total / 86400), Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${total % 60} s` : `${total} s`;
}

/** Unix seconds as local date and time, ISO order. */
export function moment(seconds) {
  if (!isNumber(seconds)) return DASH;
  const at = new Date(seconds * 1000);
  const two = (value) => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
