// Numbers to text for people; the exact number stands beside it in the `value`
// of its <data> element.

const NONE = "–";

const grouping = new Intl.NumberFormat("en", { useGrouping: true });
const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

const digits = (number, most) => {
  const text = number.toFixed(most);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
};

/** Requests per second. */
export function rate(perSecond) {
  if (perSecond === null) return NONE;
  if (perSecond === 0) return "0/s";
  if (perSecond >= 10_000) return `${digits(perSecond / 1000, 1)}k/s`;
  if (perSecond >= 100) return `${perSecond.toFixed(0)}/s`;
  if (perSecond >= 0.1) return `${digits(perSecond, perSecond >= 10 ? 1 : 2)}/s`;
  return `${digits(perSecond, 3)}/s`;
}

/** A share from 0 to 1. */
export function percent(share) {
  if (share === null) return NONE;
  if (share === 0) return "0 %";
  if (share > 0 && share < 0.0001) return "<0.01 %";
  // What is not all is not shown as all.
  if (share > 0.999 && share < 1) return ">99.9 %";
  return `${digits(share * 100, share < 0.01 ? 2 : 1)} %`;
}

/** A duration in seconds. */
export function seconds(duration) {
  if (duration === null) return NONE;
  if (duration < 0.001) return `${digits(duration * 1e6, 0)} µs`;
  if (duration < 0.01) return `${digits(duration * 1000, 1)} ms`;
  if (duration < 1) return `${digits(duration * 1000, 0)} ms`;
  return `${digits(duration, 2)} s`;
}

/** A whole number, of any size, given as number or text. */
export function whole(number) {
  if (number === null || number === undefined) return NONE;
  return grouping.format(typeof number === "string" ? BigInt(number) : number);
}

/** Time of day. */
export function clock(unixMs) {
  return clockFormat.format(unixMs);
}

/** How long ago. */
export function ago(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return `${Math.floor(s / 3600)} h`;
}

/** Bytes of memory. */
export function memory(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${digits(bytes / 1e6, bytes < 1e7 ? 1 : 0)} MB`;
}
