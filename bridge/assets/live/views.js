// The parts of the page: list of services, one service in figures, its routes,
// the filter's health. Each is made once and filled anew with every state.

import { HeatMap, Lines, Spark } from "./charts.js";
import { clock, percent, rate, seconds, whole } from "./format.js";
import { el, keyed, say } from "./markup.js";
import { GROUPS, grouped, hitRatio, shares } from "./past.js";

/** A share of errors from which a number is marked. */
const MANY_ERRORS = 0.01;

/** A number, exact for machines and short for people. */
function figure(node, value, text) {
  node.value = value === null || value === undefined ? "" : String(value);
  say(node, text);
}

/** Marks a ratio of errors by sign and colour. */
function markErrors(node, ratio) {
  const isBad = ratio !== null && ratio >= MANY_ERRORS;
  node.classList.toggle("bad", isBad);
  figure(node, ratio, isBad ? `▲ ${percent(ratio)}` : percent(ratio));
}

const pathOf = (route) => (route.name ? `${route.name[0]} ${route.name[1]}` : "all other routes");

/** What a range says of a service or route. */
function summary(part, range, covered) {
  const sum = part.ranges[range];
  const [p50, p95, p99] = sum.q ?? [null, null, null];
  return { ...shares(sum.classes, covered), p50, p95, p99 };
}

/** The list of services. */
export class Services {
  constructor(nav, choose) {
    this.list = el("ul", {});
    nav.append(el("h2", { class: "unseen" }, "Services"), this.list);
    this.hidden = el("p", { class: "note" });
    nav.append(this.hidden);
    this.choose = choose;
  }

  show(view) {
    const { state, chosen, range, past } = view;
    const covered = state.ranges[range].covered_seconds;
    keyed(this.list, state.services.map((service, number) => ({ service, number })), (item) => item.service.name,
      () => this.make(),
      (row, { service, number }) => {
        const now = summary(service, range, covered);
        row.name.dir = "auto";
        say(row.name, service.name);
        say(row.number, number < 9 ? String(number + 1) : "");
        row.button.dataset.service = service.name;
        row.button.setAttribute("aria-current", String(service.name === chosen));
        figure(row.rate, now.rate, rate(now.rate));
        markErrors(row.errors, now.errors);
        figure(row.p95, now.p95, seconds(now.p95));
        figure(row.open, service.active, whole(service.active));
        row.spark.show(past.rates(state.ranges[range].seconds, number, state.interval_seconds));
      });
    say(this.hidden, state.hidden_services > 0
      ? `${state.hidden_services} more services are not shown; /metrics has them.` : "");
  }

  make() {
    const row = {
      number: el("kbd", { class: "number", "aria-hidden": "true" }),
      name: el("strong"),
      rate: el("data", { class: "n-rate" }),
      errors: el("data", { class: "n-errors" }),
      p95: el("data", { class: "n-p95" }),
      open: el("data", { class: "n-open" }),
      spark: new Spark(),
    };
    const item = (label, data) => el("span", { class: "stat" }, el("span", { class: "label" }, label), " ", data);
    row.button = el("button", { type: "button", class: "service", on: { click: () => this.choose(row.button.dataset.service) } },
      el("span", { class: "who" }, row.number, row.name), row.spark.node,
      el("span", { class: "stats" }, item("rate", row.rate), item("5xx", row.errors), item("p95", row.p95), item("open", row.open)));
    row.node = el("li", {}, row.button);
    return row;
  }

  redraw() {
    for (const row of this.list.keyed?.values() ?? []) row.spark.redraw();
  }
}

/** Columns of the table of routes. */
const COLUMNS = [
  { id: "rate", name: "Rate", of: (now) => now.rate, text: rate },
  { id: "errors", name: "5xx", of: (now) => now.errors, mark: true },
  { id: "client", name: "4xx", of: (now) => now.clientErrors, text: percent, wide: true },
  { id: "p50", name: "p50", of: (now) => now.p50, text: seconds, wide: true },
  { id: "p95", name: "p95", of: (now) => now.p95, text: seconds },
  { id: "p99", name: "p99", of: (now) => now.p99, text: seconds, wide: true },
  { id: "total", name: "Total", of: (_, route) => route.totals.reduce((a, b) => a + BigInt(b), 0n), text: whole, wide: true },
];

