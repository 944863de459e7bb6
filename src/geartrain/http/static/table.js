// Tables of any length: only the rows in sight are elements. Sorts, groups, and is worked by keyboard as an ARIA grid.

import { h, setAttribute, setText } from "./dom.js";

const OVERSCAN = 6;
/** Characters of a name above which a phone shows it smaller. */
export const LONG = 30;
let serial = 0;

/**
 * @typedef {object} Column
 * @property {string} key
 * @property {string} label
 * @property {(row: any) => any} [value] what it sorts by; rows' own property of that key otherwise
 * @property {(row: any) => string} [text] what it shows
 * @property {(row: any, cell: HTMLElement) => void} [draw] for more than a text
 * @property {string} [width] as in grid-template-columns
 * @property {string} [narrow] the same where the table is narrow
 * @property {boolean} [number] right-aligned, and sorts from the largest at first
 * @property {number} [from] width of the table in px from which it is shown
 * @property {boolean} [sum] groups show its sum
 */

export class Table {
  /**
   * @param {{label: string, columns: Column[], key: (row: any) => string, open?: (row: any) => void,
   *   sort?: [string, number], fixed?: boolean, empty?: string, rowClass?: (row: any) => string}} options
   */
  constructor(options) {
    this.options = options;
    this.rows = [];
    this.lines = [];
    this.sort = options.sort ?? [options.columns[0].key, 1];
    this.group = null;
    this.folded = new Set();
    this.shown = new Map();
    this.order = new Map();
    this.active = null;
    this.id = `table-${(serial += 1)}`;
    this.head = h("div", { class: "row head", role: "row", "aria-rowindex": "1" });
    this.body = h("div", { class: "body", role: "rowgroup" });
    this.note = h("p", { class: "empty", hidden: true });
    this.element = h("div", { class: "table", role: "grid", "aria-label": options.label, "aria-readonly": "true" },
      h("div", { role: "rowgroup", class: "heads" }, this.head), this.body, this.note);
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => this.click(event));
    this.redraw = () => {
      this.frame ??= requestAnimationFrame(() => {
        this.frame = null;
        this.draw();
      });
    };
    this.watcher = new ResizeObserver(() => this.measure());
  }

  mount() {
    this.watcher.observe(this.element);
    window.addEventListener("scroll", this.redraw, { passive: true });
    window.addEventListener("resize", this.redraw);
    this.measure();
  }

  unmount() {
    this.watcher.disconnect();
    window.removeEventListener("scroll", this.redraw);
    window.removeEventListener("resize", this.redraw);
    cancelAnimationFrame(this.frame);
  }

  // ---- what it shows

  /** @param {any[]} rows @param {((row: any) => string) | null} group */
  update(rows, group = null) {
    this.rows = rows;
    this.group = group;
    this.arrange();
    this.draw();
  }

  measure() {
    const width = this.element.clientWidth;
    if (!width) return;
    const columns = this.options.columns.filter((column) => width >= (column.from ?? 0));
    const narrow = width < 520;
    const keys = columns.map((column) => column.key).join() + narrow;
    this.height = parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 36;
    if (keys !== this.keys) {
      this.keys = keys;
      this.columns = columns;
      this.element.style.setProperty("--columns", columns.map((c) => (narrow && c.narrow) || c.width || "minmax(0, 1fr)").join(" "));
      setAttribute(this.element, "aria-colcount", columns.length);
      for (const line of this.shown.values()) line.remove();
      this.shown.clear();
      this.drawHead();
    }
    this.draw();
  }

  drawHead() {
    const focused = document.activeElement?.closest?.(`[data-table="${this.id}"]`)?.dataset.key;
    this.head.replaceChildren(...this.columns.map((column) => {
      const [key, direction] = this.sort;
      const sorted = key === column.key;
      const cell = h("div", { role: "columnheader", class: column.number ? "number" : "",
        "aria-sort": sorted ? (direction > 0 ? "ascending" : "descending") : "none" });
      if (this.options.fixed) cell.append(column.label);
      else {
        const button = h("button", { type: "button", "data-table": this.id, "data-key": column.key, onclick: () => this.sortBy(column) },
          h("span", {}, column.label), h("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (direction > 0 ? "↑" : "↓") : ""));
        cell.append(button);
      }
      return cell;
    }));
    if (focused) this.head.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  sortBy(column) {
    const [key, direction] = this.sort;
    this.sort = [column.key, key === column.key ? -direction : column.number ? -1 : 1];
    this.order.clear();
    this.drawHead();
    this.arrange();
    this.draw();
  }

  /** Puts the rows in order. While the pointer or the focus is on them they keep their places: nobody hits a moving row. */
  arrange() {
    const { key } = this.options;
    const compare = this.comparison();
    const held = this.order.size && (this.body.matches(":hover") || this.body.contains(document.activeElement));
    const rows = this.options.fixed ? this.rows : [...this.rows].sort(compare);
    if (held && !this.options.fixed) {
      const place = (row) => this.order.get(key(row)) ?? Infinity;
      rows.sort((a, b) => place(a) - place(b) || compare(a, b));
    }
    this.order = new Map(rows.map((row, index) => [key(row), index]));
    this.lines = this.group ? this.grouped(rows, compare) : rows;
    setAttribute(this.element, "aria-rowcount", this.lines.length + 1);
    setAttribute(this.element, "role", this.group ? "treegrid" : "grid");
    this.note.hidden = this.lines.length > 0;
    setText(this.note, this.options.empty ?? "Nothing here.");
  }

  comparison() {
    const [name, direction] = this.sort;
    const column = this.options.columns.find((one) => one.key === name);
    const value = column.value ?? ((row) => row[name]);
    const { key } = this.options;
    return (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x !== y) {
        if (x === null || x === undefined) return 1;
        if (y === null || y === undefined) return -1;
        const order = typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
        if (order) return order * direction;
      }
      return key(a) < key(b) ? -1 : 1;
    };
  }

  grouped(rows, compare) {
    const groups = new Map();
    for (const row of rows) {
      const name = this.group(row);
      let group = groups.get(name);
      if (!group) {
        group = { isGroup: true, name, rows: [] };
        groups.set(name, group);
      }
      group.rows.push(row);
    }
    const all = [...groups.values()];
    for (const group of all) {
      for (const column of this.options.columns) {
        if (!column.sum) continue;
        const value = column.value ?? ((row) => row[column.key]);
        group[column.key] = group.rows.reduce((sum, row) => sum + (value(row) ?? 0), 0);
      }
    }
    const [name, direction] = this.sort;
    const summed = this.options.columns.find((column) => column.key === name)?.sum;
    all.sort((a, b) => (summed && a[name] !== b[name] ? (a[name] - b[name]) * direction : a.name.localeCompare(b.name)));
    return all.flatMap((group) => (this.folded.has(group.name) ? [group] : [group, ...group.rows]));
  }

  keyOf(line) {
    return line.isGroup ? `group ${line.name}` : this.options.key(line);
  }

  // ---- drawing

  draw() {
    if (!this.columns || !this.element.isConnected) return;
    const { height, lines } = this;
    this.body.style.height = `${lines.length * height}px`;
    const top = this.body.getBoundingClientRect().top;
    let first = Math.max(Math.floor(-top / height) - OVERSCAN, 0);
    let last = Math.min(Math.ceil((window.innerHeight - top) / height) + OVERSCAN, lines.length);
    if (last <= first) [first, last] = [0, Math.min(OVERSCAN, lines.length)];
    const wanted = new Map();
    for (let index = first; index < last; index += 1) wanted.set(this.keyOf(lines[index]), index);
    const focused = this.body.contains(document.activeElement) ? document.activeElement.closest(".row") : null;
    for (const [key, element] of this.shown) {
      if (wanted.has(key) || element === focused) continue;
      element.remove();
      this.shown.delete(key);
    }
    if (focused && !wanted.has(focused.dataset.key)) {
      const index = lines.findIndex((line) => this.keyOf(line) === focused.dataset.key);
      if (index >= 0) wanted.set(focused.dataset.key, index);
      else this.shown.delete(focused.dataset.key), focused.remove();
    }
    if (!wanted.has(this.active)) this.active = wanted.size ? wanted.keys().next().value : null;
    let before = null;
    for (const [key, index] of [...wanted].sort((a, b) => a[1] - b[1])) {
      let element = this.shown.get(key);
      if (!element) {
        element = this.makeRow(lines[index]);
        element.dataset.key = key;
        this.shown.set(key, element);
      }
      const next = before ? before.nextSibling : this.body.firstChild;
      if (next !== element) this.body.insertBefore(element, next);
      before = element;
      const place = `translateY(${index * height}px)`;
      if (element.style.transform !== place) element.style.transform = place;
      setAttribute(element, "aria-rowindex", index + 2);
      setAttribute(element, "tabindex", key === this.active ? 0 : -1);
      setAttribute(element, "aria-level", this.group ? (lines[index].isGroup ? 1 : 2) : null);
      this.fill(element, lines[index]);
    }
  }

  makeRow(line) {
    const cells = this.columns.map((column) =>
      h("div", { role: "gridcell", class: `${column.number ? "number " : ""}${column.kind ?? ""}` }));
    return h("div", { role: "row", class: line.isGroup ? "row group" : "row", "data-open": Boolean(this.options.open) }, cells);
  }

  fill(element, line) {
    element.line = line;
    if (line.isGroup) {
      setAttribute(element, "aria-expanded", String(!this.folded.has(line.name)));
      this.columns.forEach((column, index) => {
        const cell = element.children[index];
        if (index === 0) setText(cell, `${line.name || "(none)"}  ·  ${line.rows.length}`);
        else setText(cell, column.sum ? (column.sumText ?? column.text ?? String)(line) : "");
      });
      return;
    }
    const extra = this.options.rowClass?.(line) ?? "";
    if (element.dataset.extra !== extra) {
      element.dataset.extra = extra;
      element.className = `row ${extra}`;
    }
    this.columns.forEach((column, index) => {
      const cell = element.children[index];
      if (column.draw) column.draw(line, cell);
      else {
        const text = column.text ? column.text(line) : String(line[column.key] ?? "");
        setText(cell, text);
        if (!column.number) setAttribute(cell, "title", text.length > 12 ? text : null);
        if (column.kind === "name") setAttribute(cell, "data-long", text.length > LONG ? "" : null);
      }
    });
  }

  // ---- hands

  click(event) {
    const row = event.target.closest(".row");
    if (!row || event.target.closest("a, button, select, input") || String(getSelection())) return;
    this.activate(row);
  }

  activate(row) {
    const { line } = row;
    if (line.isGroup) {
      if (!this.folded.delete(line.name)) this.folded.add(line.name);
      this.arrange();
      this.draw();
    } else this.options.open?.(line);
  }

  key(event) {
    const row = event.target.closest(".row");
    if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
    const index = this.lines.findIndex((line) => this.keyOf(line) === row.dataset.key);
    const page = Math.max(Math.floor(window.innerHeight / this.height) - 4, 1);
    const target = { ArrowDown: index + 1, ArrowUp: index - 1, PageDown: index + page, PageUp: index - page, Home: 0, End: Infinity }[event.key];
    if (target !== undefined) {
      event.preventDefault();
      this.focus(Math.min(Math.max(target, 0), this.lines.length - 1));
    } else if ((event.key === "Enter" || event.key === " ") && event.target === row) {
      event.preventDefault();
      this.activate(row);
    }
  }

  focus(index) {
    const line = this.lines[index];
    if (!line) return;
    const top = this.body.getBoundingClientRect().top + index * this.height;
    const room = { above: 150, below: window.innerHeight - 110 };
    if (top < room.above) window.scrollBy(0, top - room.above);
    else if (top + this.height > room.below) window.scrollBy(0, top + this.height - room.below);
    this.active = this.keyOf(line);
    this.draw();
    const element = this.shown.get(this.active);
    for (const other of this.shown.values()) setAttribute(other, "tabindex", other === element ? 0 : -1);
    element?.focus({ preventScroll: true });
  }
}
