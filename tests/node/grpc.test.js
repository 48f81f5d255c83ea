// @grpc/grpc-js, whose stubs @grpc/proto-loader makes of the .proto files.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { fromBinary } from "@bufbuild/protobuf";
import { all, CALL_MS, GATEWAYS, LAMP, until } from "./harness.js";
import { ErrorInfo, ResourceInfo, Status } from "./library.js";

const { status } = grpc;
const known = { timeout: CALL_MS };
const options = { includeDirs: [process.env.PROTOS], keepCase: true, longs: String, defaults: true };
const loaded = loadSync("transom/demo/v1/library.proto", options);
const { Library } = grpc.loadPackageDefinition(loaded).transom.demo.v1;

const within = () => ({ deadline: Date.now() + CALL_MS });

/** A unary call: its reply with what came before and after it. */
function unary(client, method, request, metadata = new grpc.Metadata(), options = within()) {
  return new Promise((resolve, reject) => {
    const done = {};
    const call = client[method](request, metadata, options, (error, reply) => {
      if (error) reject(error);
      else done.reply = reply;
    });
    call.on("metadata", (head) => (done.head = head));
    call.on("status", (end) => {
      if (end.code === status.OK) resolve({ ...done, end: end.metadata });
    });
  });
}

async function failed(call) {
  return await call.then(() => assert.fail("the call has not failed"), (error) => error);
}

