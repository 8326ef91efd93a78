// Takes a picture of Prometheus' page of graphs. `make screenshots` runs it:
//
//   node prometheus.mjs URL TOOLS CHROMIUM FILE
//
// URL names the graphs, TOOLS is the folder of the packages from npm.

import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const [url, tools, executablePath, file] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(`${tools}/playwright-core`);

const browser = await chromium.launch({
  executablePath,
  // As in e2e/src/browser.rs.
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
});
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await page.goto(url);
  const graphs = [...new URL(url).searchParams.keys()].filter((key) => key.endsWith(".expr")).length;
  // Each is drawn as SVG, or on a canvas, as Prometheus' version has it.
  await page.waitForFunction((count) => document.querySelectorAll(".rickshaw_graph svg, .graph canvas, .uplot canvas").length >= count, graphs);
  await sleep(1000);
  await page.screenshot({ path: file, fullPage: true, animations: "disabled" });
} finally {
  await browser.close();
}
