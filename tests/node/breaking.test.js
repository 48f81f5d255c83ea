// What tests/breaking expects of Transom's rules, against what `buf breaking` finds.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";

const CATEGORIES = ["WIRE", "WIRE_JSON", "PACKAGE", "FILE"];

// Where the two differ, and why: what each finding of `rule` (in `pair`, if it is named) is compared by.
const EXCEPTIONS = [
  {
    why: "buf names no file where it is gone, and none for a package; here it is the old one",
    rule: /^(FILE_NO_DELETE|PACKAGE_NO_DELETE|PACKAGE_(ENUM|EXTENSION|MESSAGE|SERVICE)_NO_DELETE)$/,
    transom: (finding, files) => {
      const isGone = !files.has(finding.file) || finding.rule === "PACKAGE_NO_DELETE";
      return isGone ? [{ ...finding, file: "" }] : [finding];
    },
  },
  {
    why: "buf looks for enums and extensions only in packages that still have one of the kind",
    pair: /^(enum_deleted|enum_became_a_message|extension_deleted|file_deleted)$/,
    rule: /^PACKAGE_(ENUM|EXTENSION)_NO_DELETE$/,
    transom: () => [],
  },
  {
    why: "buf has no place for an option that is gone; here it is the method",
    pair: /^idempotency_removed$/,
    rule: /^RPC_SAME_IDEMPOTENCY_LEVEL$/,
    transom: (finding) => [{ ...finding, line: 0 }],
  },
];

// Rules that buf doesn't have.
const isOwn = (finding) => finding.rule.startsWith("TRANSOM_");

const root = process.env.BREAKING;
assert.ok(root, "BREAKING names the folder tests/breaking: run this by run.sh");

/** Runs buf, whose exit code is 100 where it found something. */
async function buf(cwd, ...args) {
  const program = spawn("buf", args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  const [out, err, [code]] = await Promise.all([text(program.stdout), text(program.stderr), once(program, "exit")]);
  assert.ok(code === 0 || code === 100, `buf ${args.join(" ")}: ${err || out}`);
  return out;
}

/** Findings of a pair in a category: rule, file and line, where buf has one. */
async function found(pair, category) {
  const config = JSON.stringify({ version: "v2", breaking: { use: [category] } });
  const args = ["--against", "../old", "--error-format", "json", "--config", config];
  const out = await buf(path.join(pair, "new"), "breaking", ".", ...args);
  return out.split("\n").filter(Boolean).map((line) => {
    const { type, path: file = "", start_line: start, end_line, start_column, end_column } = JSON.parse(line);
    // What has no place is shown at the very start of the file, and ends there.
    const placeless = start === 1 && end_line === 1 && start_column === 1 && end_column === 1;
    return { rule: type, file, line: placeless ? 0 : start };
  });
}

async function expected(name, category) {
  const golden = await readFile(path.join(root, name, "expected.txt"), "utf8");
  const lines = golden.split("\n").filter((line) => line.startsWith(`${category} `));
  return lines.map((line) => {
    const [, rule, place, element] = line.match(/^\S+ (\S+) (\S+) (.*)$/);
    const [, file, at] = place.match(/^(.*?)(?::(\d+))?$/);
    return { rule, file, line: Number(at ?? 0), element };
  });
}

const names = (await readdir(root)).sort();
const needed = new Set();

describe("buf breaking", { concurrency: Math.min(4, availableParallelism()) }, () => {
  let work;
  before(async () => {
    work = await mkdtemp(path.join(tmpdir(), "transom-breaking-"));
  });
  after(async () => await rm(work, { recursive: true, force: true }));

  for (const name of names) {
    test(name, async () => {
      const pair = path.join(work, name);
      await cp(path.join(root, name), pair, { recursive: true });
      for (const side of ["old", "new"]) {
        // What is bundled with Transom has to be there for buf.
        const api = path.join("google", "api");
        for (const file of ["annotations.proto", "http.proto"]) {
          await cp(path.join(process.env.PROTOS, api, file), path.join(pair, side, api, file));
        }
      }
      const files = new Set(await readdir(path.join(pair, "new"), { recursive: true }));
      for (const category of CATEGORIES) {
        const theirs = await found(pair, category);
        const ours = (await expected(name, category)).filter((finding) => !isOwn(finding));
        agree(name, category, files, ours, theirs);
      }
    });
  }
});

/** Compares as sets, for one may say twice what the other says once. */
function agree(name, category, files, ours, theirs) {
  const shown = (finding) => `${finding.rule} ${finding.file}:${finding.line}`;
  const set = (findings) => [...new Set(findings.map(shown))].sort();
  const fits = (exception, rule) => exception.rule.test(rule) && (exception.pair?.test(name) ?? true);
  const settled = ours.flatMap((finding) => EXCEPTIONS
    .filter((exception) => fits(exception, finding.rule))
    .reduce((all, exception) => {
      needed.add(exception);
      return all.flatMap((one) => exception.transom(one, files));
    }, [finding]));
  assert.deepEqual(set(settled), set(theirs), `${name} in ${category}`);
}

test("the rules of buf are the rules here, in the same categories", async () => {
  const out = await buf(root, "config", "ls-breaking-rules", "--version", "v2", "--format", "json");
  const theirs = out.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const seen = new Map();
  for (const name of names) {
    for (const category of CATEGORIES) {
      for (const { rule } of await expected(name, category)) {
        seen.set(rule, (seen.get(rule) ?? new Set()).add(category));
      }
    }
  }
  for (const { id, categories } of theirs) {
    const wanted = CATEGORIES.filter((category) => categories.includes(category));
    assert.deepEqual([...(seen.get(id) ?? [])].sort(), wanted.sort(), id);
  }
  const ids = new Set(theirs.map(({ id }) => id));
  assert.deepEqual([...seen.keys()].filter((rule) => !ids.has(rule) && !isOwn({ rule })), []);
});

test("every exception is needed", () => {
  assert.deepEqual(EXCEPTIONS.filter((exception) => !needed.has(exception)).map(({ why }) => why), []);
});
