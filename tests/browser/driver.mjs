// Drives Chromium for pytest: one JSON object a line in, one a line out. Started by chromium.py.

import { createInterface } from 'node:readline';
import axe from 'axe-core';
import { chromium } from 'playwright-core';

const [executablePath, userDataDir] = process.argv.slice(2);
const browser = await chromium.launchPersistentContext(userDataDir, {
  executablePath,
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
});
const engine = browser.browser();
const pages = [];
const answers = {};

/** Listen to everything a page could complain about. */
function watch(page) {
  page.complaints = [];
  page.asked = [];
  page.on('console', (message) => {
    if (['error', 'warning', 'assert'].includes(message.type())) {
      page.complaints.push(`${message.type()}: ${message.text()} (${message.location().url})`);
    }
  });
  page.on('pageerror', (error) => page.complaints.push(`thrown: ${error.stack ?? error}`));
  page.on('crash', () => page.complaints.push('crashed'));
  page.on('dialog', (dialog) => {
    page.complaints.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('request', (request) => page.asked.push(request.url()));
}

const verbs = {
  /** A new page with cookies and storage of its own; answers its number. */
  async open({ options }) {
    const context = engine ? await engine.newContext(options) : browser;
    const page = await context.newPage();
    watch(page);
    return pages.push(page) - 1;
  },
  /** Any method of Playwright's Page, nested ones by dots: `keyboard.press`. */
  async call({ page, method, args }) {
    const path = method.split('.');
    const name = path.pop();
    const target = path.reduce((object, each) => object[each], pages[page]);
    const answer = await target[name](...args);
    const plain = answer === null || ['string', 'number', 'boolean'].includes(typeof answer);
    return plain || name === 'evaluate' ? answer : undefined;
  },
  /** Wait until an expression is true. Playwright's own way evaluates inside the page, which our CSP forbids. */
  async until({ page, expression, patience }) {
    const end = Date.now() + patience;
    for (;;) {
      if (await pages[page].evaluate(expression)) return;
      if (Date.now() > end) throw new Error(`not true within ${patience} ms: ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
  /** What was complained about since the last time. */
  async complaints({ page }) {
    return pages[page].complaints.splice(0);
  },
  /** Every address that was asked for. */
  async asked({ page }) {
    return pages[page].asked;
  },
  /** Answer requests to addresses that begin so in the server's place; without an answer: no longer. */
  async answer({ page, address, answer }) {
    answers[address] ??= (url) => url.href.startsWith(address);
    if (answer) await pages[page].route(answers[address], (route) => route.fulfill(answer));
    else await pages[page].unroute(answers[address]);
  },
  /** axe-core's violations. */
  async axe({ page }) {
    await pages[page].evaluate(axe.source);
    return pages[page].evaluate(async () => {
      // What is fading in has no colour of its own yet.
      for (const each of document.getAnimations()) if (each.effect.getTiming().iterations !== Infinity) each.finish();
      const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
      return violations.map(({ id, impact, help, nodes }) => ({
        id, impact, help, nodes: nodes.slice(0, 5).map((each) => `${each.target.join(' ')}: ${each.failureSummary}`),
      }));
    });
  },
  async close({ page }) {
    await pages[page].context().close();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { verb, ...parameters } = JSON.parse(line);
  let answer;
  try {
    answer = { value: await verbs[verb](parameters) };
  } catch (error) {
    answer = { error: String(error.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
