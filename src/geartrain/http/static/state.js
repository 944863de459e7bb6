// What is known of the servers: one `Server` for each, all of them in the `Fleet`. Knows nothing of the page.

import { Refused, read, reason } from "./stream.js";

export const HOME = new URL(".", import.meta.url).href; // …/_gearman/
const STEPS = { 1: 600, 10: 1080, 60: 1440 };
const RETRY = [500, 1000, 2000, 4000]; // milliseconds

/** Sums of several servers are taken over these; of the others (percentiles) the largest counts. */
const SUMMED = new Set(["submitted", "completed", "failed", "waiting", "running", "workers"]);

export class Server {
  /**
   * @param {string} home the URL of its dashboard, which ends in /_gearman/
   * @param {(what: string) => void} changed
   */
  constructor(home, changed) {
    this.home = home;
    this.root = new URL("../", home).href;
    this.name = new URL(home).host;
    this.changed = changed;
    this.status = "connecting"; // live, lost, locked (a token is needed)
    this.message = "";
    this.since = Date.now();
    this.functions = new Map();
    this.workers = new Map();
    this.totals = null;
    this.about = null;
    this.store = null;
    this.time = 0;
    this.received = 0;
    this.history = {};
    this.control = new AbortController();
  }

  get token() {
    return sessionStorage.getItem(`geartrain.token ${this.home}`) ?? "";
  }

  set token(value) {
    if (value) sessionStorage.setItem(`geartrain.token ${this.home}`, value);
    else sessionStorage.removeItem(`geartrain.token ${this.home}`);
  }

  get headers() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }

  /** Now, by that server's clock, in seconds since 1970. */
  get now() {
    return this.time + (performance.now() - this.received) / 1000;
  }

  // ---- requests

  /** Asks the API. Throws an Error with the server's sentence; `status` is HTTP's. */
  async ask(path, method = "GET", content = undefined) {
    const init = { method, headers: { ...this.headers, Accept: "application/json" }, cache: "no-store" };
    if (content !== undefined) {
      init.body = JSON.stringify(content);
      init.headers["Content-Type"] = "application/json";
    }
    let response;
    try {
      response = await fetch(this.home + "api/" + path, init);
    } catch {
      throw new Refused(0, `${this.name} does not answer.`);
    }
    if (!response.ok) throw new Refused(response.status, await reason(response));
    return response.status === 204 ? null : response.json();
  }

  /** Submits a job and calls back for each event until its end; for a background job there is one. */
  async submit({ name, workload, unique, priority, background }, take, signal) {
    const headers = { ...this.headers, "X-Gearman-Unique": unique, "X-Gearman-Priority": priority };
    const init = { method: "POST", headers, body: workload, signal };
    const url = this.root + encodeURIComponent(name);
    if (!background) return read(url, init, take, 0);
    headers["X-Gearman-Background"] = "true";
    headers.Accept = "application/json";
    const response = await fetch(url, init);
    if (!response.ok) throw new Refused(response.status, await reason(response));
    take("queued", { handle: response.headers.get("x-gearman-job-handle") });
  }

  // ---- the stream

  async follow() {
    const { signal } = this.control;
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      let status = 0;
      try {
        await read(this.home + "api/events", { headers: this.headers, signal: this.round().signal }, (name, data) => {
          attempt = 0;
          this.take(name, data);
        });
      } catch (error) {
        if (!(error instanceof Refused) && !(error instanceof TypeError) && error.name !== "AbortError") throw error;
        status = error instanceof Refused ? error.status : 0;
        this.message = error instanceof Refused ? error.message : "";
      }
      if (signal.aborted) return;
      this.become(status === 401 || status === 403 ? "locked" : "lost");
      await this.pause(RETRY[Math.min(attempt, RETRY.length - 1)] * (status === 401 ? 8 : 0.75 + Math.random() / 2));
    }
  }

  round() {
    this.current = new AbortController();
    this.control.signal.addEventListener("abort", () => this.current.abort(), { once: true, signal: this.current.signal });
    return this.current;
  }

  pause(milliseconds) {
    return new Promise((resolve) => {
      this.hurry = resolve;
      setTimeout(resolve, milliseconds);
    });
  }

  /** Tries again at once, as after a new token. */
  again() {
    this.current?.abort();
    this.hurry?.();
  }

  stop() {
    this.control.abort();
    this.hurry?.();
  }

  become(status) {
    if (this.status === status) return;
    this.status = status;
    this.since = Date.now();
    this.changed("status");
  }

  take(name, data) {
    const whole = name === "snapshot";
    const elapsed = data.time - this.time;
    if (whole) {
      this.history = {};
      this.functions.clear();
      this.workers.clear();
    }
    this.time = data.time;
    this.received = performance.now();
    this.about = data.server;
    this.store = data.store;
    this.totals = data.totals;
    for (const fresh of data.functions) {
      const before = this.functions.get(fresh.name);
      fresh.server = this;
      fresh.at = data.time;
      fresh.rates = before && elapsed > 0
        ? { completed: Math.max(fresh.completed - before.completed, 0) / elapsed,
            submitted: Math.max(fresh.submitted - before.submitted, 0) / elapsed }
        : { completed: 0, submitted: 0 };
      this.functions.set(fresh.name, fresh);
    }
    for (const gone of data.dropped ?? []) this.functions.delete(gone);
    for (const worker of data.workers) {
      worker.server = this;
      worker.at = data.time;
      for (const job of worker.jobs) Object.assign(job, { server: this, at: data.time });
      this.workers.set(worker.fd, worker);
    }
    for (const gone of data.left ?? []) this.workers.delete(gone);
    this.sample(data.samples ?? []);
    if (whole) this.load(1).catch(() => {}); // the charts fill from the stream if not
    this.become("live");
    this.changed(name);
  }

  // ---- history

  /** Loads the samples of one step. */
  async load(step) {
    if (this.history[step]?.loading) return;
    this.history[step] = { ...this.history[step], loading: true };
    try {
      const { step: _, ...columns } = await this.ask(`history?step=${step}`);
      this.history[step] = { columns, at: Date.now() };
    } catch (error) {
      delete this.history[step];
      throw error;
    }
    this.changed("history");
  }

  /** The samples of one step; asks for them where there are none or old ones. */
  series(step) {
    const known = this.history[step];
    if (!known || (step > 1 && !known.loading && Date.now() - known.at > step * 1000)) this.load(step).catch(() => {});
    return known?.columns;
  }

  sample(rows) {
    const columns = this.history[1]?.columns;
    if (!columns) return;
    const names = Object.keys(columns);
    for (const row of rows) {
      if (row[0] <= columns.time.at(-1)) continue;
      names.forEach((name, index) => columns[name].push(row[index]));
      if (columns.time.length > STEPS[1]) for (const name of names) columns[name].shift();
    }
  }
}

