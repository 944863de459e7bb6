// One function: its numbers, its course over the last hour, its limits, who can do it.

import { Chart } from "../chart.js";
import { h, icon, setAttribute, setText } from "../dom.js";
import { duration, NONE, plural, rate, short, whole } from "../format.js";
import { aged, failedOf, speedOf, waitingOf, workerName } from "./columns.js";

const COUNTERS = [["submitted", "Submitted"], ["joined", "Joined a live job"], ["started", "Given to a worker"], ["completed", "Completed"], ["failed", "Failed"],
  ["exceptions", "Exceptions"], ["requeued", "Came back"], ["timeouts", "Timed out"], ["exhausted", "Given up"], ["cancelled", "Cancelled"], ["refused", "Refused"]];
const EVERY = 10_000;

export class FunctionView {
  constructor(page, name, query) {
    this.page = page;
    this.name = name;
    this.server = page.fleet.find(query.get("server"));
    this.charts = [
      new Chart({ title: "Jobs per second", hint: "last hour", format: rate, series: [
        { label: "submitted", color: "submitted" }, { label: "completed", color: "completed", fill: true }, { label: "failed", color: "failed" }] }),
      new Chart({ title: "In the queue", hint: "last hour", format: short, series: [{ label: "waiting", color: "waiting", fill: true }, { label: "running", color: "running" }] }),
    ];
    const to = (view, more = "") => `#${view}?function=${encodeURIComponent(name)}&server=${encodeURIComponent(this.server.home)}${more}`;
    this.warning = h("div", {});
    this.tiles = {};
    const tile = (key, label, tone) => {
      this.tiles[key] = h("dd", {}, NONE);
      this.tiles[`${key}-under`] = h("dd", { class: "under" });
      return h("div", { class: `tile card ${tone}` }, h("dt", {}, label), this.tiles[key], this.tiles[`${key}-under`]);
    };
    this.facts = Object.fromEntries(COUNTERS.map(([key]) => [key, h("dd", {}, NONE)]));
    this.workers = h("ul", {});
    this.limits = ["high", "normal", "low"].map((label) => h("input", { type: "number", min: 0, step: 1, inputMode: "numeric", placeholder: "No limit", "aria-label": `${label} priority` }));
    this.missing = h("p", { class: "empty", hidden: true }, "This function is not there: no worker registered it, and no job came for it.");
    this.found = h("div", {}, this.warning,
      h("dl", { class: "tiles" }, tile("speed", "Completed", "t-completed"), tile("waiting", "Waiting", "t-waiting"), tile("running", "Running", "t-running"),
        tile("workers", "Workers", ""), tile("waited", "Wait, p50", "t-waiting"), tile("ran", "Run, p50", "t-running")),
      h("div", { class: "charts" }, this.charts.map((chart) => chart.element)),
      h("section", { class: "split three" },
        h("div", { class: "card pad stack" }, h("h2", {}, "Since the start"), h("dl", { class: "facts" }, COUNTERS.flatMap(([key, label]) => [h("dt", {}, label), this.facts[key]]))),
        h("form", { class: "card pad stack", onsubmit: (event) => { event.preventDefault(); this.limit(); } }, h("h2", {}, "Limits"),
          h("p", { class: "hint" }, "With so many jobs in the function, waiting and running together, a further one of that priority is refused. Empty is no limit."),
          h("div", { class: "pairs three" }, this.limits.map((input, index) => h("div", { class: "field" }, h("label", {}, ["High", "Normal", "Low"][index], input)))),
          h("div", { class: "actions" }, h("button", {}, "Set the limits"), this.drop = h("button", { type: "button", class: "danger", onclick: () => this.forget() }, "Drop the function"))),
        h("div", { class: "card pad stack" }, h("h2", {}, "Workers that can do it"), this.workers)));
    this.element = h("div", {},
      h("div", { class: "heading" }, h("a", { class: "button plain square", href: "#functions", "aria-label": "All functions" }, icon("back")), h("h1", {}, name),
        page.fleet.several ? h("span", { class: "sub" }, this.server.name) : null,
        h("div", { class: "actions" }, h("a", { class: "button", href: to("jobs") }, "Its jobs"), h("a", { class: "button", href: to("submit") }, "Submit a job"))),
      this.missing, this.found);
  }

