// Numbers, times and sizes for people.

const LOCALE = "en-GB";
const WHOLE = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumSignificantDigits: 3 });
const CLOCK = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MOMENT = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "medium" });

export const NONE = "–";

/** 1,234,567 */
export const whole = (value) => WHOLE.format(value);

/** 1.23M from ten thousand on: for places where only the size matters. */
export const short = (value) => (Math.abs(value) < 10000 ? WHOLE.format(value) : SHORT.format(value));

/** Jobs a second. */
export function rate(value) {
  if (!value) return "0";
  return value < 10 ? value.toFixed(1) : short(value);
}

/** A duration in seconds. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 0.001) return `${Math.max(Math.round(seconds * 1e6), 0)} µs`;
  if (seconds < 1) return `${(seconds * 1000).toPrecision(seconds < 0.0995 ? 2 : 3)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return pair(seconds, 60, "min", 1, "s");
  if (seconds < 86400) return pair(seconds, 3600, "h", 60, "min");
  return pair(seconds, 86400, "d", 3600, "h");
}

/** A duration on an axis, where there is little room. */
export function span(seconds) {
  if (seconds < 1) return duration(seconds);
  return seconds < 1000 ? `${Math.round(seconds * 10) / 10} s` : `${Math.round(seconds / 60)} min`;
}

function pair(seconds, large, largeName, small, smallName) {
  const rest = Math.floor((seconds % large) / small);
  const first = `${Math.floor(seconds / large)} ${largeName}`;
  return rest ? `${first} ${rest} ${smallName}` : first;
}

/** Bytes. */
export function bytes(count) {
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = count / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toPrecision(3)} ${units[unit]}`;
}

/** Seconds since 1970 as a time of day, and as a date with its time. */
export const clock = (seconds) => CLOCK.format(seconds * 1000);
export const moment = (seconds) => MOMENT.format(seconds * 1000);

/** How far a job is, from 0 to 1; null where it has not said. */
export function progress(job) {
  const { numerator, denominator } = job;
  if (!(denominator > 0)) return null;
  return Math.min(Math.max(numerator / denominator, 0), 1);
}

export const plural = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;

export const PRIORITIES = ["high", "normal", "low"];
