// The page of examples/web in Chromium, which asks a gateway of another origin before it calls it: in the clear, and
// over HTTP/3.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { NO_QUIC, launch, onlyQuic, opened as openedIn, trusting } from "./chromium.js";
import { CALL_MS, demo, serve, until } from "./harness.js";

const CLIENTS = {
  "grpc-web, binary": { type: "application/grpc-web+proto", holdsStreams: true },
  "grpc-web, text": { type: "application/grpc-web-text" },
  "connect-web, Connect with JSON": { type: "application/json", streams: "application/connect+json" },
  "connect-web, Connect with protobuf": { type: "application/proto", streams: "application/connect+proto" },
  "connect-web, Connect by GET": { get: true, streams: "application/connect+json" },
  "connect-web, gRPC-Web": { type: "application/grpc-web+proto" },
};

// Each starts a gateway that answers pages of that origin, and says where it is and how it is to be reached.
const WAYS = {
  "in the clear": {
    protocol: "http/1.1",
    async start(origin) {
      const gateway = await serve({ cors: { origins: [origin], max_age: "1h" } });
      return { ...gateway, base: `http://${gateway.address}`, flags: NO_QUIC };
    },
  },
  "over HTTP/3": {
    protocol: "h3",
    async start() {
      const gateway = await demo(); // which answers every page
      const flags = [...(await trusting(gateway.tls)), ...onlyQuic(gateway.tls)];
      return { ...gateway, base: `https://${gateway.tls}`, flags };
    },
  },
};

const known = { timeout: 2 * CALL_MS };

/** Serves the page at an origin of its own. */
async function site() {
  const types = { html: "text/html", js: "text/javascript" };
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    const name = pathname === "/" ? "index.html" : pathname.slice(1);
    if (!["index.html", "page.js"].includes(name)) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": types[name.split(".")[1]] });
    response.end(await readFile(join(process.env.PAGE, name)));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { origin: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

/** What the backend has seen: asked by REST in the clear, which no other call of these tests uses. */
async function inspect(gateway) {
  return await (await fetch(`http://${gateway.address}/v1/inspect`)).json();
}

for (const [how, way] of Object.entries(WAYS)) describe(`a page in Chromium, ${how}`, () => pages(way));

function pages(way) {
  let home, stranger, gateway, browser;
  before(async () => {
    [home, stranger] = [await site(), await site()];
    gateway = await way.start(home.origin);
    browser = await launch(...gateway.flags);
  }, known);
  after(async () => {
    await browser?.close();
    await gateway?.stop();
    home?.stop();
    stranger?.stop();
  }, known);

  for (const [client, expected] of Object.entries(CLIENTS)) {
    describe(client, () => suite(client, expected));
  }

  if (way === WAYS["in the clear"]) test("a page of a stranger is not answered", known, async () => {
    const page = await opened(stranger.origin, "connect-web, Connect with JSON");
    const log = await page.called("unary");
    assert.match(log, /^(Unknown|Unavailable): .*fetch/);
    assert.ok(page.preflights.length > 0, "it has not asked");
    await page.close();
  });

  /** The page with a client chosen, in a browser of its own; it records what is asked and called. */
  async function opened(origin, client) {
    const { page, network, close } = await openedIn(browser);
    const seen = { preflights: [], requests: [], protocols: [], errors: [] };
    const isCall = ({ url }) => url.startsWith(`${gateway.base}/`);
    network.on("Network.requestWillBeSent", ({ request, type }) => {
      if (!isCall(request)) return;
      (type === "Preflight" || request.method === "OPTIONS" ? seen.preflights : seen.requests).push(request);
    });
    network.on("Network.responseReceived", ({ response }) => {
      if (isCall(response)) seen.protocols.push(response.protocol);
    });
    page.on("pageerror", (error) => seen.errors.push(error));
    await page.goto(`${origin}/?gateway=${encodeURIComponent(gateway.base)}`);
    await page.selectOption("#client", client);
    const log = page.locator("#log");
    const click = async (call) => await page.click(`[data-call=${call}]`);
    const says = async (text) => await log.filter({ hasText: text }).waitFor({ timeout: CALL_MS });
    const ended = async () => {
      await page.locator("#log[data-state=ended]").waitFor({ timeout: CALL_MS });
      if (process.env.SCREENSHOTS) {
        const name = `${client}-${await log.getAttribute("data-state")}-${seen.requests.length}.png`;
        await page.screenshot({ path: join(process.env.SCREENSHOTS, name) });
      }
      return await log.textContent();
    };
    const called = async (call) => {
      await click(call);
      return await ended();
    };
    const stop = async () => await page.click("#stop");
    return { ...seen, click, says, ended, called, stop, close };
  }

  function suite(client, { type, streams = type, get = false, holdsStreams = false }) {
    let page;
    before(async () => (page = await opened(home.origin, client)), known);
    after(async () => {
      await page?.close();
      assert.deepEqual(page.errors, []);
      assert.ok(page.protocols.length >= 5, "answers of all calls are seen");
      assert.deepEqual([...new Set(page.protocols)], [way.protocol]);
    }, known);
    const sent = (call) => page.requests.filter(({ url }) => new URL(url).pathname.endsWith(`/${call}`));
    const typeOf = (request) => request.headers["Content-Type"] ?? request.headers["content-type"];

    test(`a unary call, ${get ? "for which nobody has to be asked" : "after a preflight"}`, known, async () => {
      const book = "“The Lamp at Transom Point” by Ines Halloran, sold 9007199254740993 times";
      assert.equal(await page.called("unary"), `${book}\nended\n`);
      const [request] = sent("GetBook");
      assert.equal(request.method, get ? "GET" : "POST");
      if (!get) assert.equal(typeOf(request), type);
      const asked = page.preflights.filter(({ url }) => new URL(url).pathname.endsWith("/GetBook"));
      assert.equal(asked.length, get ? 0 : 1);
    });

    test("an error with details", known, async () => {
      const log = await page.called("missing");
      assert.equal(log, "NotFound: no book shelves/harbour/books/nope\nbecause BOOK_NOT_FOUND\n");
    });

    test("what the gateway refuses", known, async () => {
      const log = await page.called("unpublished");
      assert.match(log, /^Unimplemented: no method .*\nbecause METHOD_UNKNOWN\n$/);
    });

    test("a server stream", known, async () => {
      const log = await page.called("stream");
      assert.deepEqual(log.match(/^page \d+/gm), ["page 1", "page 2", "page 3", "page 4", "page 5", "page 6"]);
      assert.match(log, /\nended\n$/);
      assert.equal(typeOf(sent("ReadBook")[0]), streams);
    });

    test("a cancelled stream ends at the service too", known, async () => {
      const { running = "0", cancelled = "0" } = await inspect(gateway);
      await page.click("watch");
      // Google's binary format shows nothing before the end, so the service is asked whether it runs.
      if (holdsStreams) await until("it runs", async () => Number((await inspect(gateway)).running) > Number(running));
      else await page.says("event 1: shelves/harbour/books/");
      await page.stop();
      assert.match(await page.ended(), /Canceled: /);
      await until("it ends", async () => Number((await inspect(gateway)).cancelled ?? 0) > Number(cancelled));
    });
  }
}
