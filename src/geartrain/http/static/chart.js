// Charts over time: uPlot with the page's colours, a legend that is text, and a sentence for screen readers.

import { h, setAttribute, setText } from "./dom.js";
import { clock } from "./format.js";

const uPlot = window.uPlot;
const charts = new Set();

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** After a change of theme: a canvas has no colours of its own. */
export function repaint() {
  for (const chart of charts) chart.build();
}

export class Chart {
  /**
   * @param {{title: string, hint?: string, series: {label: string, color: string, fill?: boolean, dash?: number[]}[],
   *   format: (value: number) => string, axis?: (value: number) => string, log?: boolean, height?: number}} options
   */
  constructor(options) {
    this.options = options;
    this.values = options.series.map(() => h("b", { class: "value" }, "–"));
    this.time = h("span", { class: "at" });
    const legend = h("ul", { class: "legend" }, options.series.map((series, index) =>
      h("li", { class: `c-${series.color}${series.dash ? " dashed" : ""}` }, h("span", { class: "key", "aria-hidden": "true" }), `${series.label} `, this.values[index])));
    this.note = h("p", { class: "empty" }, "No samples yet.");
    this.canvas = h("div", { class: "plot", role: "img", "aria-label": `${options.title}: no samples yet` }, this.note);
    this.element = h("figure", { class: "chart card" },
      h("figcaption", {}, h("h2", {}, options.title), options.hint ? h("span", { class: "hint" }, options.hint) : null, this.time), legend, this.canvas);
    this.data = null;
    this.watcher = new ResizeObserver(() => this.fit());
  }

  mount() {
    charts.add(this);
    this.watcher.observe(this.canvas);
  }

  unmount() {
    charts.delete(this);
    this.watcher.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  /** @param {(number | null)[][]} data times in seconds, and one list for each series */
  update(data) {
    this.data = data;
    if (this.plot) this.plot.setData(data);
    else this.build();
    this.legend(null);
  }

  fit() {
    const width = this.canvas.clientWidth;
    if (!width) return;
    if (this.plot) this.plot.setSize({ width, height: this.height });
    else this.build();
  }

  get height() {
    return this.options.height ?? 190;
  }

  legend(index) {
    const times = this.data?.[0] ?? [];
    const at = index ?? times.length - 1;
    const words = this.options.series.map((series, number) => {
      const value = this.data?.[number + 1]?.[at];
      const text = value === null || value === undefined ? "–" : this.options.format(value);
      setText(this.values[number], text);
      return `${series.label} ${text}`;
    });
    setText(this.time, index === null || index === undefined ? "" : clock(times[index]));
    if (index === null && times.length) setAttribute(this.canvas, "aria-label", `${this.options.title}, now: ${words.join(", ")}`);
  }

  build() {
    const width = this.canvas.clientWidth;
    if (!width || !this.data?.[0].length) return;
    this.note.remove();
    this.plot?.destroy();
    const { series, format, log } = this.options;
    const mark = this.options.axis ?? format;
    const axis = { stroke: token("soft"), font: "11px system-ui, sans-serif", ticks: { show: false }, grid: { stroke: token("line"), width: 1 } };
    this.plot = new uPlot({
      width, height: this.height, legend: { show: false }, padding: [10, 16, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: { x: { time: true }, y: log ? { distr: 3, range: (_, min, max) => decades(min, max) } : { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] } },
      axes: [
        { ...axis, grid: { show: false }, size: 26, space: 70, values: (_, ticks, __, ___, step) => ticks.map((tick) => (step < 60 ? clock(tick) : clock(tick).slice(0, 5))) },
        { ...axis, size: 54, space: 34, ...(log ? { splits: (_, __, min, max) => powers(min, max) } : {}), values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : mark(tick))) },
      ],
      series: [{}, ...series.map(({ label, color, fill, dash }) => ({
        label, dash, width: 1.5, points: { show: false }, spanGaps: true,
        stroke: token(color), fill: fill ? token(`${color}-wash`) : undefined,
      }))],
      hooks: { setCursor: [(plot) => this.legend(plot.cursor.left >= 0 ? plot.cursor.idx : null)] },
    }, this.data, this.canvas);
  }
}

/** The decades from one to another: lines for all their parts would be a grid without a picture. */
function powers(min, max) {
  const first = Math.round(Math.log10(min));
  return Array.from({ length: Math.round(Math.log10(max)) - first + 1 }, (_, index) => 10 ** (first + index));
}

/** Whole decades around the values: a logarithmic scale has no nought. */
function decades(min, max) {
  if (!(min > 0)) return [0.001, 1];
  return [10 ** Math.floor(Math.log10(min)), 10 ** Math.max(Math.ceil(Math.log10(max)), Math.floor(Math.log10(min)) + 1)];
}