  mount() {
    for (const chart of this.charts) chart.mount();
    this.load();
    this.timer = setInterval(() => this.load(), EVERY);
  }

  unmount() {
    clearInterval(this.timer);
    for (const chart of this.charts) chart.unmount();
  }

  async load() {
    let known;
    try {
      known = await this.server.ask(`history?function=${encodeURIComponent(this.name)}`);
    } catch {
      return; // no samples yet, or no connection, which the banner tells
    }
    if (!known.time) return;
    const perSecond = (list) => list.map((value) => value / known.step);
    this.charts[0].update([known.time, perSecond(known.submitted), perSecond(known.completed), perSecond(known.failed)]);
    this.charts[1].update([known.time, known.waiting, known.running]);
  }

  update() {
    const row = this.server.functions.get(this.name);
    if (!this.server.totals) return;
    this.missing.hidden = Boolean(row);
    this.found.hidden = !row;
    if (!row) return;
    const tile = (key, text, under = "") => {
      setText(this.tiles[key], text);
      setText(this.tiles[`${key}-under`], under);
    };
    const [high, normal, low] = row.waiting;
    tile("speed", `${rate(speedOf(row))} /s`, `${short(row.completed)} in all`);
    tile("waiting", short(waitingOf(row)), waitingOf(row) ? `oldest ${duration(aged(row.oldest, row))}` : "");
    tile("running", short(row.running), row.delayed ? `${short(row.delayed)} for later` : "");
    tile("workers", short(row.workers));
    tile("waited", duration(row.waited_p50), `p99 ${duration(row.waited_p99)}`);
    tile("ran", duration(row.ran_p50), `p99 ${duration(row.ran_p99)}`);
    setAttribute(this.tiles["waiting-under"], "title", `${whole(high)} high, ${whole(normal)} normal, ${whole(low)} low`);
    for (const [key] of COUNTERS) setText(this.facts[key], whole(row[key]));
    setText(this.facts.failed, whole(row.failed));
    setAttribute(this.facts.failed, "title", `${whole(failedOf(row))} with exceptions and jobs given up`);
    this.drop.disabled = row.workers > 0 || row.running > 0;
    setAttribute(this.drop, "title", this.drop.disabled ? "It has workers or running jobs" : null);
    if (row.unattended !== this.unattended) {
      this.unattended = row.unattended;
      this.warning.replaceChildren(...(row.unattended ? [h("div", { class: "notice" }, icon("warning"), h("div", {}, "Jobs wait, and no worker can do them."))] : []));
    }
    const limits = JSON.stringify(row.maxqueue);
    if (limits !== this.known && !this.limits.includes(document.activeElement)) {
      this.known = limits;
      this.limits.forEach((input, index) => { input.value = row.maxqueue?.[index] || ""; });
    }
    this.drawWorkers();
  }

  drawWorkers() {
    const able = [...this.server.workers.values()].filter((worker) => worker.names.includes(this.name));
    const busy = (worker) => worker.jobs.some((job) => job.function === this.name);
    const lines = able.slice(0, 12).map((worker) => `${workerName(worker.id, worker.address)}${busy(worker) ? ", at work on it" : ""}`);
    if (able.length > 12) lines.push(`and ${plural(able.length - 12, "other")}`);
    if (!lines.length) lines.push("None.");
    const key = lines.join("\n");
    if (key === this.lines) return;
    this.lines = key;
    this.workers.replaceChildren(...lines.map((line) => h("li", {}, line)));
  }

  limit() {
    const [high, normal, low] = this.limits.map((input) => (Number(input.value) > 0 ? Number(input.value) : null));
    const path = `functions/${encodeURIComponent(this.name)}/maxqueue`;
    this.page.act(this.server, () => this.server.ask(path, "PUT", { high, normal, low }), "The limits are set.");
  }

  async forget() {
    if (!this.drop.dataset.asked) {
      this.drop.dataset.asked = "yes";
      const row = this.server.functions.get(this.name);
      this.drop.textContent = waitingOf(row) ? `Really? ${plural(waitingOf(row), "waiting job")} will be cancelled` : "Really drop it?";
      return;
    }
    if (await this.page.act(this.server, () => this.server.ask(`functions/${encodeURIComponent(this.name)}`, "DELETE"), `${this.name} is dropped.`)) location.hash = "functions";
  }
}
