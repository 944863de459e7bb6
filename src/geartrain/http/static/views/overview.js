// Overview: the numbers of now, their course, what needs attention, and what is busiest.

import { Chart } from "../chart.js";
import { choice, h, icon, setText } from "../dom.js";
import { duration, plural, rate, short, span, whole } from "../format.js";
import { Table } from "../table.js";
import { JobDialog } from "./job.js";
import { aged, functionColumns, functionKey, openFunction, runningColumns, runningKey, warned } from "./columns.js";

const RANGES = [["1", "10 min"], ["10", "3 h"], ["60", "24 h"]];
const TILES = [["submitted", "Submitted"], ["completed", "Completed"], ["failed", "Failed"], ["waiting", "Waiting"], ["running", "Running"], ["workers", "Workers"]];
const ROWS = 8;

export class OverviewView {
  constructor(page) {
    this.page = page;
    this.step = 1;
    const several = page.fleet.several;
    this.tiles = Object.fromEntries(TILES.map(([name]) => [name, { value: h("dd", {}), under: h("dd", { class: "under" }) }]));
    this.charts = {
      jobs: new Chart({ title: "Jobs per second", format: rate, series: [
        { label: "submitted", color: "submitted" }, { label: "completed", color: "completed", fill: true }, { label: "failed", color: "failed" }] }),
      queue: new Chart({ title: "In the queue", format: short, series: [{ label: "waiting", color: "waiting", fill: true }, { label: "running", color: "running" }] }),
      latency: new Chart({ title: "Latency", format: duration, axis: span, log: true, series: [
        { label: "wait p50", color: "waiting", dash: [3, 3] }, { label: "wait p99", color: "waiting" },
        { label: "run p50", color: "running", dash: [3, 3] }, { label: "run p99", color: "running" }] }),
    };
    this.functions = new Table({ label: "Busiest functions", columns: functionColumns(several), key: functionKey, open: openFunction,
      rowClass: warned, fixed: true, empty: "No function yet: one is made when a worker registers it or a job comes for it." });
    this.running = new Table({ label: "Running jobs", columns: runningColumns(several), key: runningKey, fixed: true,
      open: (job) => new JobDialog(page, job.server, job.handle).show(), empty: "No job runs right now." });
    this.attention = h("div", {});
    this.about = h("span", { class: "sub" });
    this.element = h("div", {},
      h("div", { class: "heading" }, h("h1", {}, "Overview"), this.about,
        choice("Time range", RANGES, "1", (step) => { this.step = Number(step); this.update(); })),
      this.attention,
      h("dl", { class: "tiles" }, TILES.map(([name, label]) => h("div", { class: `tile card t-${name}` }, h("dt", {}, label), this.tiles[name].value, this.tiles[name].under))),
      h("div", { class: "charts" }, Object.values(this.charts).map((chart) => chart.element)),
      h("section", {}, h("div", { class: "line" }, h("h2", {}, "Busiest functions"), h("a", { href: "#functions" }, "All functions")), this.functions.element),
      h("section", {}, h("div", { class: "line" }, h("h2", {}, "Running now"), h("a", { href: "#workers" }, "All running jobs")), this.running.element));
  }

  get parts() {
    return [...Object.values(this.charts), this.functions, this.running];
  }

  mount() {
    for (const part of this.parts) part.mount();
  }

  unmount() {
    for (const part of this.parts) part.unmount();
  }

  update() {
    const { fleet } = this.page;
    const columns = fleet.series(this.step);
    this.drawAbout();
    this.drawAttention();
    this.drawTiles(columns);
    if (columns) this.drawCharts(columns);
    if (!this.page.known) return;
    const all = fleet.functions();
    this.functions.update(all.sort((a, b) => b.unattended - a.unattended || b.total - a.total || b.rates.completed - a.rates.completed || b.submitted - a.submitted || (a.name < b.name ? -1 : 1)).slice(0, ROWS));
    this.running.update(fleet.running().sort((a, b) => aged(b.since, b) - aged(a.since, a)).slice(0, ROWS));
  }

  drawAbout() {
    const [server, ...others] = this.page.fleet.shown.filter((one) => one.about);
    if (!server) return;
    const up = server.about.uptime + server.now - server.time;
    setText(this.about, others.length ? plural(others.length + 1, "server")
      : `geartrain ${server.about.version} on ${server.about.addresses[0] ?? "no port"} · up ${duration(Math.max(up, 1))} · ${server.store.durable ? `queue in ${server.store.type}` : "queue in memory"}`);
  }

  drawAttention() {
    const notices = [];
    for (const server of this.page.fleet.shown) {
      if (!server.totals) continue;
      const where = this.page.fleet.several ? `${server.name}: ` : "";
      if (server.store.down) notices.push(["bad", `${where}The durable queue takes nothing: ${server.store.down}`]);
      if (server.about.replaying) notices.push(["", `${where}Stored jobs are being loaded.`]);
      if (server.about.draining) notices.push(["", `${where}The server is about to stop: no more jobs are given out.`]);
      const { unattended } = server.totals;
      if (unattended) notices.push(["", `${where}Jobs wait for ${plural(unattended, "function")} that no worker can do.`, "#functions?only=warned", "Show"]);
    }
    const key = JSON.stringify(notices);
    if (key === this.noticeKey) return;
    this.noticeKey = key;
    this.attention.replaceChildren(...notices.map(([kind, text, href, label]) =>
      h("div", { class: `notice ${kind}` }, icon("warning"), h("div", {}, text), href ? h("a", { href }, label) : null)));
  }

  drawTiles(columns) {
    const { fleet } = this.page;
    if (!this.page.known) return;
    const last = (name) => (columns && this.step === 1 ? (columns[name].at(-1) ?? 0) : null);
    for (const name of ["submitted", "completed", "failed"]) {
      const total = name === "failed" ? fleet.total("failed") + fleet.total("exceptions") + fleet.total("exhausted") : fleet.total(name);
      const now = last(name) ?? fleet.series(1)?.[name].at(-1) ?? 0;
      this.tile(name, rate(now), "/s", `${short(total)} in all`);
    }
    const oldest = fleet.functions().reduce((most, row) => Math.max(most, aged(row.oldest, row) ?? 0), 0);
    const delayed = fleet.total("delayed");
    this.tile("waiting", short(fleet.total("waiting")), "", oldest ? `oldest ${duration(oldest)}` : delayed ? `${short(delayed)} for later` : "none waits");
    this.tile("running", short(fleet.total("running")), "", delayed && oldest ? `${short(delayed)} for later` : "");
    const busy = fleet.workers().filter((worker) => worker.jobs.length).length;
    this.tile("workers", short(fleet.total("workers")), "", `${whole(busy)} at work`);
  }

  tile(name, value, unit, under) {
    const tile = this.tiles[name];
    const text = value + unit;
    if (tile.text !== text) {
      tile.text = text;
      tile.value.replaceChildren(value, ...(unit ? [h("small", {}, unit)] : []));
    }
    setText(tile.under, under);
  }

  drawCharts(columns) {
    const perSecond = (list) => (this.step === 1 ? list : list.map((value) => value / this.step));
    this.charts.jobs.update([columns.time, perSecond(columns.submitted), perSecond(columns.completed), perSecond(columns.failed)]);
    this.charts.queue.update([columns.time, columns.waiting, columns.running]);
    this.charts.latency.update([columns.time, columns.waited_p50, columns.waited_p99, columns.ran_p50, columns.ran_p99]);
  }
}
