// The page of `transom demo` in Chromium over TLS, by HTTP/2 and by HTTP/3, and WebSockets from it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { NO_QUIC, launch, onlyQuic, opened, trusting } from "./chromium.js";
import { CALL_MS, demo } from "./harness.js";

const WAYS = {
  "HTTP/2": { protocol: "h2", flags: () => NO_QUIC, socket: "HTTP/2" },
  // Chromium knows no WebSocket over HTTP/3; without a connection of HTTP/2 at hand it opens one of HTTP/1.1.
  "HTTP/3": { protocol: "h3", flags: onlyQuic, socket: "HTTP/1.1" },
};
const DIALECTS = ["REST", "Connect", "gRPC-Web"];
const known = { timeout: 2 * CALL_MS };

for (const [how, way] of Object.entries(WAYS)) describe(`the demo's page in Chromium by ${how}`, () => suite(way));

function suite({ protocol, flags, socket }) {
  let gateway, browser, tab;
  const errors = [];
  before(async () => {
    gateway = await demo();
    browser = await launch(...(await trusting(gateway.tls)), ...flags(gateway.tls));
    tab = await opened(browser);
    tab.page.on("pageerror", (error) => errors.push(error));
    await tab.page.goto(`https://${gateway.tls}/demo`);
  }, known);
  after(async () => {
    await browser?.close();
    await gateway?.stop();
  }, known);

  /** Presses a button of the page; how the call ended in each dialect. */
  async function ended(ask, dialects) {
    await tab.page.click(`[data-ask=${ask}]`);
    const statuses = dialects.map(async (dialect) => {
      const status = tab.page.locator(`.panel[aria-label="${dialect}"] .status:not(.wait)`);
      await status.waitFor({ timeout: CALL_MS });
      return await status.textContent();
    });
    return await Promise.all(statuses);
  }

  test("a call in every dialect", known, async () => {
    assert.deepEqual(await ended("book", DIALECTS), ["OK", "OK", "OK"]);
    assert.deepEqual(await tab.page.locator(".panel h3").allTextContents(), Array(3).fill("The Lamp at Transom Point"));
  });

  test("an error in every dialect", known, async () => {
    assert.deepEqual(await ended("missing", DIALECTS), Array(3).fill("NOT_FOUND"));
  });

  test("a stream in every dialect, and by EventSource", known, async () => {
    const streamed = [...DIALECTS, "Server-sent events"];
    assert.deepEqual(await ended("read", streamed), Array(4).fill("OK"));
    assert.equal(await tab.page.locator(".panel li").count(), 4 * 8);
  });

  test("streams that are stopped", known, async () => {
    await tab.page.click("[data-ask=read]");
    await tab.page.locator(".panel li").first().waitFor({ timeout: CALL_MS });
    await tab.page.click("#stop");
    await tab.page.locator(".panel .status:not(.wait)").nth(3).waitFor({ timeout: CALL_MS });
    const statuses = await tab.page.locator(".panel .status").allTextContents();
    assert.deepEqual(statuses, Array(4).fill("CANCELLED"));
  });

  test(`every answer came by ${protocol}`, known, async () => {
    const entries = await tab.page.evaluate(() =>
      [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].map((entry) => [
        new URL(entry.name).pathname,
        entry.nextHopProtocol,
      ]),
    );
    const paths = entries.map(([path]) => path);
    const methods = ["GetBook", "ReadBook"].map((method) => `/transom.demo.v1.Library/${method}`);
    const called = ["/demo", "/demo/page.js", "/v1/shelves", ...methods];
    for (const path of called) assert.ok(paths.includes(path), `${path} in ${paths}`);
    assert.deepEqual(entries.filter(([, used]) => used !== protocol), []);
    assert.deepEqual(errors, []);
  });

  test(`a WebSocket, by ${socket}`, known, async () => {
    const answered = new Promise((resolve) => tab.network.once("Network.webSocketHandshakeResponseReceived", resolve));
    const talk = await tab.page.evaluate(
      () =>
        new Promise((resolve) => {
          const socket = new WebSocket(`wss://${location.host}/v1/discuss`);
          const answers = [];
          socket.onopen = () => socket.send(JSON.stringify({ id: "a", text: "Is it raining?", times: 2 }));
          // The empty message ends the stream. Over HTTP/2 Chromium 156 keeps it back, whatever the server is, where
          // it comes right after another one.
          socket.onmessage = ({ data }) => answers.push(JSON.parse(data).number) === 2 && socket.send("");
          socket.onclose = ({ code, wasClean }) => resolve({ answers, code, wasClean });
        }),
    );
    assert.deepEqual(talk, { answers: ["1", "2"], code: 1000, wasClean: true });
    // Extended CONNECT is answered by 200 (RFC 8441), an upgrade by 101.
    const { response } = await answered;
    assert.equal(response.status, socket === "HTTP/2" ? 200 : 101);
  });
}
