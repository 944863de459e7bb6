// Submit: a form for one job, and what comes of it while one looks.

import { choice, field, h, select, setText } from "../dom.js";
import { bytes, clock, duration, PRIORITIES, whole } from "../format.js";
import { hex } from "./job.js";

const MOST = 100_000; // characters of a result that are shown
const ENDS = { complete: "Completed", fail: "Failed", exception: "Ended with an exception", timeout: "Timed out", queued: "Queued" };

export class SubmitView {
  constructor(page, _, query) {
    this.page = page;
    const { fleet } = page;
    this.server = fleet.find(query.get("server") ?? fleet.scope);
    this.background = false;
    this.of = select(fleet.servers.map((server) => [server.home, server.name]), this.server.home, { onchange: () => { this.server = fleet.find(this.of.value); } });
    this.names = h("datalist", { id: "submit-names" });
    this.name = h("input", { required: true, list: "submit-names", value: query.get("function") ?? "", autocomplete: "off", spellcheck: false });
    this.workload = h("textarea", { spellcheck: false, rows: 6 });
    this.unique = h("input", { maxLength: 64, autocomplete: "off", spellcheck: false, placeholder: "None" });
    this.priority = select(PRIORITIES.map((name) => [name, name]), "normal");
    this.button = h("button", { class: "main" }, "Submit the job");
    this.stop = h("button", { type: "button", hidden: true, onclick: () => this.control.abort() }, "Stop waiting");
    this.result = h("div", { class: "stack" }, h("p", { class: "empty" }, "The result will stand here."));
    this.element = h("div", {}, h("div", { class: "heading" }, h("h1", {}, "Submit a job")), this.names,
      h("div", { class: "split" },
        h("form", { class: "card pad stack", onsubmit: (event) => { event.preventDefault(); this.submit(); } },
          fleet.several ? field("Server", this.of) : null,
          field("Function", this.name), field("Workload", this.workload, "Sent as UTF-8 text, as it stands."),
          h("div", { class: "pairs" }, field("Priority", this.priority), field("Unique", this.unique)),
          h("div", { class: "field" }, choice("Kind", [["", "Wait for the result"], ["yes", "In the background"]], "", (value) => { this.background = Boolean(value); })),
          h("div", { class: "actions" }, this.button, this.stop)),
        h("section", { class: "card pad", "aria-label": "Result" }, this.result)));
  }

  mount() {}

  unmount() {
    this.control?.abort(); // as any client that leaves: a foreground job that no worker has is dropped
  }

  update() {
    if (this.server.functions.size === this.named) return;
    this.named = this.server.functions.size;
    this.names.replaceChildren(...[...this.server.functions.keys()].sort().slice(0, 1000).map((name) => h("option", { value: name })));
  }

  async submit() {
    this.control?.abort();
    const control = (this.control = new AbortController());
    const job = { name: this.name.value, workload: this.workload.value, unique: this.unique.value, priority: this.priority.value, background: this.background };
    this.begin();
    this.button.disabled = true;
    this.stop.hidden = false;
    const { page, server } = this;
    try {
      await server.submit(job, (name, data) => this.take(name, data), control.signal);
      if (!this.ended) this.end("Broken off", "The connection ended before the job did.");
    } catch (error) {
      if (error.name === "AbortError") this.end("Left", "You wait no longer. A job that a worker has goes on without anybody to hear of it.");
      else if (error.status === 401) await page.act(server, () => { throw error; });
      else this.end("Not done", error.status === undefined ? `${server.name} does not answer.` : error.message);
    } finally {
      if (this.control === control) {
        this.button.disabled = false;
        this.stop.hidden = true;
      }
    }
  }

  begin() {
    this.started = performance.now();
    this.ended = false;
    this.pieces = [];
    this.state = h("h2", {}, "Submitting …");
    this.about = h("span", { class: "sub mono" });
    this.bar = h("div", { class: "progress" }, h("progress", { max: 1, "aria-label": "Progress" }), h("span", {}));
    this.output = h("pre", { tabIndex: 0, hidden: true, role: "region", "aria-label": "Result" });
    this.log = h("ul", { class: "log" });
    this.result.replaceChildren(h("div", { class: "line" }, h("div", { role: "status" }, this.state), this.about), this.bar, this.output, this.log);
  }

  take(name, data) {
    if (name === "created" || name === "queued") {
      this.about.textContent = data.handle;
      setText(this.state, "Waiting for a worker or its result …");
      this.note("job created");
    } else if (name === "status") {
      const { numerator, denominator } = data;
      if (denominator > 0) this.bar.firstChild.value = Math.min(numerator / denominator, 1);
      setText(this.bar.lastChild, `${whole(numerator)} of ${whole(denominator)}`);
      setText(this.state, "Running …");
    } else if (name === "warning") this.note(`warning: ${data.data ?? hex(data.data_base64)}`);
    else if (name === "data") this.show(data);
    if (ENDS[name]) {
      if (name === "complete" || name === "exception") this.show(data);
      this.end(ENDS[name]);
    }
  }

  show({ data, data_base64 }) {
    const text = data ?? hex(data_base64);
    this.pieces.push(text);
    this.output.hidden = false;
    const all = this.pieces.join("");
    this.output.textContent = all.length > MOST ? `${all.slice(0, MOST)}\n… (the first ${bytes(MOST)} of ${bytes(all.length)})` : all;
  }

  note(text) {
    this.log.append(h("li", {}, h("time", {}, clock(Date.now() / 1000)), h("span", {}, text)));
  }

  end(state, text = "") {
    this.ended = true;
    setText(this.state, state);
    this.bar.remove();
    if (text) this.output.before(h("p", { class: "problem" }, text));
    this.note(`${state.toLowerCase()} after ${duration((performance.now() - this.started) / 1000)}`);
  }
}
