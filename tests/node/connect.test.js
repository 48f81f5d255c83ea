// @connectrpc/connect-node: Connect, gRPC and gRPC-Web, with protobuf and JSON, over HTTP/1.1 and HTTP/2.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Code, ConnectError, createClient, decodeBinaryHeader, encodeBinaryHeader } from "@connectrpc/connect";
import {
  compressionBrotli,
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import { all, CALL_MS, GATEWAYS, LAMP, until } from "./harness.js";
import { ErrorInfo, Library, ResourceInfo } from "./library.js";

const h1 = { httpVersion: "1.1" };
const h2 = { httpVersion: "2" };
const json = { useBinaryFormat: false };
const proto = { useBinaryFormat: true };
const gzip = { sendCompression: compressionGzip, acceptCompression: [compressionGzip], compressMinBytes: 0 };
const br = { sendCompression: compressionBrotli, acceptCompression: [compressionBrotli], compressMinBytes: 0 };

const TRANSPORTS = [
  { make: createConnectTransport, options: { ...h1, ...proto } },
  { make: createConnectTransport, options: { ...h1, ...json, ...gzip } },
  { make: createConnectTransport, options: { ...h2, ...proto, ...br } },
  { make: createConnectTransport, options: { ...h2, ...json } },
  { make: createConnectTransport, options: { ...h1, ...proto, useHttpGet: true } },
  { make: createConnectTransport, options: { ...h2, ...json, ...gzip, useHttpGet: true } },
  { make: createGrpcTransport, options: { ...h2, ...proto } },
  { make: createGrpcTransport, options: { ...h2, ...json } },
  { make: createGrpcTransport, options: { ...h2, ...proto, ...gzip } },
  { make: createGrpcTransport, options: { ...h2, ...json, ...gzip } },
  { make: createGrpcWebTransport, options: { ...h1, ...proto } },
  { make: createGrpcWebTransport, options: { ...h1, ...json, ...gzip } },
  { make: createGrpcWebTransport, options: { ...h2, ...proto, ...gzip } },
  { make: createGrpcWebTransport, options: { ...h2, ...json } },
];

function nameOf({ make, options }) {
  const protocol = make.name.replace(/^create|Transport$/g, "");
  const coding = options.sendCompression?.name ?? "identity";
  const get = options.useHttpGet ? " by GET" : "";
  return `${protocol}${get}, HTTP/${options.httpVersion}, ${options.useBinaryFormat ? "proto" : "json"}, ${coding}`;
}

/** The error that a call fails with. */
async function failed(call) {
  const error = await call.then(() => assert.fail("the call has not failed"), (error) => error);
  assert.ok(error instanceof ConnectError, String(error?.stack ?? error));
  return error;
}

/** All that a generator of messages gives. */
async function* stream(...messages) {
  yield* messages;
}

const known = { timeout: CALL_MS };

for (const [where, start] of Object.entries(GATEWAYS)) {
  describe(`transom ${where}`, () => {
    let gateway;
    before(async () => (gateway = await start()), known);
    after(async () => await gateway?.stop(), known);

    for (const kind of TRANSPORTS) {
      describe(nameOf(kind), () => suite(kind, () => gateway.address));
    }
  });
}

function suite({ make, options }, address) {
  const bidi = options.httpVersion === "2";
  const timeout = make === createConnectTransport ? ["connect-timeout-ms", "200"] : ["grpc-timeout", "200m"];
  let sessions, transport, library;

  before(() => {
    const baseUrl = `http://${address()}`;
    sessions = bidi ? new Http2SessionManager(baseUrl) : undefined;
    transport = make({ ...options, baseUrl, sessionManager: sessions });
    library = createClient(Library, transport);
  });
  after(() => sessions?.abort());

  test("unary", known, async () => {
    const book = await library.getBook({ name: LAMP });
    assert.equal(book.author, "Ines Halloran");
    assert.equal(book.copiesSold, 9007199254740993n);
  });

  test("server stream, with what comes before and after it", known, async () => {
    let head, end;
    const pages = await all(
      library.readBook({ name: LAMP }, { onHeader: (h) => (head = h), onTrailer: (t) => (end = t) }),
    );
    assert.deepEqual(pages.map((page) => page.number), Array.from({ length: 12 }, (_, n) => n + 1));
    assert.equal(head.get("x-library"), "open");
    assert.equal(end.get("x-library-trailer"), "mind the step");
  });

  test("long server stream", known, async () => {
    let last = 0;
    for await (const page of library.readBook({ name: LAMP, pages: 3000 })) last = page.number;
    assert.equal(last, 3000);
  });

  test("client stream", known, async () => {
    const books = Array.from({ length: 300 }, (_, n) => ({ parent: "shelves/nowhere", book: { title: `B${n}` } }));
    const done = await library.importBooks(stream(...books));
    assert.deepEqual([done.imported, done.rejected, done.problems.length], [0, 300, 10]);
    assert.equal(done.problems[0], "no shelf shelves/nowhere");
  });

  test("empty client stream", known, async () => {
    const done = await library.importBooks(stream());
    assert.deepEqual([done.imported, done.rejected], [0, 0]);
  });

  if (bidi) {
    test("each remark is only said when the one before it was answered", known, async () => {
      const turns = [];
      let answered;
      async function* remarks() {
        for (let turn = 1; turn <= 20; turn++) {
          const heard = new Promise((resolve) => (answered = resolve));
          yield { id: String(turn), text: "Is it raining?" };
          await heard;
        }
      }
      for await (const answer of library.discuss(remarks())) {
        turns.push([answer.id, answer.number, answer.text]);
        answered();
      }
      const text = "Who can say? Is it raining?";
      assert.deepEqual(turns, Array.from({ length: 20 }, (_, n) => [String(n + 1), BigInt(n + 1), text]));
    });

    test("an error after messages", known, async () => {
      const remarks = stream({ id: "a", text: "so", times: 3 }, { id: "b", text: "lost", failWith: 15 });
      const numbers = [];
      const error = await failed((async () => {
        for await (const answer of library.discuss(remarks)) numbers.push(Number(answer.number));
      })());
      assert.deepEqual(numbers, [1, 2, 3]);
      assert.deepEqual([error.code, error.rawMessage], [Code.DataLoss, "lost"]);
    });
  }

  test("metadata both ways", known, async () => {
    const headers = new Headers({ "x-one": "1", "x-raw-bin": encodeBinaryHeader(new Uint8Array([0, 255, 44])) });
    for (const [key, value] of [["x-echo-n", "first"], ["x-echo-n", "second"], ["x-trail-t", "one"]]) {
      headers.append(key, value);
    }
    headers.set("x-echo-b-bin", encodeBinaryHeader(new Uint8Array([128, 0])));
    headers.set("x-trail-b-bin", encodeBinaryHeader(new Uint8Array([254])));
    let head, end;
    const reply = await library.inspect({}, { headers, onHeader: (h) => (head = h), onTrailer: (t) => (end = t) });
    const seen = (key) => reply.metadata.filter((entry) => entry.key === key).map((entry) => [...entry.value]);
    assert.deepEqual(seen("x-one"), [[49]]);
    assert.deepEqual(seen("x-raw-bin"), [[0, 255, 44]]);
    assert.equal(head.get("x-library"), "open");
    assert.equal(head.get("x-echo-n"), "first, second");
    assert.deepEqual([...decodeBinaryHeader(head.get("x-echo-b-bin"))], [128, 0]);
    assert.equal(end.get("x-library-trailer"), "mind the step");
    assert.equal(end.get("x-trail-t"), "one");
    assert.deepEqual([...decodeBinaryHeader(end.get("x-trail-b-bin"))], [254]);
    assert.equal(head.get("x-trail-t"), null);
    assert.equal(end.get("x-echo-n"), null);
  });

  test("an error with details", known, async () => {
    const name = "shelves/harbour/books/nope";
    const error = await failed(library.getBook({ name }));
    assert.deepEqual([error.code, error.rawMessage], [Code.NotFound, `no book ${name}`]);
    const [info] = error.findDetails(ErrorInfo);
    assert.deepEqual([info.reason, info.domain], ["BOOK_NOT_FOUND", "library.transom.demo"]);
    const [resource] = error.findDetails(ResourceInfo);
    assert.deepEqual([resource.resourceType, resource.resourceName], ["transom.demo.v1.Book", name]);
  });

  test("every code, and messages exactly", known, async () => {
    for (const text of ["why", "50 % off, 100%25", "naïve – 日本語 🌧"]) {
      for (let failWith = 1; failWith <= 16; failWith++) {
        const error = await failed(library.inspect({ failWith, text }));
        assert.deepEqual([error.code, error.rawMessage], [failWith, text]);
      }
    }
  });

  test("an error's metadata", known, async () => {
    const error = await failed(library.inspect({ failWith: 10 }, { headers: { "x-trail-t": "one" } }));
    assert.equal(error.code, Code.Aborted);
    assert.equal(error.metadata.get("x-trail-t"), "one");
  });

  test("what the gateway itself refuses", known, async () => {
    const burn = { ...Library.method.inspect, name: "Burn", idempotency: undefined };
    const error = await failed(transport.unary(burn, undefined, undefined, undefined, {}));
    assert.equal(error.code, Code.Unimplemented);
    assert.equal(error.findDetails(ErrorInfo)[0]?.reason, "METHOD_UNKNOWN");
  });

  test("deadlines are handed on, and none is made up", known, async () => {
    const with10s = await library.inspect({}, { timeoutMs: 10_000 });
    assert.ok(with10s.deadlineMs > 9_000n && with10s.deadlineMs <= 10_000n, `${with10s.deadlineMs}`);
    assert.equal((await library.inspect({})).deadlineMs, undefined);
  });

  test("a deadline that only the other side keeps", known, async () => {
    const error = await failed(library.inspect({ delay: { seconds: 20n } }, { headers: [timeout] }));
    assert.equal(error.code, Code.DeadlineExceeded);
  });

  test("a cancelled stream ends at the service too", known, async () => {
    const { cancelled } = await library.inspect({});
    const abort = new AbortController();
    const error = await failed((async () => {
      const watch = library.watchShelf({ name: "shelves/harbour", includePresent: true }, { signal: abort.signal });
      for await (const _ of watch) abort.abort();
    })());
    assert.equal(error.code, Code.Canceled);
    await until("the service sees the end", async () => (await library.inspect({})).cancelled > cancelled);
  });

  // A message in a URL can't be large.
  test("large messages", { ...known, skip: options.useHttpGet && "by GET a message is in the URL" }, async () => {
    const payload = new Uint8Array(1 << 20).map((_, n) => n * 31);
    const reply = await library.inspect({ payload, padding: 1 << 20 });
    assert.equal(Buffer.compare(reply.payload, payload), 0);
    assert.equal(reply.padding.length, 1 << 20);
  });

  test("calls side by side", known, async () => {
    const texts = Array.from({ length: 60 }, (_, n) => `call ${n}`);
    const replies = await Promise.all(texts.map((text) => library.inspect({ text, padding: 2000 })));
    assert.deepEqual(replies.map((reply) => reply.text), texts);
  });
}