/** The table of routes. */
class Routes {
  constructor(choose) {
    this.choose = choose;
    this.by = "rate";
    this.isDown = true;
    this.body = el("tbody");
    this.heads = COLUMNS.map((column) => {
      const button = el("button", { type: "button", on: { click: () => this.sort(column.id) } }, column.name, el("span", { class: "order", "aria-hidden": "true" }));
      return { column, button, node: el("th", { scope: "col", class: column.wide ? "wide" : "" }, button) };
    });
    const preset = (text, by) => el("button", { type: "button", class: "tool", data: { by }, on: { click: () => this.sort(by, true) } }, text);
    this.presets = [preset("Busiest", "rate"), preset("Slowest", "p95"), preset("Most failing", "errors")];
    this.note = el("p", { class: "note" });
    this.node = el("section", { class: "panel routes", "aria-labelledby": "routes-title" },
      el("div", { class: "bar" }, el("h3", { id: "routes-title" }, "Routes"), el("div", { class: "presets", role: "group", "aria-label": "Order" }, ...this.presets)),
      el("table", {}, el("caption", { class: "unseen" }, "Routes of the service"),
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Route"), ...this.heads.map((head) => head.node))), this.body),
      this.note);
  }

  sort(by, isPreset = false) {
    this.isDown = isPreset || this.by !== by ? true : !this.isDown;
    this.by = by;
    this.show(this.view);
  }

  show(view) {
    this.view = view;
    const { state, service, range, row: chosen } = view;
    const covered = state.ranges[range].covered_seconds;
    const column = COLUMNS.find((column) => column.id === this.by);
    const items = service.routes.map((route) => {
      const now = summary(route, range, covered);
      return { route, now, key: column.of(now, route) };
    });
    const sign = this.isDown ? -1 : 1;
    items.sort((a, b) => {
      if (a.key === b.key) return pathOf(a.route) < pathOf(b.route) ? -1 : 1;
      if (a.key === null) return 1;
      if (b.key === null) return -1;
      return a.key < b.key ? -sign : sign;
    });
    const most = Math.max(...items.map(({ now }) => now.rate ?? 0), 0);
    for (const { column: { id }, node, button } of this.heads) {
      const order = id !== this.by ? "none" : this.isDown ? "descending" : "ascending";
      node.setAttribute("aria-sort", order);
      say(button.lastChild, order === "none" ? "" : this.isDown ? " ↓" : " ↑");
    }
    for (const button of this.presets) button.setAttribute("aria-pressed", String(button.dataset.by === this.by && this.isDown));
    keyed(this.body, items, ({ route }) => (route.name ? route.name.join(" ") : ""), () => this.make(), (line, { route, now }) => {
      line.route = route.row;
      if (route.name) {
        say(line.method, route.name[0]);
        say(line.path, route.name[1]);
        line.node.dataset.route = pathOf(route);
      } else {
        say(line.path, "all other routes");
        line.node.dataset.route = "";
      }
      line.button.setAttribute("aria-pressed", String(route.row === chosen));
      line.bar.style.setProperty("--share", most > 0 ? String((now.rate ?? 0) / most) : "0");
      COLUMNS.forEach((column, at) => {
        const value = column.of(now, route);
        if (column.mark) markErrors(line.cells[at], value);
        else figure(line.cells[at], value, column.text(value === null ? null : typeof value === "bigint" ? String(value) : value));
      });
    });
    const rest = service.routes.some((route) => !route.name);
    say(this.note, rest
      ? `The ${state.limits.routes} busiest routes have a row, a failed request counting as ten; the others are one.`
      : service.routes.length === 0 ? "No route has been used yet." : "");
  }

  make() {
    const line = {
      method: el("span", { class: "method" }),
      path: el("bdi", { class: "path" }),
      bar: el("span", { class: "share", "aria-hidden": "true" }),
      cells: COLUMNS.map((column) => el("data", { class: `r-${column.id}` })),
    };
    line.button = el("button", { type: "button", class: "route", on: { click: () => this.choose(line.button.getAttribute("aria-pressed") === "true" ? null : line.route) } }, line.method, " ", line.path);
    line.node = el("tr", {}, el("th", { scope: "row" }, line.button, line.bar),
      ...line.cells.map((cell, at) => el("td", { class: COLUMNS[at].wide ? "wide" : "" }, cell)));
    return line;
  }
}

/** What the filter and Envoy say of themselves. */
class Health {
  constructor() {
    this.list = el("dl", {});
    this.node = el("section", { class: "panel health", "aria-labelledby": "health-title" },
      el("h3", { id: "health-title" }, "Filter and Envoy"), this.list);
  }

