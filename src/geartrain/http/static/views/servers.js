// Servers: which ones the page shows, how each is, and the token for each.

import { field, h, setAttribute, setText } from "../dom.js";
import { bytes, duration, moment, short } from "../format.js";

const STATES = { live: "live", lost: "no connection, trying again", locked: "wants a token", connecting: "connecting" };

/** What people type as the URL of its dashboard. Throws a TypeError for what is no URL. */
export function homeOf(text) {
  const url = new URL(/^https?:\/\//.test(text) ? text : `http://${text}`);
  return new URL("/_gearman/", url).href;
}

export class ServersView {
  constructor(page, _, query) {
    this.page = page;
    this.asked = query.get("token");
    this.url = h("input", { required: true, placeholder: "http://host:8080", autocomplete: "off", spellcheck: false });
    this.problem = h("p", { class: "problem", role: "alert" });
    this.cards = h("div", { class: "split" });
    this.element = h("div", {}, h("div", { class: "heading" }, h("h1", {}, "Servers")), this.cards,
      h("section", {}, h("form", { class: "card pad stack", onsubmit: (event) => { event.preventDefault(); this.add(); } }, h("h2", {}, "Add a server"),
        h("p", { class: "hint" }, `Its functions, workers and jobs then stand beside this one's. Both servers must be started with --http-origins that names this page (${location.origin}) and the other server. The list stays in this browser.`),
        field("Address of its HTTP port", this.url), this.problem, h("div", { class: "actions" }, h("button", { class: "main" }, "Add")))));
    this.scope();
  }

  mount() {
    if (this.asked) this.parts.get(this.page.fleet.find(this.asked))?.token.focus();
  }

  unmount() {}

  add() {
    let home;
    try {
      home = homeOf(this.url.value.trim());
    } catch {
      this.problem.textContent = "That is no address. Write it as http://host:8080.";
      return;
    }
    this.problem.textContent = "";
    this.url.value = "";
    this.page.fleet.add(home);
  }

  /** The list has changed. */
  scope() {
    const { fleet } = this.page;
    this.parts = new Map(fleet.servers.map((server) => [server, this.part(server)]));
    this.cards.replaceChildren(...[...this.parts.values()].map((part) => part.element));
  }

  part(server) {
    const state = h("span", { class: "state" }, h("span", { class: "dot", "aria-hidden": "true" }), h("span", {}));
    const facts = h("dl", { class: "facts" });
    const message = h("p", { class: "hint" });
    const token = h("input", { type: "password", autocomplete: "off", value: server.token, placeholder: "None" });
    const own = server === this.page.fleet.servers[0];
    const element = h("div", { class: "card pad stack" }, h("div", { class: "line" }, h("h2", {}, server.name, own ? h("span", { class: "hint" }, " this page's own") : null), state),
      message, facts,
      h("form", { class: "stack", onsubmit: (event) => {
        event.preventDefault();
        server.token = token.value.trim();
        server.again();
        this.page.say(server.token ? `The token for ${server.name} is kept until this tab is closed.` : `The token for ${server.name} is forgotten.`);
      } }, field("Token", token, "Kept in this tab only, until it is closed."),
      h("div", { class: "actions" }, h("button", {}, "Use the token"), own ? null : h("button", { type: "button", class: "danger", onclick: () => this.page.fleet.remove(server) }, "Remove"))));
    return { element, state, facts, message, token };
  }

  update() {
    for (const [server, { state, facts, message }] of this.parts) {
      setAttribute(state, "class", `state ${server.status}`);
      setText(state.lastChild, STATES[server.status]);
      const own = server === this.page.fleet.servers[0];
      setText(message, server.status === "locked" ? server.message : server.status === "lost" && !own
        ? `It does not answer, or does not let this page read. Is ${location.origin} in its --http-origins, and ${new URL(server.home).origin} in this server's?` : "");
      message.hidden = !message.textContent;
      if (!server.about) continue;
      const { about, store } = server;
      const rows = [
        ["Version", `geartrain ${about.version}, in gearmand ${about.compat}'s way`],
        ["Gearman", about.addresses.join(", ")],
        ["Up since", `${moment(server.time - about.uptime)} (${duration(about.uptime)})`],
        ["Connections", `${short(about.connections)}, ${short(about.connections_accepted)} since the start`],
        ["Traffic", `${bytes(about.bytes_in)} in, ${bytes(about.bytes_out)} out`],
        ["Queue", store.durable ? `${store.type}, ${short(store.committed_jobs)} jobs in ${short(store.commits)} commits, p99 ${duration(store.commit_p99)}` : "in memory: gone with the server"],
        ["Errors", Object.entries(about.errors).map(([code, count]) => `${code} ${short(count)}`).join(", ") || "none"],
      ];
      if (!facts.children.length) facts.append(...rows.flatMap(([name]) => [h("dt", {}, name), h("dd", {})]));
      rows.forEach(([, value], index) => setText(facts.children[index * 2 + 1], value));
    }
  }
}
