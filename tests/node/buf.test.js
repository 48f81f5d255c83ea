// `buf curl`, which asks the gateway itself for the descriptors, by reflection in the same protocol: in the clear,
// over TLS, and over HTTP/3.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { CALL_MS, GATEWAYS, LAMP, demo } from "./harness.js";
import { ErrorInfo } from "./library.js";

const PROTOCOLS = ["connect", "grpc", "grpcweb"];
const PLAIN = { scheme: "http", flags: ["--http2-prior-knowledge"], version: "HTTP/2.0" };
// The demo's certificate is one of its own, so nobody vouches for it.
const SECURE = {
  "over TLS": { scheme: "https", flags: ["-k"], version: "HTTP/2.0" },
  "over HTTP/3": { scheme: "https", flags: ["-k", "--http3"], version: "HTTP/3.0" },
};
const known = { timeout: CALL_MS };

const curl = (...args) => ran("buf", "curl", ...args);

/** Runs a program: exit code, what it printed, and the JSON values in that. */
async function ran(command, ...args) {
  const program = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  const [out, err, [code]] = await Promise.all([text(program.stdout), text(program.stderr), once(program, "exit")]);
  return { code, out, err, values: () => values(out) };
}

/** JSON values one after the other, each with its closing brace at the start of a line. */
function values(out) {
  return out.split(/^(?=\{)/m).filter((part) => part.trim()).map((part) => JSON.parse(part));
}

for (const [where, start] of Object.entries(GATEWAYS)) {
  describe(`buf curl, transom ${where}`, () => suite(start, PLAIN));
}
for (const [how, way] of Object.entries(SECURE)) {
  describe(`buf curl, transom demo ${how}`, () => suite(demo, way));
}

function suite(start, { scheme, flags, version }) {
  let gateway, base;
  before(async () => {
    gateway = await start();
    base = `${scheme}://${scheme === "https" ? gateway.tls : gateway.address}`;
  }, known);
  after(async () => await gateway?.stop(), known);

  if (scheme === "https") {
    test("the commands that are printed", known, async () => {
      const printed = gateway.lines.filter((line) => line.includes("buf curl") && line.includes("https://"));
      assert.ok(printed.length > 0, gateway.lines.join("\n"));
      for (const line of printed) {
        const done = await ran("sh", "-c", line);
        assert.equal(done.code, 0, done.err);
        assert.equal(done.values()[0].author, "Ines Halloran");
      }
    });
  }

  for (const protocol of PROTOCOLS) {
    const call = (method, request, ...more) => {
      const data = typeof request === "string" ? request : JSON.stringify(request);
      const url = `${base}/transom.demo.v1.Library/${method}`;
      return curl("--protocol", protocol, ...flags, ...more, "-d", data, url);
    };

    test(`${protocol}: the methods by reflection`, known, async () => {
      const { code, out, err } = await curl("--protocol", protocol, ...flags, "--list-methods", base);
      assert.equal(code, 0, err);
      assert.ok(out.split("\n").includes("transom.demo.v1.Library/GetBook"), out);
    });

    test(`${protocol}: unary`, known, async () => {
      const done = await call("GetBook", { name: LAMP }, "-v");
      assert.equal(done.code, 0, done.err);
      assert.equal(done.values()[0].author, "Ines Halloran");
      const versions = done.err.match(/HTTP\/\d\S* (?=200)/g).map((found) => found.trim());
      assert.deepEqual([...new Set(versions)], [version]);
    });

    if (scheme === "http") {
      const over1 = { ...known, skip: protocol === "grpc" && "gRPC needs HTTP/2" };
      test(`${protocol}: unary over HTTP/1.1 with the schema at hand`, over1, async () => {
        const url = `http://${gateway.address}/transom.demo.v1.Library/GetBook`;
        const data = JSON.stringify({ name: LAMP });
        const done = await curl("--protocol", protocol, "--schema", process.env.PROTOS, "-d", data, url);
        assert.equal(done.code, 0, done.err);
        assert.equal(done.values()[0].author, "Ines Halloran");
      });
    }

    test(`${protocol}: server stream`, known, async () => {
      const done = await call("ReadBook", { name: LAMP });
      assert.equal(done.code, 0, done.err);
      assert.deepEqual(done.values().map((page) => page.number), Array.from({ length: 12 }, (_, n) => n + 1));
    });

    test(`${protocol}: client stream`, known, async () => {
      const book = JSON.stringify({ parent: "shelves/nowhere", book: { title: "B" } });
      const done = await call("ImportBooks", `${book}\n${book}`);
      assert.equal(done.code, 0, done.err);
      assert.equal(done.values()[0].rejected, 2);
    });

    test(`${protocol}: both ways`, known, async () => {
      const done = await call("Discuss", '{"id":"1","text":"Is it raining?","times":3}\n{"id":"2","text":"Still?"}');
      assert.equal(done.code, 0, done.err);
      assert.deepEqual(done.values().map((answer) => answer.id), ["1", "1", "1", "2"]);
    });

    test(`${protocol}: metadata`, known, async () => {
      const done = await call("Inspect", {}, "-H", "x-one: 1");
      assert.equal(done.code, 0, done.err);
      const [reply] = done.values();
      const seen = reply.metadata.filter((entry) => entry.key === "x-one");
      assert.deepEqual(seen.map((entry) => entry.value), [btoa("1")]);
    });

    test(`${protocol}: an error with details`, known, async () => {
      const done = await call("GetBook", { name: "shelves/harbour/books/nope" });
      assert.notEqual(done.code, 0);
      const error = JSON.parse(done.err.slice(done.err.indexOf("{")));
      assert.deepEqual([error.code, error.message], ["not_found", "no book shelves/harbour/books/nope"]);
      const types = ["google.rpc.ErrorInfo", "google.rpc.ResourceInfo"];
      assert.deepEqual(error.details.map((detail) => detail.type), types);
      const info = fromBinary(ErrorInfo, Buffer.from(error.details[0].value, "base64"));
      assert.equal(info.reason, "BOOK_NOT_FOUND");
    });
  }
}
