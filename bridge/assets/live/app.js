// The live page: listens to the bridge, keeps what was chosen, and has the parts
// of the page show it.

import { ago, clock, memory } from "./format.js";
import { say } from "./markup.js";
import { Past } from "./past.js";
import { Detail, Services } from "./views.js";

const $ = (id) => document.getElementById(id);

const stored = {
  get: (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  set: (key, value) => {
    try {
      localStorage.setItem(key, value);
    } catch {
      // Then it is only for this visit.
    }
  },
};

const past = new Past();
/** What is shown. */
const view = { state: null, past, chosen: null, row: null, range: Number(stored.get("range") ?? 1) % 3, ticks: null };
const link = { isOpen: false, heard: null, lost: Date.now() };
let ticksBefore = null;

const services = new Services($("services"), (name) => choose(name));
const detail = new Detail($("detail"), (row) => {
  view.row = row;
  render();
});

// --- what is chosen ---------------------------------------------------------

function choose(name) {
  if (view.chosen !== name) {
    view.chosen = name;
    view.row = null;
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
    render();
  }
}

function chooseByNumber(number, moveFocus = false) {
  const service = view.state?.services[number];
  if (!service) return;
  choose(service.name);
  if (moveFocus) document.querySelector(`#services li:nth-child(${number + 1}) button`)?.focus();
}

function setRange(range) {
  view.range = range;
  stored.set("range", String(range));
  for (const input of document.querySelectorAll("#ranges input")) input.checked = Number(input.value) === range;
  render();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  nameTheme();
  services.redraw();
  detail.redraw();
  render();
}

function nameTheme() {
  say($("theme"), document.documentElement.dataset.theme === "dark" ? "Light" : "Dark");
}

// --- showing ----------------------------------------------------------------

function render() {
  const { state } = view;
  if (!state) return;
  const wanted = view.chosen ?? nameInAddress();
  view.number = Math.max(0, state.services.findIndex((service) => service.name === wanted));
  view.service = state.services[view.number] ?? null;
  view.chosen = view.service?.name ?? null;
  if (view.row !== null && !view.service?.routes.some((route) => route.row === view.row)) view.row = null;
  services.show(view);
  $("detail").classList.toggle("empty", !view.service);
  if (view.service) detail.show(view);
  document.title = view.service ? `${view.service.name}: Gatemeter live` : "Gatemeter live";
  const { limits } = state;
  say($("about"), `Gatemeter bridge ${state.version}. The last ${limits.minutes} minutes take ${memory(limits.bytes)} of memory, never more than ${memory(limits.worst_bytes)}. Nothing is kept on disk.`);
  say($("help-memory"), `At most ${limits.services} services and ${limits.routes} routes of each have their own numbers; what is read every ${state.interval_seconds} s is kept for ${limits.minutes} minutes. At most ${limits.listeners} pages can be open at once.`);
  tell();
}

function nameInAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

/** The line at the top, and the banner where something is wrong. */
function tell() {
  const { state } = view;
  const away = state?.envoys.filter((envoy) => !envoy.up) ?? [];
  const isSilent = !link.isOpen;
  const allAway = state !== null && away.length > 0 && away.length === state.envoys.length;
  let kind = "ok", mark = "●", text, title = "", more = "";
  if (isSilent) {
    kind = state ? "bad" : "wait";
    mark = state ? "▲" : "○";
    text = state ? `The bridge does not answer since ${clock(link.lost)}` : "Waiting for the bridge";
    title = text;
    more = "Numbers are from before. This page tries again by itself.";
  } else if (!state?.at) {
    kind = "wait";
    mark = "○";
    text = "Waiting for the first read of Envoy";
  } else if (away.length > 0) {
    kind = "bad";
    mark = "▲";
    text = allAway ? `Envoy cannot be read since ${clock(away[0].since)}` : `${away.length} of ${state.envoys.length} Envoys cannot be read`;
    title = text;
    more = away.map((envoy) => `${envoy.name ? `${envoy.name}, since ${clock(envoy.since)}: ` : ""}${envoy.error}`).join("; ");
    if (allAway) more += ". Numbers are from before.";
  } else {
    text = `Envoy read ${ago(Date.now() - link.heard)} ago, data since ${clock(state.since)}`;
  }
  $("state").dataset.kind = kind;
  say($("state").firstElementChild, mark);
  say($("state-text"), text);
  const isWrong = title !== "" && kind === "bad";
  $("away").hidden = !isWrong;
  say($("away-title"), isWrong ? title : "");
  say($("away-text"), isWrong ? more : "");
  document.body.classList.toggle("old", (isSilent && state !== null) || allAway);
  announce(kind, title);
}

let announced = "wait";
function announce(kind, title) {
  const now = kind + title;
  if (now === announced || kind === "wait") return;
  // The first good state is no news.
  if (!(kind === "ok" && announced === "wait")) say($("said"), kind === "ok" ? "Envoy is read again" : title);
  announced = now;
}

// --- the bridge -------------------------------------------------------------

function listen() {
  const events = new EventSource("/live/events");
  events.addEventListener("open", () => {
    link.isOpen = true;
    tell();
  });
  events.addEventListener("restart", () => past.clear());
  events.addEventListener("points", (event) => past.add(JSON.parse(event.data)));
  events.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    link.heard = Date.now();
    if (view.state && state.at !== view.state.at) {
      ticksBefore = { at: view.state.at, services: new Map(view.state.services.map((s) => [s.name, s.health.ticks])) };
    }
    view.state = state;
    view.ticks = null;
    render();
    const before = ticksBefore?.services.get(view.chosen);
    const ticks = view.service?.health.ticks ?? null;
    if (before !== undefined && before !== null && ticks !== null && ticks >= before && state.at > ticksBefore.at) {
      view.ticks = ((ticks - before) * 1000) / (state.at - ticksBefore.at);
      detail.health.show(view);
    }
    // One mark, for whoever measures this page.
    performance.clearMarks("state");
    performance.mark("state", { detail: state.at });
  });
  events.addEventListener("error", () => {
    if (link.isOpen) link.lost = Date.now();
    link.isOpen = false;
    tell();
    // A refusal ends it for good; a lost connection it takes up by itself.
    if (events.readyState === EventSource.CLOSED) {
      events.close();
      setTimeout(listen, 5000);
    }
  });
}

