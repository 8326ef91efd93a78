// Visits the live page in Chromium by Playwright and says what it finds, as one
// line of JSON after `result `. The tests and `make screenshots` run it:
//
//   node live_page.mjs WHAT URL TOOLS CHROMIUM [FILE]
//
// WHAT is a function below; TOOLS is the folder of the packages from npm. `open`
// is said when the page is there and shows that Envoy is read; a visit that has a
// FILE then waits for that file before it goes on.

import { access, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const [what, url, tools, executablePath, file] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(`${tools}/playwright-core`);
const axe = await readFile(`${tools}/axe-core/axe.min.js`, "utf8");

const PATIENCE = 30_000;
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 360, height: 740 };

const browser = await chromium.launch({
  executablePath,
  // As in e2e/src/browser.rs.
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
});

/** A page of its own, with all that goes wrong on it in `complaints`. */
async function visit(options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`error: ${error.stack}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) complaints.push(`request to ${request.url()}`);
  });
  await page.addInitScript(() => {
    window.violations = [];
    addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(url);
  await page.waitForSelector('#state[data-kind="ok"]');
  await page.waitForSelector("#services button");
  return { page, complaints };
}

/** Waits until `holds` gives something for the page, with a limit. */
async function until(page, name, holds, argument) {
  const handle = await page.waitForFunction(holds, argument).catch(() => {
    throw new Error(`not within ${PATIENCE / 1000} s: ${name}`);
  });
  return handle.jsonValue();
}

async function fileIsThere() {
  const end = Date.now() + 4 * PATIENCE;
  while (Date.now() < end) {
    if (await access(file).then(() => true, () => false)) return;
    await sleep(50);
  }
  throw new Error(`${file} did not come`);
}

/** What axe finds, and whether the page is wider than its window. */
async function faults(page, name) {
  const found = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] })`);
  const faults = found.violations.map((violation) =>
    `${name}: ${violation.id}: ${violation.help}: ${violation.nodes.map((node) => `${node.target} ${node.failureSummary}`).slice(0, 3).join("; ")}`);
  if (found.passes.length + found.incomplete.length === 0) faults.push(`${name}: axe checked nothing`);
  const [width, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (width > window) faults.push(`${name}: ${width} pixels wide in ${window}`);
  faults.push(...(await page.evaluate(() => window.violations)).map((violation) => `${name}: policy: ${violation}`));
  return faults;
}

/** Both themes, phone width, and everything that opens. */
async function looks() {
  const all = [];
  for (const [name, options] of [
    ["light", { viewport: DESKTOP, colorScheme: "light" }],
    ["dark", { viewport: DESKTOP, colorScheme: "dark" }],
    ["phone", { viewport: PHONE, colorScheme: "light", reducedMotion: "reduce" }],
    ["dark phone", { viewport: PHONE, colorScheme: "dark", reducedMotion: "reduce" }],
  ]) {
    const { page, complaints } = await visit(options);
    const theme = await page.evaluate(() => document.documentElement.dataset.theme);
    if (theme !== options.colorScheme) all.push(`${name}: the theme is ${theme}`);
    all.push(...(await faults(page, name)));
    for (const summary of await page.locator(".values:visible > summary").all()) await summary.click();
    await page.locator(".route").first().click();
    all.push(...(await faults(page, `${name}, tables open`)));
    await page.keyboard.press("?");
    await page.waitForSelector("#help[open]");
    all.push(...(await faults(page, `${name}, help open`)));
    if (options.reducedMotion) {
      const moving = await page.evaluate(() => document.getAnimations().length
        + [...document.querySelectorAll("*")].filter((node) => getComputedStyle(node).transitionDuration !== "0s").length);
      if (moving > 0) all.push(`${name}: ${moving} elements move`);
    }
    all.push(...complaints.map((complaint) => `${name}: ${complaint}`));
  }
  return { faults: all };
}

