// The page: its frame, the way from an address to a view, and what every view may ask of it.

import { repaint } from "./chart.js";
import { h, icon, select, setAttribute, setText } from "./dom.js";
import { whole } from "./format.js";
import { Fleet } from "./state.js";
import { FunctionView } from "./views/function.js";
import { FunctionsView } from "./views/functions.js";
import { JobsView } from "./views/jobs.js";
import { OverviewView } from "./views/overview.js";
import { ServersView } from "./views/servers.js";
import { SubmitView } from "./views/submit.js";
import { WorkersView } from "./views/workers.js";

const VIEWS = {
  overview: ["Overview", OverviewView],
  functions: ["Functions", FunctionsView],
  workers: ["Workers", WorkersView],
  jobs: ["Jobs", JobsView],
  submit: ["Submit", SubmitView],
};
const HIDDEN = { servers: ["Servers", ServersView], function: ["Function", FunctionView] };

const $ = (id) => document.getElementById(id);

class Page {
  constructor() {
    this.fleet = new Fleet();
    this.view = null;
    this.fleet.addEventListener("change", ({ detail }) => this.changed(detail));
    window.addEventListener("hashchange", () => this.go());
    document.addEventListener("visibilitychange", () => this.refresh());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    this.frame();
    this.go(true);
  }

  // ---- the frame

  frame() {
    this.counts = {};
    $("nav").append(h("ul", {}, Object.entries(VIEWS).map(([name, [label]]) => {
      this.counts[name] = h("span", { class: "count" });
      return h("li", {}, h("a", { href: `#${name}`, "data-view": name }, icon(name), h("span", {}, label), this.counts[name]));
    })));
    this.state = h("a", { class: "state", href: "#servers" }, h("span", { class: "dot", "aria-hidden": "true" }), h("span", {}));
    this.scopes = h("div", {});
    $("tools").append(this.state, this.scopes,
      h("a", { class: "button square plain", href: "#servers", "aria-label": "Servers and token", title: "Servers and token" }, icon("servers")),
      h("button", { type: "button", class: "square plain", "aria-label": "Dark or light", title: "Dark or light", onclick: () => this.theme() }, icon("moon")));
    this.drawScopes();
  }

  theme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("geartrain.theme", root.dataset.theme);
    repaint();
    this.announce(`${dark ? "Light" : "Dark"} colours`);
  }

  drawScopes() {
    const { fleet } = this;
    this.scopes.replaceChildren(...(fleet.several ? [select(
      [["", "All servers"], ...fleet.servers.map((server) => [server.home, server.name])], fleet.scope,
      { "aria-label": "Server", onchange: (event) => fleet.show(event.target.value) })] : []));
  }

  drawState() {
    const { fleet } = this;
    const bad = fleet.shown.find((server) => server.status !== "live");
    const words = { connecting: "connecting", lost: "reconnecting", locked: "token needed", live: "live" };
    const status = bad?.status ?? "live";
    setAttribute(this.state, "class", `state ${status}`);
    setText(this.state.lastChild, words[status]);
    const unattended = fleet.total("unattended");
    const counts = { functions: unattended || fleet.total("functions"), workers: fleet.total("workers"), jobs: fleet.total("total") };
    for (const [name, count] of Object.entries(counts)) setText(this.counts[name], this.known ? whole(count) : "");
    setAttribute(this.counts.functions, "class", unattended ? "count warn" : "count");
    setAttribute(this.counts.functions, "title", unattended ? "functions whose jobs no worker can do" : null);
  }

  get known() {
    return this.fleet.shown.some((server) => server.totals);
  }

  /** What is wrong with a connection, for all views. */
  drawBanners() {
    const bad = this.fleet.shown.filter((server) => server.status === "lost" || server.status === "locked");
    const key = bad.map((server) => server.home + server.status).join();
    if (key !== this.bannerKey) {
      this.bannerKey = key;
      $("banners").replaceChildren(...bad.map((server) => h("div", { class: server.status === "lost" ? "notice bad" : "notice" }, icon("warning"),
        h("div", {}, ...(server.status === "lost"
          ? [h("b", {}, `No connection to ${server.name}. `), "Trying again until it is back; what you see is from before."]
          : [h("b", {}, `${server.name}: `), server.message, " ", h("a", { href: "#servers" }, "Enter the token")])),
        server.status === "lost" ? h("button", { type: "button", class: "plain", onclick: () => server.again() }, "Try now") : null)));
    }
    document.body.classList.toggle("stale", bad.length > 0 && bad.length === this.fleet.shown.length);
  }

  changed({ what, server }) {
    if (what === "status" && this.states?.get(server) === "lost" && server.status === "live") this.say(`${server.name} is back.`);
    this.states = new Map(this.fleet.servers.map((one) => [one, one.status]));
    if (what === "scope") this.drawScopes();
    if (what === "scope" && this.view?.scope) this.view.scope();
    this.refresh();
  }

  refresh() {
    if (document.hidden) return;
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.drawState();
      this.drawBanners();
      this.view?.update();
    });
  }

  // ---- views

  /** `#functions/NAME?server=…` and the like. */
  go(first = false) {
    const [path, query = ""] = location.hash.slice(1).split("?");
    const [name = "", ...rest] = path.split("/").map(decodeURIComponent);
    const entry = VIEWS[name] ?? HIDDEN[name] ?? VIEWS.overview;
    this.view?.unmount();
    const view = new entry[1](this, rest.join("/"), new URLSearchParams(query));
    this.view = view;
    const current = name === "function" ? "functions" : VIEWS[name] ? name : name === "servers" ? "" : "overview";
    for (const link of $("nav").querySelectorAll("a")) setAttribute(link, "aria-current", link.dataset.view === current ? "page" : null);
    document.title = `${entry[0]} · geartrain`;
    $("view").replaceChildren(view.element);
    view.mount();
    view.update();
    window.scrollTo(0, 0);
    if (!first) {
      $("content").focus({ preventScroll: true });
      this.announce(entry[0]);
    }
  }

  // ---- for views

  /** Says something to everybody: shown for a moment, and read out. */
  say(text) {
    this.announce(text);
    const toast = h("div", { class: "toast" }, text);
    $("toasts").append(toast);
    setTimeout(() => toast.remove(), 5000);
  }

  announce(text) {
    $("announce").textContent = text;
  }

  /** Does an action of the server; says what went wrong, and asks for the token where it is missing. Returns whether it was done. */
  async act(server, action, done) {
    try {
      await action();
    } catch (error) {
      if (error.status === 401) {
        location.hash = `servers?token=${encodeURIComponent(server.home)}`;
        this.say(`${server.name} wants its token for that.`);
      } else this.say(error.message);
      return false;
    }
    if (done) this.say(done);
    return true;
  }
}

new Page();
