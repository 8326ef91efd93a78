// The moments that the bridge has told of, and rows of numbers from them for
// charts. It divides and adds up; percentiles come from the bridge.

const OK = 0, CLIENT = 1, SERVER = 2, REST = 3;
export const GROUPS = ["1xx–3xx", "4xx", "5xx", "no status"];

/** Classes 1xx..5xx and none, as the four groups of the page. */
export function grouped(classes) {
  return [classes[0] + classes[1] + classes[2], classes[3], classes[4], classes[5]];
}

/** Rate and ratios of a sum over so many seconds. */
export function shares(classes, covered) {
  const groups = grouped(classes);
  const all = groups[OK] + groups[CLIENT] + groups[SERVER] + groups[REST];
  return {
    count: all,
    rate: covered > 0 ? all / covered : null,
    errors: all > 0 ? groups[SERVER] / all : null,
    clientErrors: all > 0 ? groups[CLIENT] / all : null,
  };
}

/** Hits over all, or null. */
export function hitRatio([hits, misses]) {
  return hits + misses > 0 ? hits / (hits + misses) : null;
}

export class Past {
  constructor(minutes = 15) {
    this.windowMs = minutes * 60_000;
    this.points = [];
  }

  clear() {
    this.points = [];
  }

  add(points) {
    this.points.push(...points);
    const last = this.points.at(-1);
    while (last && this.points[0].at < last.at - this.windowMs) this.points.shift();
  }

  /**
   * The moments of the last `seconds`, each with the part of the service and of
   * the route where there is one. A moment without numbers is a gap; where
   * nothing was read for long there is one too.
   */
  slice(seconds, service, row, interval) {
    const last = this.points.at(-1);
    if (!last) return { from: 0, to: 1, moments: [] };
    const from = last.at - seconds * 1000;
    const moments = [];
    let before = null;
    for (const point of this.points) {
      if (point.at < from) continue;
      if (before !== null && point.at - before > interval * 2500) {
        moments.push({ at: (point.at + before) / 2, seconds: null, isGap: true });
      }
      before = point.at;
      const part = point.services.find((part) => part.i === service);
      if (point.gap || !part) {
        moments.push({ at: point.at, seconds: null, isGap: true, isReset: point.reset });
        continue;
      }
      const routes = row === null ? part.routes : part.routes.filter((route) => route.row === row);
      const classes = [0, 0, 0, 0, 0, 0];
      let bins = [];
      for (const route of routes) {
        route.n.forEach((count, at) => (classes[at] += count));
        if (bins.length === 0) bins = [...route.b];
        else route.b.forEach((count, at) => (bins[at] += count));
      }
      moments.push({
        at: point.at,
        seconds: point.seconds,
        isGap: point.seconds === null,
        isReset: point.reset,
        isPartial: point.partial,
        groups: grouped(classes),
        bins,
        q: row === null ? part.q : (routes[0]?.q ?? null),
        active: part.active,
        pool: part.pool,
        caches: part.caches,
      });
    }
    return { from, to: last.at, moments };
  }

  /** Requests per second of a service in each moment; null in gaps. */
  rates(seconds, service, interval) {
    const { from, to, moments } = this.slice(seconds, service, null, interval);
    return {
      from,
      to,
      at: moments.map((moment) => moment.at),
      rates: moments.map((m) => (m.isGap ? null : m.groups.reduce((a, b) => a + b, 0) / m.seconds)),
    };
  }
}
