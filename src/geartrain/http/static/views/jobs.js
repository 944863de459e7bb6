// Jobs: a search through everything that lives in a server's queues, page by page, and what can be done with a job.

import { debounce, field, h, icon, select, setText } from "../dom.js";
import { bytes, duration, PRIORITIES, progress } from "../format.js";
import { Table } from "../table.js";
import { JobDialog } from "./job.js";

const PAGE = 200;
const MOST_NAMES = 1000;
const STATES = { queued: "waiting", running: "running", delayed: "for later" };

function drawState(job, cell) {
  const done = job.state === "running" ? progress(job) : null;
  if (!cell.firstChild) cell.append(h("span", {}));
  cell.firstChild.className = job.state === "running" ? "tag on" : "tag";
  setText(cell.firstChild, STATES[job.state] + (done === null ? "" : ` ${Math.floor(done * 100)}%`));
}

const COLUMNS = [
  { key: "handle", label: "Handle", width: "minmax(100px, 1.5fr)", narrow: "minmax(80px, 1fr)", kind: "mono" },
  { key: "function", label: "Function", width: "minmax(80px, 1.3fr)", narrow: "minmax(80px, 1.6fr)", kind: "name" },
  { key: "state", label: "State", width: "112px", draw: drawState },
  { key: "priority", label: "Priority", width: "74px", from: 560 },
  { key: "unique", label: "Unique", width: "minmax(80px, 1.2fr)", kind: "quiet", from: 740 },
  { key: "age", label: "Age", number: true, width: "minmax(80px, 104px)", from: 460, text: (job) => duration(job.age) },
  { key: "size", label: "Size", number: true, width: "80px", from: 820, text: (job) => bytes(job.size) },
  { key: "kind", label: "Kind", width: "116px", kind: "quiet", from: 920, text: (job) => (job.durable ? "stored" : job.background ? "background" : "foreground") },
  { key: "attempts", label: "Tries", number: true, width: "56px", from: 1000, text: (job) => String(job.attempts + (job.state === "running" ? 1 : 0)) },
];

export class JobsView {
  constructor(page, _, query) {
    this.page = page;
    this.jobs = [];
    this.after = null;
    this.round = 0;
    const { fleet } = page;
    this.server = fleet.find(query.get("server") ?? fleet.scope);
    const again = () => this.search();
    const soon = debounce(250, again);
    this.names = h("datalist", { id: "function-names" });
    this.of = select(fleet.servers.map((server) => [server.home, server.name]), this.server.home, { onchange: () => {
      this.server = fleet.find(this.of.value);
      this.named = 0;
      again();
    } });
    this.function = h("input", { type: "search", list: "function-names", value: query.get("function") ?? "", placeholder: "Any", autocomplete: "off", spellcheck: false, oninput: soon });
    this.text = h("input", { type: "search", placeholder: "Part of it", autocomplete: "off", spellcheck: false, oninput: soon });
    this.where = select([["handle", "Handle"], ["unique", "Unique"]], "handle", { onchange: again });
    this.state = select([["", "Any"], ...Object.entries(STATES)], query.get("state") ?? "", { onchange: again });
    this.priority = select([["", "Any"], ...PRIORITIES.map((name) => [name, name])], "", { onchange: again });
    this.order = select([["oldest", "Oldest first"], ["newest", "Newest first"]], "oldest", { onchange: again });
    this.count = h("span", { class: "sub", role: "status" });
    this.more = h("button", { type: "button", hidden: true, onclick: () => this.search(true) }, "Show more");
    this.table = new Table({ label: "Jobs", columns: COLUMNS, key: (job) => job.handle, fixed: true, empty: "No job fits.",
      open: (job) => new JobDialog(page, this.server, job.handle, again).show() });
    this.element = h("div", {},
      h("div", { class: "heading" }, h("h1", {}, "Jobs"), this.count,
        h("button", { type: "button", onclick: again }, icon("refresh"), "Refresh")),
      h("form", { class: "bar", role: "search", onsubmit: (event) => { event.preventDefault(); again(); } },
        fleet.several ? field("Server", this.of) : null, field("Function", this.function), this.names, field("State", this.state), field("Priority", this.priority),
        field("Search in", this.where), field("Search for", this.text), field("Order", this.order)),
      this.table.element, h("p", { class: "empty" }, this.more));
  }

  mount() {
    this.table.mount();
    this.search();
  }

  unmount() {
    this.round += 1;
    this.table.unmount();
  }

  /** The list is a search's result and stands still; the names of functions are kept up to date. */
  update() {
    if (this.server.functions.size === this.named) return;
    this.named = this.server.functions.size;
    this.names.replaceChildren(...[...this.server.functions.keys()].sort().slice(0, MOST_NAMES).map((name) => h("option", { value: name })));
  }

  async search(more = false) {
    this.round += 1;
    const { round } = this;
    const asked = new URLSearchParams({ limit: PAGE, order: this.order.value });
    for (const [name, value] of [["function", this.function.value], ["state", this.state.value], ["priority", this.priority.value], [this.where.value, this.text.value.trim()]])
      if (value) asked.set(name, value);
    if (more && this.after) asked.set("after", this.after);
    let found;
    try {
      found = await this.server.ask(`jobs?${asked}`);
    } catch (error) {
      if (round === this.round) setText(this.count, error.message);
      return;
    }
    if (round !== this.round) return; // a later search is on its way
    this.jobs = more ? this.jobs.concat(found.jobs) : found.jobs;
    this.after = found.after;
    this.more.hidden = !this.after;
    setText(this.count, `${this.after ? "the first " : ""}${this.jobs.length} ${this.jobs.length === 1 ? "job" : "jobs"}`);
    this.table.update(this.jobs);
  }
}
