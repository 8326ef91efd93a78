// Charts on uPlot. Steps, not slopes: a value holds for the time between two
// reads. Colours are the theme's; each line has a pattern of its own too.
/* global uPlot */

import { clock } from "./format.js";
import { el, say } from "./markup.js";

/** What tells lines apart beside their colours: width, pattern, and an area. */
const FORMS = {
  area: { width: 1.75, dash: [] },
  thin: { width: 1.25, dash: [] },
  thick: { width: 3, dash: [] },
  dots: { width: 1.75, dash: [2, 3] },
  dashes: { width: 1.75, dash: [7, 3] },
};

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Of all charts, so that those in a row end at one line. */
const HEIGHT = 190;

const stepped = uPlot.paths.stepped({ align: -1 });

/** Options that all charts share. */
function base(width, height, plugins) {
  const font = "11px system-ui, sans-serif";
  const axis = {
    stroke: color("muted"),
    font,
    grid: { stroke: color("grid"), width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height,
    pxAlign: 1,
    legend: { show: false },
    padding: [8, 8, 0, 0],
    scales: { x: { time: true } },
    cursor: {
      sync: { key: "moment" },
      points: { size: 6 },
      drag: { x: false, y: false },
      y: false,
    },
    axes: [
      {
        ...axis,
        size: 26,
        gap: 5,
        space: 64,
        values: (_, splits) => splits.map((at) => clock(at * 1000).slice(0, splits.length > 1 && splits[1] - splits[0] >= 60 ? 5 : 8)),
      },
      { ...axis, size: 52, gap: 6, space: 28 },
    ],
    plugins,
  };
}

/** Marks where an Envoy began again from 0. */
function resets(ofResets) {
  return {
    hooks: {
      draw: (plot) => {
        const { ctx, bbox } = plot;
        ctx.save();
        ctx.strokeStyle = color("muted");
        ctx.fillStyle = color("muted");
        ctx.setLineDash([3, 3]);
        ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
        for (const at of ofResets()) {
          const x = plot.valToPos(at, "x", true);
          if (x < bbox.left || x > bbox.left + bbox.width) continue;
          ctx.beginPath();
          ctx.moveTo(x, bbox.top);
          ctx.lineTo(x, bbox.top + bbox.height);
          ctx.stroke();
          ctx.fillText("restart", x + 4, bbox.top + 11 * devicePixelRatio);
        }
        ctx.restore();
      },
    },
  };
}

/** What all figures have: title, key, canvas, and the same values as a table. */
class Figure {
  constructor(title) {
    this.title = title;
    this.key = el("ul", { class: "key" });
    this.box = el("div", { class: "plot", role: "img", "aria-label": `Chart: ${title}. The values are in the table below.` });
    this.body = el("tbody");
    this.head = el("tr");
    this.table = el("details", { class: "values", on: { toggle: () => this.fill() } },
      el("summary", {}, "Values as a table"),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Values: ${title}` },
        el("table", {}, el("caption", { class: "unseen" }, title), el("thead", {}, this.head), this.body)));
    this.empty = el("p", { class: "nothing", hidden: true });
    this.node = el("figure", { class: "chart" },
      el("figcaption", {}, el("h3", {}, title), this.key),
      this.box, this.empty, this.table);
    this.plot = null;
    this.rows = () => [];
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.box);
  }

  fit() {
    const width = Math.floor(this.box.clientWidth);
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: this.plot.height });
  }

  /** Says instead of the chart why there is none. */
  nothing(text) {
    this.empty.hidden = text === null;
    this.box.hidden = text !== null;
    this.key.hidden = text !== null;
    this.table.hidden = text !== null;
    if (text !== null) say(this.empty, text);
  }

  fill() {
    if (!this.table.open) return;
    const { head, rows } = this.rows();
    this.head.replaceChildren(...head.map((text) => el("th", { scope: "col" }, text)));
    this.body.replaceChildren(...rows.map(([time, ...cells]) =>
      el("tr", {}, el("th", { scope: "row" }, time), ...cells.map((cell) => el("td", {}, cell)))));
  }

  destroy() {
    this.sizes.disconnect();
    this.plot?.destroy();
  }

  redraw() {
    this.plot?.destroy();
    this.plot = null;
  }
}

/** Lines over time. */
export class Lines extends Figure {
  /** `lines` are `{ name, color, form }`; `format` spells a value. */
  constructor(title, format, { most = null, isWhole = false } = {}) {
    super(title);
    this.format = format;
    this.most = most;
    this.isWhole = isWhole;
    this.lines = [];
    this.resetTimes = [];
  }

  show(slice, lines, valuesOf) {
    const names = lines.map((line) => line.name).join("\n");
    if (this.names !== names) {
      this.names = names;
      this.redraw();
    }
    this.lines = lines;
    this.resetTimes = slice.moments.filter((m) => m.isReset).map((m) => m.at / 1000);
    const columns = lines.map((_, at) => slice.moments.map((m) => (m.isGap ? null : valuesOf(m, at))));
    const data = [slice.moments.map((m) => m.at / 1000), ...columns];
    if (!this.plot) this.draw(data);
    this.data = data;
    this.range = [slice.from / 1000, slice.to / 1000];
    this.plot.setData(data, false);
    this.plot.setScale("x", { min: this.range[0], max: this.range[1] });
    this.tell(null);
    this.rows = () => ({
      head: ["Time", ...lines.map((line) => line.name)],
      rows: data[0].map((at, i) => [clock(at * 1000), ...columns.map((c) => (c[i] === null ? "–" : this.format(c[i])))]).reverse(),
    });
    this.fill();
  }

  draw(data) {
    this.key.replaceChildren(...this.lines.map((line) => {
      const sample = el("span", { class: `sample ${line.form}`, "aria-hidden": "true" });
      sample.style.setProperty("--stroke", `var(--${line.color})`);
      return el("li", {}, sample, `${line.name} `, el("output", {}));
    }));
    const options = base(Math.max(200, this.box.clientWidth), HEIGHT, [resets(() => this.resetTimes)]);
    options.series = [{}, ...this.lines.map((line) => ({
      label: line.name,
      stroke: color(line.color),
      ...FORMS[line.form],
      fill: line.form === "area" ? color(`${line.color}-soft`) : undefined,
      paths: stepped,
      points: { show: (plot, series, from, to) => to - from < 2 },
      spanGaps: false,
    }))];
    options.scales.y = {
      range: (_, __, most) => [0, this.most ?? (most > 0 ? (this.isWhole ? Math.ceil(most * 1.1) : most * 1.1) : 1)],
    };
    options.axes[1].values = (_, splits) => splits.map((value) => this.format(value));
    if (this.isWhole) options.axes[1].incrs = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];
    options.hooks = { setCursor: [(plot) => this.tell(plot.cursor.idx)] };
    this.plot = new uPlot(options, data, this.box);
  }

  /** Values at the cursor, else the last ones. */
  tell(index) {
    if (!this.data) return;
    const outputs = this.key.querySelectorAll("output");
    const at = index ?? this.data[0].length - 1;
    outputs.forEach((output, line) => {
      const value = this.data[line + 1]?.[at];
      say(output, value === null || value === undefined ? "–" : this.format(value));
    });
  }
}

const SHADES = 6;

/** How many requests took how long, over time. */
export class HeatMap extends Figure {
  constructor(title, format) {
    super(title);
    this.format = format;
    this.told = el("li", {});
    const scale = el("li", { class: "shades" }, "fewer ");
    for (let shade = 1; shade <= SHADES; shade++) scale.append(el("span", { class: `shade shade${shade}`, "aria-hidden": "true" }));
    scale.append(" more");
    this.key.append(scale, this.told);
  }

  show(slice, bounds) {
    if (bounds.join() !== this.bounds?.join()) {
      this.bounds = bounds;
      this.redraw();
    }
    this.moments = slice.moments;
    this.most = Math.max(1, ...slice.moments.flatMap((m) => m.bins ?? []));
    const data = [slice.moments.map((m) => m.at / 1000), slice.moments.map(() => null)];
    this.plot ??= this.draw(data);
    this.plot.setData(data, false);
    this.plot.setScale("x", { min: slice.from / 1000, max: slice.to / 1000 });
    this.tell();
    this.rows = () => ({
      head: ["Time", ...bounds.map((_, at) => this.name(at)), this.name(bounds.length)],
      rows: slice.moments.map((m) => [clock(m.at), ...Array.from({ length: bounds.length + 1 }, (_, at) => (m.isGap ? "–" : String(m.bins[at] ?? 0)))]).reverse(),
    });
    this.fill();
  }

  name(bin) {
    return bin < this.bounds.length ? `≤ ${this.format(this.bounds[bin])}` : `> ${this.format(this.bounds.at(-1) ?? 0)}`;
  }

  draw(data) {
    const bins = this.bounds.length + 1;
    const options = base(Math.max(200, this.box.clientWidth), HEIGHT, [{ hooks: { drawSeries: (plot, series) => series === 1 && this.cells(plot) } }]);
    options.series = [{}, { paths: () => null, points: { show: false } }];
    options.scales.y = { range: [0, bins] };
    options.cursor.y = true;
    options.cursor.points = { show: false };
    const skip = Math.ceil(bins / 12);
    options.axes[1].splits = () => Array.from({ length: bins }, (_, at) => at + 0.5).filter((_, at) => at % skip === 0);
    options.axes[1].values = (_, splits) => splits.map((at) => this.name(Math.floor(at)));
    options.axes[1].grid = { show: false };
    options.axes[1].size = 62;
    options.hooks = { setCursor: [() => this.tell()] };
    return new uPlot(options, data, this.box);
  }

  cells(plot) {
    const { ctx, bbox } = plot;
    const shades = Array.from({ length: SHADES }, (_, at) => color(`shade${at + 1}`));
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const moment of this.moments) {
      if (moment.isGap) continue;
      const right = plot.valToPos(moment.at / 1000, "x", true);
      const left = plot.valToPos(moment.at / 1000 - moment.seconds, "x", true);
      moment.bins.forEach((count, bin) => {
        if (count === 0) return;
        const top = plot.valToPos(bin + 1, "y", true);
        const bottom = plot.valToPos(bin, "y", true);
        const shade = Math.min(SHADES - 1, Math.floor(Math.sqrt(count / this.most) * SHADES));
        ctx.fillStyle = shades[shade];
        ctx.fillRect(left, top + 1, Math.max(1, right - left - 1), bottom - top - 1);
      });
    }
    ctx.restore();
  }

  tell() {
    const { idx, top } = this.plot?.cursor ?? {};
    const moment = this.moments?.[idx];
    if (moment && !moment.isGap && top >= 0) {
      const bin = Math.floor(this.plot.posToVal(top, "y"));
      say(this.told, `${clock(moment.at)}, ${this.name(bin)}: ${moment.bins[bin] ?? 0}`);
    } else {
      say(this.told, `darkest: ${this.most ?? 0}`);
    }
  }
}

/** A small line without axes, for the list of services. */
export class Spark {
  constructor() {
    this.node = el("span", { class: "spark", "aria-hidden": "true" });
    this.plot = null;
  }

  show({ from, to, at, rates }) {
    const data = [at.map((ms) => ms / 1000), rates];
    this.plot ??= new uPlot({
      width: 104,
      height: 28,
      legend: { show: false },
      cursor: { show: false },
      padding: [2, 0, 2, 0],
      axes: [{ show: false }, { show: false }],
      scales: { y: { range: (_, __, most) => [0, most > 0 ? most : 1] } },
      series: [{}, { stroke: color("accent"), width: 1.5, fill: color("accent-soft"), paths: stepped, points: { show: false } }],
    }, data, this.node);
    this.plot.setData(data, false);
    this.plot.setScale("x", { min: from / 1000, max: to / 1000 });
  }

  redraw() {
    this.plot?.destroy();
    this.plot = null;
  }
}