for (const [where, start] of Object.entries(GATEWAYS)) {
  describe(`@grpc/grpc-js, transom ${where}`, () => {
    let gateway, client;
    before(async () => {
      gateway = await start();
      client = new Library(gateway.address, grpc.credentials.createInsecure());
    }, known);
    after(async () => {
      client?.close();
      await gateway?.stop();
    }, known);

    test("unary", known, async () => {
      const { reply } = await unary(client, "GetBook", { name: LAMP });
      assert.deepEqual([reply.author, reply.copies_sold], ["Ines Halloran", "9007199254740993"]);
    });

    test("server stream", known, async () => {
      const call = client.ReadBook({ name: LAMP, pages: 3000 }, within());
      let head, end;
      call.on("metadata", (metadata) => (head = metadata));
      const ended = new Promise((resolve) => call.on("status", resolve));
      const pages = await all(call);
      end = await ended;
      assert.equal(pages.length, 3000);
      assert.equal(pages.at(-1).number, 3000);
      assert.deepEqual(head.get("x-library"), ["open"]);
      assert.equal(end.code, status.OK);
      assert.deepEqual(end.metadata.get("x-library-trailer"), ["mind the step"]);
    });

    test("client stream", known, async () => {
      const done = await new Promise((resolve, reject) => {
        const call = client.ImportBooks(within(), (error, reply) => (error ? reject(error) : resolve(reply)));
        for (let n = 0; n < 300; n++) call.write({ parent: "shelves/nowhere", book: { title: `B${n}` } });
        call.end();
      });
      assert.deepEqual([done.imported, done.rejected, done.problems.length], [0, 300, 10]);
    });

    test("each remark is only said when the one before it was answered", known, async () => {
      const call = client.Discuss(within());
      const turns = [];
      call.write({ id: "1", text: "Is it raining?" });
      for await (const answer of call) {
        turns.push([answer.id, answer.number]);
        if (turns.length === 20) call.end();
        else call.write({ id: String(turns.length + 1), text: "Is it raining?" });
      }
      assert.deepEqual(turns, Array.from({ length: 20 }, (_, n) => [String(n + 1), String(n + 1)]));
    });

    test("an error after messages", known, async () => {
      const call = client.Discuss(within());
      call.write({ id: "a", text: "so", times: 3 });
      const numbers = [];
      call.on("data", (answer) => {
        // This client drops messages that it hasn't handed out yet when an error comes.
        if (numbers.push(answer.number) === 3) call.end({ id: "b", text: "lost", fail_with: 15 });
      });
      const error = await new Promise((resolve) => call.once("error", resolve));
      assert.deepEqual(numbers, ["1", "2", "3"]);
      assert.deepEqual([error.code, error.details], [status.DATA_LOSS, "lost"]);
    });

    test("metadata both ways", known, async () => {
      const sent = new grpc.Metadata();
      sent.add("x-many", "a");
      sent.add("x-many", "b, c");
      sent.add("x-raw-bin", Buffer.from([0, 255, 44]));
      sent.add("x-echo-n", "first");
      sent.add("x-echo-n", "second");
      sent.add("x-trail-b-bin", Buffer.from([128]));
      const { reply, head, end } = await unary(client, "Inspect", {}, sent);
      const entries = (key) => reply.metadata.filter((entry) => entry.key === key);
      const seen = (key) => entries(key).map((entry) => entry.value.toString("latin1"));
      assert.deepEqual(seen("x-many"), ["a", "b, c"]);
      assert.deepEqual(seen("x-raw-bin"), ["\x00\xff,"]);
      assert.deepEqual(head.get("x-echo-n"), ["first, second"]); // Node's HTTP/2 joins them
      assert.deepEqual(end.get("x-trail-b-bin"), [Buffer.from([128])]);
    });

    test("an error with details", known, async () => {
      const name = "shelves/harbour/books/nope";
      const error = await failed(unary(client, "GetBook", { name }));
      assert.deepEqual([error.code, error.details], [status.NOT_FOUND, `no book ${name}`]);
      const [packed] = error.metadata.get("grpc-status-details-bin");
      const { details } = fromBinary(Status, packed);
      assert.deepEqual(details.map((any) => any.typeUrl.split("/").pop()), [ErrorInfo.typeName, ResourceInfo.typeName]);
      assert.equal(fromBinary(ErrorInfo, details[0].value).reason, "BOOK_NOT_FOUND");
      assert.equal(fromBinary(ResourceInfo, details[1].value).resourceName, name);
    });

    test("every code", known, async () => {
      for (let code = 1; code <= 16; code++) {
        const error = await failed(unary(client, "Inspect", { fail_with: code, text: "naïve 50 %" }));
        assert.deepEqual([error.code, error.details], [code, "naïve 50 %"]);
      }
    });

    test("a deadline", known, async () => {
      const late = { deadline: Date.now() + 200 };
      const error = await failed(unary(client, "Inspect", { delay: { seconds: 20 } }, undefined, late));
      assert.equal(error.code, status.DEADLINE_EXCEEDED);
      const { reply } = await unary(client, "Inspect", {}, undefined, { deadline: Date.now() + 10_000 });
      assert.ok(reply.deadline_ms > 9_000 && reply.deadline_ms <= 10_000, reply.deadline_ms);
    });

    test("a cancelled stream ends at the service too", known, async () => {
      const { reply: before } = await unary(client, "Inspect", {});
      const call = client.WatchShelf({ name: "shelves/harbour", include_present: true }, within());
      call.once("data", () => call.cancel());
      const error = await new Promise((resolve) => call.once("error", resolve));
      assert.equal(error.code, status.CANCELLED);
      const seen = async () => (await unary(client, "Inspect", {})).reply;
      await until("the service sees the end", async () => Number((await seen()).cancelled) > Number(before.cancelled));
    });

    test("compression", known, async () => {
      const packing = new Library(gateway.address, grpc.credentials.createInsecure(), {
        "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip,
      });
      const payload = Buffer.alloc(1 << 20, "transom ");
      const { reply } = await unary(packing, "Inspect", { payload, padding: 100_000 });
      packing.close();
      assert.ok(payload.equals(reply.payload));
      assert.equal(reply.padding.length, 100_000);
      const encoding = reply.metadata.find((entry) => entry.key === "grpc-encoding");
      assert.equal(encoding?.value.toString(), "gzip");
    });
  });
}
