// One job in a dialog: what it is, its workload, and what can be done with it.

import { h, icon, select, setAttribute } from "../dom.js";
import { bytes, duration, moment, PRIORITIES, progress, whole } from "../format.js";
import { workerName } from "./columns.js";

const STATES = { queued: "waiting", running: "running", delayed: "waits for its time", ended: "ended" };

export class JobDialog {
  /** @param {() => void} [changed] called after the job was cancelled or changed */
  constructor(page, server, handle, changed = () => {}) {
    Object.assign(this, { page, server, handle, changed });
    this.body = h("div", { class: "stack" });
    this.element = h("dialog", { "aria-labelledby": "job-title" },
      h("header", {}, h("h2", { id: "job-title" }, "Job ", h("span", { class: "mono" }, handle)),
        h("button", { type: "button", class: "plain square", "aria-label": "Close", onclick: () => this.element.close() }, icon("close"))), this.body);
    this.element.addEventListener("close", () => {
      clearInterval(this.timer);
      this.element.remove();
      this.focused?.focus?.({ preventScroll: true });
    });
    this.element.addEventListener("click", (event) => { if (event.target === this.element) this.element.close(); });
  }

  get path() {
    return `jobs/${encodeURIComponent(this.handle)}`;
  }

  async show() {
    this.focused = document.activeElement;
    document.body.append(this.element);
    this.element.showModal();
    await this.load();
    this.timer = setInterval(() => { if (this.job?.state === "running") this.follow(); }, 1000);
  }

  async load() {
    try {
      this.job = await this.server.ask(this.path);
    } catch (error) {
      this.body.replaceChildren(h("p", {}, error.status === 404 ? "This job is no longer there: it has ended." : error.message));
      return;
    }
    this.draw();
  }

  /** The progress comes with the page's own stream. */
  follow() {
    const job = [...this.server.workers.values()].flatMap((worker) => worker.jobs).find((one) => one.handle === this.handle);
    if (job) this.drawProgress(job);
    else this.load();
  }

  drawProgress(job) {
    const done = progress(job);
    if (done === null) return;
    this.bar.hidden = false;
    this.bar.firstChild.value = done;
    this.bar.lastChild.textContent = `${whole(job.numerator)} of ${whole(job.denominator)}`;
  }

  draw() {
    const { job } = this;
    this.bar = h("div", { class: "progress", hidden: true }, h("progress", { max: 1, value: 0, "aria-label": "Progress" }), h("span", {}));
    const facts = [
      ["Function", h("a", { href: `#function/${encodeURIComponent(job.function)}?server=${encodeURIComponent(this.server.home)}`, onclick: () => this.element.close() }, job.function)],
      ["State", job.state === "running" ? `running for ${duration(job.since)} on ${workerName(job.worker?.id, job.worker?.address)}` : STATES[job.state]],
      ["Submitted", `${moment(job.submitted)}, ${duration(job.age)} ago`],
      job.at && ["Runs at", moment(job.at)],
      ["Unique", job.unique ? h("span", { class: "mono" }, job.unique) : "none"],
      ["Kind", `${job.background ? "background" : "foreground"}${job.durable ? ", stored" : ""}${job.clients ? `, ${whole(job.clients)} waiting for its result` : ""}`],
      ["Tries", whole(job.attempts + (job.state === "running" ? 1 : 0))],
      job.reducer && ["Reducer", job.reducer],
    ].filter(Boolean);
    this.body.replaceChildren(
      h("dl", { class: "facts" }, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])), this.bar,
      h("div", {}, h("div", { class: "line" }, h("h3", {}, `Workload, ${bytes(job.size)}`),
        job.workload === undefined ? h("span", { class: "hint" }, "not text: shown as hexadecimal bytes") : job.cut ? h("span", { class: "hint" }, "the first part") : null),
        h("pre", { tabIndex: 0, role: "region", "aria-label": "Workload" }, job.workload ?? hex(job.workload_base64))),
      this.actions());
    this.drawProgress(job);
  }

  actions() {
    const { job, page, server } = this;
    const again = async () => {
      await this.load();
      this.changed();
    };
    const priority = select(PRIORITIES.map((name) => [name, `${name} priority`]), job.priority, {
      "aria-label": "Priority", disabled: job.state === "running",
      onchange: async () => {
        await page.act(server, () => server.ask(this.path, "PATCH", { priority: priority.value }), `The job now has ${priority.value} priority.`);
        again();
      },
    });
    setAttribute(priority, "title", job.state === "running" ? "A worker has it already" : null);
    const sure = h("button", { type: "button", class: "danger" }, "Cancel the job");
    sure.addEventListener("click", async () => {
      if (sure.dataset.asked) {
        sure.disabled = true;
        await page.act(server, () => server.ask(this.path, "DELETE"), "The job is cancelled.");
        this.element.close();
        this.changed();
      } else {
        sure.dataset.asked = "yes";
        sure.textContent = job.state === "running" ? "Really? Its worker goes on, unheard" : "Really cancel it?";
      }
    });
    return h("div", { class: "actions" }, h("div", {}, priority), sure);
  }
}

/** Rows of sixteen bytes. */
export function hex(base64) {
  const bytes = atob(base64);
  const lines = [];
  for (let start = 0; start < Math.min(bytes.length, 4096); start += 16) {
    const row = [...bytes.slice(start, start + 16)];
    const codes = row.map((byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join(" ").padEnd(48);
    lines.push(`${start.toString(16).padStart(6, "0")}  ${codes} ${row.map((byte) => (byte >= " " && byte <= "~" ? byte : ".")).join("")}`);
  }
  if (bytes.length > 4096) lines.push("…");
  return lines.join("\n");
}