  show({ state, service, ticks }) {
    const { health } = service;
    const errors = (list) => (list.length === 0 ? "none" : list.map(([name, count]) => `${name} ${whole(count)}`).join(", "));
    const isFull = health.series !== null && health.series_limit > 0 && health.series >= 0.9 * health.series_limit;
    const lines = [
      ["Label sets", health.series === null ? "–" : `${whole(health.series)} of ${whole(health.series_limit)}`, isFull],
      ["Overflows", whole(health.overflows ?? 0), health.overflows > 0],
      ["Signal errors", errors(health.signal_errors), health.signal_errors.length > 0],
      ["Filter errors", errors(health.filter_errors), health.filter_errors.length > 0],
      ["Ticks", ticks === null ? whole(health.ticks) : ticks > 0 ? `${rate(ticks)}` : "stopped", ticks === 0],
      ["Filter", health.versions.length > 0 ? `version ${health.versions.join(", ")}` : "–", health.versions.length > 1],
      ...state.envoys.flatMap((envoy) => {
        const name = envoy.name ?? "Envoy";
        const reloads = envoy.reloads.map(([plugin, result, count]) => `${plugin} ${result} ${whole(count)}`);
        return [
          [name, envoy.up ? `read, since ${clock(envoy.since)}` : `${envoy.reason} since ${clock(envoy.since)}`, !envoy.up],
          [`${name}: VM reloads`, reloads.length === 0 ? "none" : reloads.join(", "), reloads.length > 0],
        ];
      }),
    ];
    keyed(this.list, lines, ([name]) => name, ([name]) => {
      const value = el("dd");
      return { node: el("div", {}, el("dt", {}, name), value), value };
    }, (line, [, text, isBad]) => {
      say(line.value, isBad ? `▲ ${text}` : text);
      line.value.classList.toggle("bad", Boolean(isBad));
    });
  }
}

/** One service, or one route of it. */
export class Detail {
  constructor(main, chooseRoute) {
    this.main = main;
    this.title = el("h2");
    this.back = el("button", { type: "button", class: "tool", on: { click: () => chooseRoute(null) } }, "← whole service");
    this.totals = el("p", { class: "totals" });
    this.tiles = {};
    const tile = (id, label, kind = "") => {
      this.tiles[id] = el("data", { id: `now-${id}` });
      return el("div", { class: kind }, el("dt", {}, label), el("dd", {}, this.tiles[id]));
    };
    this.now = el("dl", { class: "tiles" },
      tile("rate", "requests"), tile("errors", "5xx"), tile("client", "4xx"), tile("p50", "p50"), tile("p95", "p95"), tile("p99", "p99"),
      tile("open", "open", "of-service"), tile("cache", "cache hits", "of-service"), tile("pool", "pool in use", "of-service"));
    this.charts = {
      requests: new Lines("Requests", rate),
      latency: new Lines("Latency", seconds),
      heat: new HeatMap("Latency heat map", seconds),
      open: new Lines("Open connections", whole, { isWhole: true }),
      cache: new Lines("Cache hit ratio", percent, { most: 1 }),
      pool: new Lines("Connection pool in use", percent, { most: 1 }),
    };
    for (const id of ["open", "cache", "pool"]) this.charts[id].node.classList.add("of-service");
    this.routes = new Routes(chooseRoute);
    this.health = new Health();
    this.quiet = el("div", { class: "quiet", hidden: true },
      el("p", {}, el("strong", {}, "No requests yet.")),
      el("p", {}, "This page fills by itself. To see it move, send some through Envoy: ", el("code", {}, "gatemeter-demo traffic"),
        " for the demo, or ", el("code", {}, "curl -i http://localhost:8080/"), " for a service of your own."));
    this.main.append(
      el("div", { class: "bar heading" }, this.title, this.back, this.totals), this.quiet, this.now,
      el("div", { class: "charts" }, ...Object.values(this.charts).map((chart) => chart.node)),
      this.routes.node, this.health.node);
  }

