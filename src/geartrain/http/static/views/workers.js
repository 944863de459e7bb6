// Workers: who is connected, what each does, and all running jobs with their progress.

import { choice, debounce, field, h, setAttribute, setText } from "../dom.js";
import { duration, plural, progress } from "../format.js";
import { Table } from "../table.js";
import { aged, runningColumns, runningKey, workerName } from "./columns.js";
import { JobDialog } from "./job.js";

function drawJobs(worker, cell) {
  if (!cell.firstChild) cell.append(h("span", { class: "tag" }), " ", h("span", {}));
  const [tag, text] = cell.children;
  const [job, ...others] = worker.jobs;
  setText(tag, job ? "working" : worker.sleeping ? "waits" : "awake");
  setAttribute(tag, "class", job ? "tag on" : "tag");
  const done = job && progress(job);
  setText(text, job ? `${job.function}${done === null ? "" : ` ${Math.floor(done * 100)}%`} for ${duration(aged(job.since, job))}${others.length ? `, and ${others.length} more` : ""}` : "");
}

const namesOf = (worker) => worker.names.join(", ") + (worker.functions > worker.names.length ? ` and ${worker.functions - worker.names.length} more` : "");

const COLUMNS = (several) => [
  { key: "id", label: "Worker", width: "minmax(84px, 1.1fr)", kind: "name", text: (worker) => workerName(worker.id, worker.address) },
  { key: "jobs", label: "Does", width: "minmax(140px, 2fr)", value: (worker) => worker.jobs[0]?.function ?? "", draw: drawJobs },
  { key: "names", label: "Can do", width: "minmax(100px, 2fr)", kind: "quiet", from: 560, value: namesOf, text: namesOf },
  { key: "address", label: "From", width: "minmax(90px, 130px)", kind: "quiet", from: 720 },
  { key: "connected", label: "Connected", number: true, width: "minmax(80px, 104px)", from: 460, text: (worker) => duration(aged(worker.connected, worker)) },
  several && { key: "server", label: "Server", width: "minmax(100px, 1fr)", kind: "quiet", from: 860, value: (worker) => worker.server.name, text: (worker) => worker.server.name },
].filter(Boolean);

export class WorkersView {
  constructor(page) {
    this.page = page;
    const { several } = page.fleet;
    this.which = "workers";
    this.tables = {
      workers: new Table({ label: "Workers", columns: COLUMNS(several), key: (worker) => `${worker.server.home} ${worker.fd}`, sort: ["connected", -1],
        open: (worker) => worker.jobs[0] && this.inspect(worker.jobs[0]), empty: "No worker is connected." }),
      running: new Table({ label: "Running jobs", columns: runningColumns(several), key: runningKey, sort: ["since", -1],
        open: (job) => this.inspect(job), empty: "No job runs right now." }),
    };
    this.filter = h("input", { type: "search", placeholder: "Worker, address or function", autocomplete: "off", spellcheck: false, oninput: debounce(80, () => this.update()) });
    this.count = h("span", { class: "sub" });
    this.place = h("div", {});
    this.element = h("div", {},
      h("div", { class: "heading" }, h("h1", {}, "Workers"), this.count,
        choice("What to show", [["workers", "Workers"], ["running", "Running jobs"]], "workers", (which) => this.turn(which))),
      h("div", { class: "bar" }, h("div", { class: "wide" }, field("Filter", this.filter))), this.place);
  }

  inspect(job) {
    new JobDialog(this.page, job.server, job.handle).show();
  }

  get table() {
    return this.tables[this.which];
  }

  turn(which) {
    this.unmount();
    this.which = which;
    this.mount();
    this.update();
  }

  mount() {
    this.place.replaceChildren(this.table.element);
    this.table.mount();
  }

  unmount() {
    this.table.unmount();
  }

  update() {
    if (!this.page.known) return;
    const { fleet } = this.page;
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (text) => words.every((word) => text.toLowerCase().includes(word));
    const workers = fleet.workers();
    const running = fleet.running();
    setText(this.count, `${plural(workers.length, "worker")}, ${plural(running.length, "running job")}`);
    if (this.which === "running") this.table.update(running.filter((job) => fits(`${job.function} ${job.handle} ${job.unique} ${job.worker} ${job.address}`)));
    else this.table.update(workers.filter((worker) => fits(`${worker.id} ${worker.address} ${worker.names.join(" ")}`)));
  }
}
