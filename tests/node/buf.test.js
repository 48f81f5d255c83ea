// `buf curl`, which asks the gateway itself for the descriptors, by reflection in the same protocol.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { CALL_MS, GATEWAYS, LAMP } from "./harness.js";
import { ErrorInfo } from "./library.js";

const PROTOCOLS = ["connect", "grpc", "grpcweb"];
const known = { timeout: CALL_MS };

/** Runs it: exit code, what it printed, and the JSON values in that. */
async function curl(...args) {
  const program = spawn("buf", ["curl", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const [out, err, [code]] = await Promise.all([text(program.stdout), text(program.stderr), once(program, "exit")]);
  return { code, out, err, values: () => values(out) };
}

/** JSON values one after the other, each with its closing brace at the start of a line. */
function values(out) {
  return out.split(/^(?=\{)/m).filter((part) => part.trim()).map((part) => JSON.parse(part));
}

for (const [where, start] of Object.entries(GATEWAYS)) {
  describe(`buf curl, transom ${where}`, () => {
    let gateway;
    before(async () => (gateway = await start()), known);
    after(async () => await gateway?.stop(), known);

    for (const protocol of PROTOCOLS) {
      const call = (method, request, ...more) => {
        const url = `http://${gateway.address}/transom.demo.v1.Library/${method}`;
        const data = typeof request === "string" ? request : JSON.stringify(request);
        return curl("--protocol", protocol, "--http2-prior-knowledge", ...more, "-d", data, url);
      };

      test(`${protocol}: the methods by reflection`, known, async () => {
        const reflected = ["--protocol", protocol, "--http2-prior-knowledge", "--list-methods"];
        const { code, out, err } = await curl(...reflected, `http://${gateway.address}`);
        assert.equal(code, 0, err);
        assert.ok(out.split("\n").includes("transom.demo.v1.Library/GetBook"), out);
      });

      test(`${protocol}: unary`, known, async () => {
        const done = await call("GetBook", { name: LAMP });
        assert.equal(done.code, 0, done.err);
        assert.equal(done.values()[0].author, "Ines Halloran");
      });

      const over1 = { ...known, skip: protocol === "grpc" && "gRPC needs HTTP/2" };
      test(`${protocol}: unary over HTTP/1.1 with the schema at hand`, over1, async () => {
        const url = `http://${gateway.address}/transom.demo.v1.Library/GetBook`;
        const data = JSON.stringify({ name: LAMP });
        const done = await curl("--protocol", protocol, "--schema", process.env.PROTOS, "-d", data, url);
        assert.equal(done.code, 0, done.err);
        assert.equal(done.values()[0].author, "Ines Halloran");
      });

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
  });
}