  show(view) {
    const { state, service, number, range, row, past } = view;
    const { seconds: span, covered_seconds: covered } = state.ranges[range];
    const route = row === null ? null : service.routes.find((route) => route.row === row);
    const part = route ?? service;
    const now = summary(part, range, covered);
    say(this.title, route ? pathOf(route) : service.name);
    this.title.classList.toggle("is-route", Boolean(route));
    this.back.hidden = !route;
    // Connections, caches and pools are the whole service's.
    this.main.classList.toggle("is-route", Boolean(route));
    this.tellTotals(part.totals);
    const isQuiet = service.totals.every((total) => total === "0");
    this.quiet.hidden = !isQuiet;

    const caches = service.caches.map((cache) => cache.ranges[range]);
    const ratio = hitRatio(caches.reduce(([h, m], [hits, misses]) => [h + hits, m + misses], [0, 0]));
    const pool = service.pool && service.pool[0] + service.pool[1] > 0 ? service.pool[0] / (service.pool[0] + service.pool[1]) : null;
    const { tiles } = this;
    figure(tiles.rate, now.rate, rate(now.rate));
    markErrors(tiles.errors, now.errors);
    figure(tiles.client, now.clientErrors, percent(now.clientErrors));
    for (const id of ["p50", "p95", "p99"]) figure(tiles[id], now[id], seconds(now[id]));
    figure(tiles.open, service.active, whole(service.active));
    figure(tiles.cache, ratio, percent(ratio));
    figure(tiles.pool, pool, percent(pool));

    const slice = past.slice(span, number, row, state.interval_seconds);
    const { charts } = this;
    const hasRest = slice.moments.some((m) => m.groups?.[3] > 0);
    const groups = [["accent", "area"], ["warn", "thin"], ["bad", "thick"], ["muted", "dots"]].map(([color, form], at) => ({ name: GROUPS[at], color, form })).slice(0, hasRest ? 4 : 3);
    charts.requests.show(slice, groups, (m, at) => m.groups[at] / m.seconds);
    charts.latency.show(slice, [{ name: "p50", color: "accent", form: "area" }, { name: "p95", color: "violet", form: "thick" }, { name: "p99", color: "teal", form: "dots" }], (m, at) => m.q?.[at] ?? null);
    charts.latency.nothing(service.bounds.length > 0 ? null : "There is no histogram of this service yet.");
    charts.heat.show(slice, service.bounds);
    charts.heat.nothing(service.bounds.length > 0 ? null : "There is no histogram of this service yet.");
    const wholeService = past.slice(span, number, null, state.interval_seconds);
    charts.open.show(wholeService, [{ name: "open", color: "accent", form: "area" }], (m) => m.active);
    // Kinds of caches that were configured and never heard of are left out.
    const used = service.caches.map((cache, at) => ({ at, name: cache.name ?? "others", totals: cache.totals })).filter((cache) => cache.totals.some((total) => total !== "0"));
    const styles = [["accent", "area"], ["violet", "thick"], ["teal", "dots"], ["warn", "thin"], ["muted", "dashes"]];
    charts.cache.show(wholeService, used.map(({ name, at }) => ({ name, color: styles[at][0], form: styles[at][1] })), (m, line) => (m.caches[used[line].at] ? hitRatio(m.caches[used[line].at]) : null));
    charts.cache.nothing(used.length > 0 ? null : "No cache of this service has been heard of.");
    charts.pool.show(wholeService, [{ name: "in use", color: "accent", form: "area" }], (m) => (m.pool && m.pool[0] + m.pool[1] > 0 ? m.pool[0] / (m.pool[0] + m.pool[1]) : null));
    charts.pool.nothing(service.pool ? null : "No connection pool of this service has been heard of.");
    this.routes.show(view);
    this.health.show(view);
  }

  tellTotals(classes) {
    const all = classes.reduce((a, b) => a + BigInt(b), 0n);
    const [, client, server, rest] = grouped(classes.map((count) => BigInt(count)));
    const number = (id, value) => el("data", { id: `total-${id}`, value: String(value) }, whole(String(value)));
    this.totals.replaceChildren(number("all", all), " requests since Envoy's start, of them 4xx ", number("client", client), ", 5xx ", number("server", server));
    if (rest > 0n) this.totals.append(", no status ", number("rest", rest));
  }

  redraw() {
    for (const chart of Object.values(this.charts)) chart.redraw();
  }
}