export class Fleet extends EventTarget {
  constructor() {
    super();
    this.servers = [];
    this.scope = "";
    const others = JSON.parse(localStorage.getItem("geartrain.servers") ?? "[]");
    for (const home of [HOME, ...others]) this.join(home);
    const scope = localStorage.getItem("geartrain.scope") ?? "";
    if (this.servers.some((server) => server.home === scope)) this.scope = scope;
  }

  get several() {
    return this.servers.length > 1;
  }

  /** The servers that the page shows now. */
  get shown() {
    return this.scope ? this.servers.filter((server) => server.home === this.scope) : this.servers;
  }

  show(scope) {
    this.scope = scope;
    localStorage.setItem("geartrain.scope", scope);
    this.tell("scope");
  }

  add(home) {
    if (!this.servers.some((server) => server.home === home)) this.join(home);
    this.keep();
  }

  remove(server) {
    server.stop();
    server.token = "";
    this.servers = this.servers.filter((other) => other !== server);
    if (this.scope === server.home) this.scope = "";
    this.keep();
  }

  join(home) {
    const server = new Server(home, (what) => this.tell(what, server));
    this.servers.push(server);
    server.follow();
  }

  keep() {
    localStorage.setItem("geartrain.servers", JSON.stringify(this.servers.slice(1).map((server) => server.home)));
    this.tell("scope");
  }

  tell(what, server = null) {
    this.dispatchEvent(new CustomEvent("change", { detail: { what, server } }));
  }

  find(home) {
    return this.servers.find((server) => server.home === home) ?? this.servers[0];
  }

  functions() {
    return this.shown.flatMap((server) => [...server.functions.values()]);
  }

  workers() {
    return this.shown.flatMap((server) => [...server.workers.values()]);
  }

  running() {
    return this.workers().flatMap((worker) => worker.jobs);
  }

  /** One number over all shown servers. */
  total(name) {
    return this.shown.reduce((sum, server) => sum + (server.totals?.[name] ?? 0), 0);
  }

  /** The samples of all shown servers together, as columns; null before the first. */
  series(step) {
    const known = this.shown.map((server) => server.series(step)).filter(Boolean);
    return known.length > 1 ? together(known, step) : (known[0] ?? null);
  }
}

function together(all, step) {
  const rows = new Map();
  const names = Object.keys(all[0]).filter((name) => name !== "time");
  for (const columns of all) {
    columns.time.forEach((time, index) => {
      const at = Math.round(time / step) * step;
      let row = rows.get(at);
      if (!row) rows.set(at, (row = {}));
      for (const name of names) {
        const value = columns[name][index];
        if (value === null) continue;
        row[name] = SUMMED.has(name) ? (row[name] ?? 0) + value : Math.max(row[name] ?? 0, value);
      }
    });
  }
  const times = [...rows.keys()].sort((a, b) => a - b);
  const columns = { time: times };
  for (const name of names) columns[name] = times.map((time) => rows.get(time)[name] ?? null);
  return columns;
}
