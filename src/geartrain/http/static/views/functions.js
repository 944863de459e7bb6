// Functions: all of them, to filter, sort and group.

import { debounce, field, h, select, setText } from "../dom.js";
import { plural } from "../format.js";
import { Table } from "../table.js";
import { functionColumns, functionKey, openFunction, warned } from "./columns.js";

/** The part of a name before its first separator: `mail.send`, `mail:send`, `mail_send`, `mail/send`, `mail-send`. */
export const prefix = (name) => /^(.+?)[.:_/-]./.exec(name)?.[1] ?? name;

export class FunctionsView {
  constructor(page, _, query) {
    this.page = page;
    const redraw = () => this.update();
    this.filter = h("input", { type: "search", value: query.get("name") ?? "", placeholder: "Part of a name", autocomplete: "off", spellcheck: false, oninput: debounce(80, redraw) });
    this.groups = select([["", "None"], ["prefix", "Prefix"], ...(page.fleet.several ? [["server", "Server"]] : [])], "", { onchange: redraw });
    this.only = h("input", { type: "checkbox", checked: query.get("only") === "warned", onchange: redraw });
    this.count = h("span", { class: "sub" });
    this.table = new Table({ label: "Functions", columns: functionColumns(page.fleet.several), key: functionKey, open: openFunction,
      rowClass: warned, sort: ["waiting", -1], empty: "No function fits." });
    this.element = h("div", {},
      h("div", { class: "heading" }, h("h1", {}, "Functions"), this.count),
      h("div", { class: "bar" }, h("div", { class: "wide" }, field("Filter", this.filter)), field("Group by", this.groups),
        h("label", { class: "check" }, this.only, "Only without a worker")),
      this.table.element);
  }

  mount() {
    this.table.mount();
  }

  unmount() {
    this.table.unmount();
  }

  update() {
    if (!this.page.known) return;
    const all = this.page.fleet.functions();
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = all.filter((row) => (!this.only.checked || row.unattended) && words.every((word) => row.name.toLowerCase().includes(word)));
    setText(this.count, rows.length === all.length ? plural(all.length, "function") : `${plural(rows.length, "function")} of ${all.length}`);
    const by = { prefix: (row) => prefix(row.name), server: (row) => row.server.name }[this.groups.value] ?? null;
    this.table.update(rows, by);
  }
}
