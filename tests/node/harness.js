// Starts and stops the programs under test, on free ports, and finds out where they listen.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const { TRANSOM_BIN, DEMO_BACKEND_BIN, DESCRIPTORS } = process.env;
if (!TRANSOM_BIN || !DEMO_BACKEND_BIN || !DESCRIPTORS) throw new Error("start these tests by tests/node/run.sh");

const START_MS = 20_000;
// No answer of these tests takes longer, so that a call that hangs fails.
export const CALL_MS = 30_000;
export const LAMP = "shelves/harbour/books/the-lamp";

class Program {
  constructor(command, ...args) {
    this.lines = [];
    this.waiting = [];
    this.process = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.ended = once(this.process, "exit");
    for (const pipe of [this.process.stdout, this.process.stderr]) {
      createInterface({ input: pipe }).on("line", (line) => this.#read(line));
    }
    this.ended.then(([code]) => this.#fail(`it ended with ${code}`), (error) => this.#fail(error.message));
  }

  #read(line) {
    this.lines.push(line);
    this.waiting = this.waiting.filter((wait) => !wait.tell(line));
  }

  #fail(why) {
    for (const wait of this.waiting.splice(0)) wait.fail(why);
  }

  /** What the first line says that matches, whether it is printed already or is yet to come. */
  line(pattern) {
    return new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`no line like ${pattern}: ${why}\n${this.lines.slice(-50).join("\n")}`));
      const timer = setTimeout(fail, START_MS, "it took too long");
      const tell = (line) => {
        const found = pattern.exec(line);
        if (!found) return false;
        clearTimeout(timer);
        resolve(found[1]);
        return true;
      };
      if (!this.lines.some(tell)) this.waiting.push({ tell, fail: (why) => (clearTimeout(timer), fail(why)) });
    });
  }

  /** Asks the program to drain, and waits for its end. */
  async stop() {
    this.process.kill("SIGTERM");
    const [code] = await this.ended;
    if (code !== 0) throw new Error(`the program ended with ${code}\n${this.lines.slice(-50).join("\n")}`);
  }
}

/** `transom demo`; HTTP/3 is at `tls` too. `lines` is what it prints. */
export async function demo() {
  const free = ["--listen", "--listen-tls", "--admin"].flatMap((flag) => [flag, "127.0.0.1:0"]);
  const program = new Program(TRANSOM_BIN, "demo", ...free);
  const address = await program.line(/^gateway +http:\/\/(\S+)/);
  return { address, tls: await program.line(/^tls +https:\/\/(\S+)/), lines: program.lines, stop: () => program.stop() };
}

/** `transom serve` before the sample service, which is a process of its own; with more policies, where wanted. */
export async function serve(policies = {}) {
  const backend = new Program(DEMO_BACKEND_BIN, "--listen", "127.0.0.1:0");
  const folder = mkdtempSync(join(tmpdir(), "transom-node-"));
  const file = join(folder, "transom.yaml");
  const configuration = {
    listeners: [{ name: "plain", address: "127.0.0.1:0" }],
    modules: [{ name: "demo", descriptor_set: DESCRIPTORS }],
    upstreams: [{ name: "demo", endpoints: [{ address: await backend.line(/^backend +http:\/\/(\S+)/) }] }],
    apis: [{ name: "demo", module: "demo", upstream: "demo" }],
    policies: { validate: { max_message: "16MiB" }, ...policies },
    admin: { address: "127.0.0.1:0" },
  };
  writeFileSync(file, JSON.stringify(configuration)); // JSON is YAML
  const gateway = new Program(TRANSOM_BIN, "serve", "-c", file);
  const stop = async () => {
    await gateway.stop();
    await backend.stop();
    rmSync(folder, { recursive: true });
  };
  return { address: await gateway.line(/listening listener="?plain"? address=(\S+)/), stop };
}

/** Every test runs against both. */
export const GATEWAYS = { demo, serve: () => serve() };

/** Asks again until it is true: each question is a call, so this waits for events. */
export async function until(what, check) {
  const end = Date.now() + CALL_MS;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`never came true: ${what}`);
  }
}

export async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}