/** What a keyboard alone can do. */
async function keyboard() {
  const { page, complaints } = await visit({ viewport: DESKTOP, colorScheme: "light" });
  const steps = {};
  const focus = () => page.evaluate(() => {
    const { activeElement: at } = document;
    const { outlineStyle, top } = getComputedStyle(at);
    return { text: at.textContent.trim(), id: at.id, value: at.value, isMarked: outlineStyle !== "none" || at.matches("input") || top === "8px" };
  });
  const chosen = () => page.evaluate(() => [...document.querySelectorAll('#services [aria-current="true"] strong')].map((node) => node.textContent).join());
  const title = () => page.textContent("main h2");
  const names = await page.locator("#services strong").allTextContents();
  await page.keyboard.press("Tab");
  steps.skip = (await focus()).text === "Skip to the numbers";
  await page.keyboard.press("Enter");
  steps.skipped = (await focus()).id === "detail";
  await page.keyboard.press("2");
  steps.number = (await chosen()) === names[1] && (await title()) === names[1];
  await page.keyboard.press("ArrowDown");
  steps.down = (await chosen()) === names[2] && (await focus()).text.includes(names[2]);
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowUp");
  steps.up = (await chosen()) === names[0] && (await focus()).isMarked;
  // Everything that can be used is reached, in order, and is marked.
  let isMarked = true;
  const seen = [];
  for (let press = 0; press < 80; press++) {
    await page.keyboard.press("Tab");
    const at = await focus();
    if (at.text.startsWith("Skip")) break;
    isMarked &&= at.isMarked;
    seen.push(at.text || at.id || at.value);
  }
  steps.marked = isMarked;
  steps.reached = ["Busiest", "Slowest", "Most failing", "Values as a table"].every((text) => seen.includes(text));
  await page.locator(".presets button", { hasText: "Slowest" }).focus();
  await page.keyboard.press("Enter");
  steps.sorted = (await page.getAttribute(".routes th:nth-child(6)", "aria-sort")) === "descending";
  await page.locator(".route").first().focus();
  await page.keyboard.press("Enter");
  steps.route = (await title()).includes("/");
  await page.keyboard.press("Escape");
  steps.back = (await title()) === names[0];
  await page.keyboard.press("r");
  steps.range = await page.isChecked('#ranges input[value="2"]');
  await page.keyboard.press("t");
  steps.theme = (await page.evaluate(() => document.documentElement.dataset.theme)) === "dark";
  await page.keyboard.press("?");
  steps.help = await page.locator("#help").isVisible();
  await page.keyboard.press("Escape");
  steps.closed = !(await page.locator("#help").isVisible());
  await page.reload();
  await page.waitForSelector("#services button");
  steps.kept = (await page.evaluate(() => document.documentElement.dataset.theme)) === "dark" && (await page.isChecked('#ranges input[value="2"]'));
  steps.quiet = complaints.length === 0;
  return { steps, seen, complaints };
}

/** All numbers of every service over 15 minutes, once `file` is there. */
async function numbers() {
  const { page, complaints } = await visit({ viewport: DESKTOP });
  console.log("open");
  await fileIsThere();
  // The state that is shown then may be from before; the second after it is not.
  for (let read = 0; read < 2; read++) {
    const before = await page.evaluate(() => performance.getEntriesByName("state")[0].detail);
    await until(page, "the bridge tells of another read", (before) => performance.getEntriesByName("state")[0].detail > before, before);
  }
  await page.locator('#ranges input[value="2"]').check({ force: true });
  const services = {};
  const values = (root) => page.evaluate((root) => Object.fromEntries([...document.querySelectorAll(`${root} data[id]`)].map((node) => [node.id, node.value])), root);
  for (const button of await page.locator("#services button").all()) {
    await button.click();
    const name = await page.textContent("main h2");
    const routes = await page.evaluate(() => [...document.querySelectorAll(".routes tbody tr")].map((row) => ({
      name: row.dataset.route,
      ...Object.fromEntries([...row.querySelectorAll("data")].map((node) => [node.className.split(" ")[0], node.value])),
    })));
    services[name] = { ...(await values("main")), routes };
  }
  return { services, complaints };
}

/** What the page says once Envoy is gone. */
async function outage() {
  const { page } = await visit({ viewport: DESKTOP });
  console.log("open");
  await fileIsThere();
  const start = Date.now();
  await page.waitForSelector("#away:not([hidden])");
  return {
    after_ms: Date.now() - start,
    state: await page.textContent("#state-text"),
    title: await page.textContent("#away-title"),
    text: await page.textContent("#away-text"),
    said: await page.textContent("#said"),
    is_marked: await page.evaluate(() => document.body.classList.contains("old")),
    faults: await faults(page, "away"),
  };
}

/** What a page shows where there was no request. */
async function quiet() {
  const { page, complaints } = await visit({ viewport: DESKTOP });
  return { text: await page.textContent(".quiet"), is_shown: await page.locator(".quiet").isVisible(), faults: await faults(page, "quiet"), complaints };
}

/** What hostile names become: text, in every place where a name stands. */
async function names() {
  const { page, complaints } = await visit({ viewport: PHONE });
  for (const summary of await page.locator(".values:visible > summary").all()) await summary.click();
  const path = await page.textContent(".routes .path");
  await page.locator(".route").first().click();
  await page.waitForSelector("h2.is-route");
  await page.keyboard.press("Escape");
  return {
    service: await page.textContent("#services strong"),
    path,
    title: await page.title(),
    made: await page.locator("main img, main script, nav img, nav script, [onerror]").count(),
    faults: await faults(page, "names"),
    complaints,
  };
}

/** Pictures for the documentation, in the folder `file`. */
async function pictures() {
  for (const [name, options] of [
    ["live-light", { viewport: { width: 1280, height: 1000 }, colorScheme: "light" }],
    ["live-dark", { viewport: { width: 1280, height: 1000 }, colorScheme: "dark" }],
    ["live-phone", { viewport: { width: 360, height: 900 }, colorScheme: "light", deviceScaleFactor: 2 }],
  ]) {
    const { page } = await visit(options);
    await page.evaluate(() => document.fonts.ready);
    await sleep(500);
    await page.screenshot({ path: `${file}/${name}.png`, animations: "disabled" });
  }
  return {};
}

try {
  const result = await { looks, keyboard, numbers, outage, quiet, names, pictures }[what]();
  console.log(`result ${JSON.stringify(result)}`);
} catch (error) {
  console.log(`failed ${error.stack}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