// --- keys -------------------------------------------------------------------

const keysOn = $("keys");
keysOn.checked = stored.get("keys") !== "off";
keysOn.addEventListener("change", () => stored.set("keys", keysOn.checked ? "on" : "off"));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || $("help").open) return;
  const { target, key } = event;
  const isWriting = target instanceof HTMLElement && (target.isContentEditable || target.matches("input:not([type=radio]):not([type=checkbox]), textarea, select"));
  if (isWriting) return;
  const isFree = target === document.body || target === $("detail") || $("services").contains(target);
  if ((key === "ArrowDown" || key === "ArrowUp") && isFree && view.state?.services.length) {
    const count = view.state.services.length;
    const step = key === "ArrowDown" ? 1 : count - 1;
    chooseByNumber((view.number + step) % count, true);
    event.preventDefault();
  } else if (key === "Escape" && view.row !== null) {
    view.row = null;
    render();
  } else if (!keysOn.checked) {
    return;
  } else if (/^[1-9]$/.test(key)) {
    chooseByNumber(Number(key) - 1, true);
  } else if (key === "?") {
    $("help").showModal();
  } else if (key === "r") {
    setRange((view.range + 1) % 3);
  } else if (key === "t") {
    $("theme").click();
  }
});

$("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  stored.set("theme", theme);
  setTheme(theme);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
  if (!stored.get("theme")) setTheme(event.matches ? "dark" : "light");
});
$("help-open").addEventListener("click", () => $("help").showModal());
$("ranges").addEventListener("change", (event) => setRange(Number(event.target.value)));
addEventListener("hashchange", () => {
  view.chosen = null;
  render();
});

nameTheme();
setRange(view.range);
setInterval(tell, 1000);
listen();
