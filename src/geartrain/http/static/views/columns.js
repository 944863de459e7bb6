// Columns and cells that several views share.

import { h, icon, setAttribute, setText } from "../dom.js";
import { duration, NONE, progress, rate, short, whole } from "../format.js";
import { LONG } from "../table.js";

export const waitingOf = (row) => row.waiting[0] + row.waiting[1] + row.waiting[2];
export const failedOf = (row) => row.failed + row.exceptions + row.exhausted;
export const speedOf = (row, which = "completed") => (row.at === row.server.time ? row.rates[which] : 0);
/** A duration that the server sent some time ago has grown since. */
export const aged = (value, row) => (value === null ? null : value + Math.max(row.server.now - row.at, 0));

export const functionKey = (row) => `${row.server.home} ${row.name}`;
export const functionLink = (row) => `#function/${encodeURIComponent(row.name)}?server=${encodeURIComponent(row.server.home)}`;
export const openFunction = (row) => { location.hash = functionLink(row); };
export const warned = (row) => (row.unattended ? "warn" : "");

function drawName(row, cell) {
  if (!cell.firstChild) cell.append(h("div", { class: "named" }, h("span", {})));
  const named = cell.firstChild;
  setText(named.querySelector("span"), row.name);
  setAttribute(cell, "data-long", row.name.length > LONG ? "" : null);
  setAttribute(cell, "title", row.unattended ? `${row.name}: jobs wait, and no worker can do them` : row.name);
  const sign = named.querySelector("svg");
  if (row.unattended && !sign) named.prepend(icon("warning"), h("b", { class: "unseen" }, "No worker: "));
  else if (!row.unattended && sign) {
    sign.nextSibling.remove();
    sign.remove();
  }
}

const number = (key, label, more = {}) => ({ key, label, number: true, width: "minmax(58px, 88px)", text: (row) => short(row[key] ?? 0), ...more });

/** The columns of functions; the server's only where there are several. */
export function functionColumns(several) {
  return [
    { key: "name", label: "Function", width: "minmax(110px, 2.4fr)", kind: "name", draw: drawName },
    several && { key: "server", label: "Server", width: "minmax(100px, 1fr)", kind: "quiet", from: 700, value: (row) => row.server.name, text: (row) => row.server.name },
    number("waiting", "Waiting", { sum: true, kind: "need", value: waitingOf, text: (row) => short(waitingOf(row)), sumText: (row) => short(row.waiting), narrow: "70px" }),
    number("running", "Running", { sum: true, narrow: "58px" }),
    number("workers", "Workers", { sum: true, kind: "need", narrow: "58px" }),
    number("speed", "Done/s", { sum: true, value: speedOf, text: (row) => rate(speedOf(row)), sumText: (row) => rate(row.speed), from: 520 }),
    number("completed", "Completed", { sum: true, from: 820 }),
    number("failures", "Failed", { sum: true, value: failedOf, text: (row) => short(failedOf(row)), sumText: (row) => short(row.failures), from: 640 }),
    number("oldest", "Oldest", { value: (row) => row.oldest, text: (row) => duration(aged(row.oldest, row)), from: 740, width: "minmax(80px, 100px)" }),
    number("waited_p99", "Wait p99", { value: (row) => row.waited_p99, text: (row) => duration(row.waited_p99), from: 1020, width: "minmax(80px, 96px)" }),
    number("ran_p99", "Run p99", { value: (row) => row.ran_p99, text: (row) => duration(row.ran_p99), from: 940, width: "minmax(80px, 96px)" }),
  ].filter(Boolean);
}

function drawProgress(job, cell) {
  if (!cell.firstChild) cell.append(h("div", { class: "progress" }, h("progress", { max: 1, "aria-label": "Progress" }), h("span", { class: "share" })));
  const [bar, share] = cell.firstChild.children;
  const done = progress(job);
  if (done === null) bar.removeAttribute("value");
  else if (bar.value !== done || !bar.hasAttribute("value")) bar.value = done;
  setText(share, done === null ? NONE : `${Math.floor(done * 100)}%`);
  setAttribute(cell, "title", job.denominator ? `${whole(job.numerator)} of ${whole(job.denominator)}` : "has not said how far it is");
}

/** The columns of running jobs. */
export function runningColumns(several) {
  return [
    { key: "function", label: "Function", width: "minmax(90px, 1.5fr)", kind: "name" },
    { key: "progress", label: "Progress", width: "minmax(90px, 1.6fr)", value: progress, draw: drawProgress },
    { key: "since", label: "For", number: true, width: "minmax(74px, 96px)", text: (job) => duration(aged(job.since, job)) },
    { key: "handle", label: "Handle", width: "minmax(120px, 1.4fr)", kind: "mono", from: 600 },
    { key: "worker", label: "Worker", width: "minmax(90px, 1fr)", from: 760, text: (job) => workerName(job.worker, job.address) },
    { key: "unique", label: "Unique", width: "minmax(80px, 1fr)", kind: "quiet", from: 980 },
    { key: "attempts", label: "Tries", number: true, width: "60px", from: 900, text: (job) => String(job.attempts + 1) },
    several && { key: "server", label: "Server", width: "minmax(100px, 1fr)", kind: "quiet", from: 860, value: (job) => job.server.name, text: (job) => job.server.name },
  ].filter(Boolean);
}

export const workerName = (id, address) => (id && id !== "-" ? id : address || NONE);
export const runningKey = (job) => `${job.server.home} ${job.handle}`;
