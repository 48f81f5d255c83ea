// Calls the library of `transom demo` in every dialect that a browser can speak, by hand.

// Protobuf -----------------------------------------------------------------------------------------------------
// A message is described by its fields: number, then name in JSON, type, and whether there are many.

const DURATION = { 1: ["seconds", "int64"], 2: ["nanos", "int32"] };
const GET_BOOK = { 1: ["name", "string"] };
const READ_BOOK = { 1: ["name", "string"], 2: ["pages", "int32"], 3: ["pause", "duration"] };
const PAGE = { 1: ["number", "int32"], 2: ["text", "string"] };
const ENTRY = { 1: ["key", "string"], 2: ["value", "string"] };
const BOOK = {
  1: ["name", "string"], 2: ["title", "string"], 3: ["author", "string"], 4: ["subtitle", "string"], 5: ["year", "int32"],
  6: ["genre", "genre"], 7: ["tags", "string", true], 8: ["labels", ENTRY, true], 9: ["copiesSold", "int64"],
  10: ["rating", "double"], 11: ["readingTime", "duration"], 12: ["reader", "string"], 13: ["readingRoom", "string"],
};
const STATUS = { 1: ["code", "int32"], 2: ["message", "string"], 3: ["details", { 1: ["type", "string"], 2: ["value", "bytes"] }, true] };
const DETAILS = {
  "google.rpc.ErrorInfo": { 1: ["reason", "string"], 2: ["domain", "string"], 3: ["metadata", ENTRY, true] },
  "google.rpc.ResourceInfo": { 1: ["resourceType", "string"], 2: ["resourceName", "string"], 3: ["owner", "string"], 4: ["description", "string"] },
  "google.rpc.RetryInfo": { 1: ["retryDelay", "duration"] },
};
const GENRES = ["GENRE_UNSPECIFIED", "GENRE_NOVEL", "GENRE_POETRY", "GENRE_TRAVEL", "GENRE_MANUAL"];

const text = new TextDecoder();
const utf8 = (string) => new TextEncoder().encode(string);

const READ = {
  string: (bytes) => text.decode(bytes),
  bytes: (bytes) => bytes,
  int32: (number) => Number(BigInt.asIntN(64, number)),
  int64: (number) => String(BigInt.asIntN(64, number)),
  double: (number) => number,
  genre: (number) => GENRES[Number(number)] ?? String(number),
  duration: (bytes) => {
    const { seconds = "0", nanos = 0 } = decode(bytes, DURATION);
    return `${Number(seconds) + nanos / 1e9}s`;
  },
};

function decode(bytes, fields) {
  const message = {};
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const skip = (count) => {
    if (bytes.length - at < count) throw new Error("the message is cut off");
    at += count;
    return at - count;
  };
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[skip(1)];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw new Error("a number is longer than ten bytes");
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    let value;
    switch (tag % 8) {
      case 0: value = varint(); break;
      case 1: value = view.getFloat64(skip(8), true); break;
      case 2: { const size = Number(varint()); const from = skip(size); value = bytes.subarray(from, from + size); break; }
      case 5: value = view.getFloat32(skip(4), true); break;
      default: throw new Error(`wire type ${tag % 8} is none`);
    }
    const [name, type, many] = fields[Math.floor(tag / 8)] ?? [];
    if (!name) continue;
    const read = typeof type === "string" ? READ[type](value) : decode(value, type);
    if (type === ENTRY) (message[name] ??= {})[read.key ?? ""] = read.value ?? "";
    else if (many) (message[name] ??= []).push(read);
    else message[name] = read;
  }
  return message;
}

function encode(message, fields) {
  const out = [];
  const varint = (number) => {
    let value = BigInt.asUintN(64, BigInt(number));
    for (; value > 127n; value >>= 7n) out.push(Number(value & 127n) | 128);
    out.push(Number(value));
  };
  const block = (number, bytes) => {
    varint(number * 8 + 2);
    varint(bytes.length);
    out.push(...bytes);
  };
  for (const [number, [name, type]] of Object.entries(fields)) {
    const value = message[name];
    if (!value) continue;
    if (type === "string") block(Number(number), utf8(value));
    else if (type === "duration") {
      const seconds = Math.trunc(parseFloat(value));
      block(Number(number), encode({ seconds, nanos: Math.round((parseFloat(value) - seconds) * 1e9) }, DURATION));
    } else {
      varint(Number(number) * 8);
      varint(value);
    }
  }
  return Uint8Array.from(out);
}

// Frames of gRPC-Web and Connect: a byte of flags, the length in four bytes, the message ------------------------

function frame(bytes) {
  const framed = new Uint8Array(5 + bytes.length);
  new DataView(framed.buffer).setUint32(1, bytes.length);
  framed.set(bytes, 5);
  return framed;
}

async function* frames(chunks) {
  let held = new Uint8Array(0);
  for await (const chunk of chunks) {
    const all = new Uint8Array(held.length + chunk.length);
    all.set(held);
    all.set(chunk, held.length);
    held = all;
    while (held.length >= 5) {
      const end = 5 + new DataView(held.buffer, held.byteOffset).getUint32(1);
      if (held.length < end) break;
      yield [held[0], held.subarray(5, end)];
      held = held.subarray(end);
    }
  }
  if (held.length) throw new Error("the reply ends inside a frame");
}

async function* lines(chunks) {
  const decoder = new TextDecoder();
  let held = "";
  for await (const chunk of chunks) {
    const parts = (held + decoder.decode(chunk, { stream: true })).split("\n");
    held = parts.pop();
    yield* parts.filter((part) => part.trim());
  }
  if (held.trim()) yield held;
}

async function whole(chunks) {
  const decoder = new TextDecoder();
  let all = "";
  for await (const chunk of chunks) all += decoder.decode(chunk, { stream: true });
  return all;
}

const unbase64 = (string) => Uint8Array.from(atob(string.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

// Statuses -----------------------------------------------------------------------------------------------------

const CODES = [
  "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
  "DATA_LOSS", "UNAUTHENTICATED",
];
const OK = { code: "OK", message: "", details: [] };

// One detail, of protobuf or of JSON, as a name and fields.
function detail(type, bytes) {
  const fields = DETAILS[type];
  return { type, fields: fields ? decode(bytes, fields) : { bytes: bytes.length } };
}

function grpcStatus(field) {
  const packed = field("grpc-status-details-bin");
  const details = packed ? (decode(unbase64(packed), STATUS).details ?? []) : [];
  return {
    code: CODES[field("grpc-status")] ?? "UNKNOWN",
    message: decodeURIComponent(field("grpc-message") ?? ""),
    details: details.map(({ type = "", value = new Uint8Array() }) => detail(type.split("/").pop(), value)),
  };
}

function connectStatus({ code = "unknown", message = "", details = [] }) {
  const name = code === "canceled" ? "CANCELLED" : code.toUpperCase();
  return { code: name, message, details: details.map(({ type, value }) => detail(type, unbase64(value))) };
}

function restStatus({ code, message = "", details = [] }) {
  const named = details.map(({ "@type": url = "", ...fields }) => {
    const type = url.split("/").pop();
    // A detail that no descriptor of the gateway declares comes as its bytes.
    return typeof fields.value === "string" && DETAILS[type] ? detail(type, unbase64(fields.value)) : { type, fields };
  });
  return { code: CODES[code] ?? "UNKNOWN", message, details: named };
}

// What came instead of the dialect: a refusal of HTTP itself.
function httpStatus(response, body) {
  try {
    return restStatus(JSON.parse(body));
  } catch {
    return { code: `HTTP ${response.status}`, message: body || response.statusText, details: [] };
  }
}

// Dialects -----------------------------------------------------------------------------------------------------
// Each is a function of a call and of what shows it; it returns the status that the call ended with.

async function grpcWeb(call, show, signal) {
  const body = frame(encode(call.message, call.request));
  const headers = { "content-type": "application/grpc-web+proto", "x-grpc-web": "1", "x-user-agent": "transom-demo" };
  const response = await show.fetch(call.path, { method: "POST", headers, body, signal });
  if (!(response.headers.get("content-type") ?? "").startsWith("application/grpc-web")) {
    return httpStatus(response, await whole(show.chunks(response)));
  }
  let trailers = null;
  for await (const [flags, bytes] of frames(show.chunks(response))) {
    if (flags & 0x80) {
      const fields = text.decode(bytes).split("\r\n").filter(Boolean).map((line) => line.split(/:\s*/));
      trailers = new Headers(fields.map(([name, ...value]) => [name, value.join(":")]));
    } else show.message(decode(bytes, call.reply));
  }
  return grpcStatus((name) => (trailers ?? response.headers).get(name));
}

async function connect(call, show, signal) {
  const json = utf8(JSON.stringify(call.message));
  const headers = { "content-type": call.streams ? "application/connect+json" : "application/json", "connect-protocol-version": "1" };
  const response = await show.fetch(call.path, { method: "POST", headers, body: call.streams ? frame(json) : json, signal });
  if (!call.streams) {
    const body = await whole(show.chunks(response));
    if (response.ok) {
      show.message(JSON.parse(body));
      return OK;
    }
    try {
      const error = JSON.parse(body);
      return typeof error.code === "string" ? connectStatus(error) : restStatus(error);
    } catch {
      return httpStatus(response, body);
    }
  }
  if (!(response.headers.get("content-type") ?? "").startsWith("application/connect")) {
    return httpStatus(response, await whole(show.chunks(response)));
  }
  let end = { error: { code: "unknown", message: "the reply has no end" } };
  for await (const [flags, bytes] of frames(show.chunks(response))) {
    const message = JSON.parse(text.decode(bytes));
    if (flags & 2) end = message;
    else show.message(message);
  }
  return end.error ? connectStatus(end.error) : OK;
}

async function rest(call, show, signal) {
  const accept = call.streams ? "application/x-ndjson" : "application/json";
  const response = await show.fetch(call.rest, { headers: { accept }, signal });
  if (!response.ok) return httpStatus(response, await whole(show.chunks(response)));
  if (!call.streams) {
    show.message(JSON.parse(await whole(show.chunks(response))));
    return OK;
  }
  for await (const line of lines(show.chunks(response))) {
    const message = JSON.parse(line);
    if (message.error) return restStatus(message.error);
    show.message(message);
  }
  return OK;
}

function events(call, show, signal) {
  return new Promise((resolve, reject) => {
    show.sent(`new EventSource("${call.rest}")\n\nGET ${call.rest}\naccept: text/event-stream`);
    const source = new EventSource(call.rest);
    const end = (status) => {
      source.close(); // else it would connect again
      resolve(status);
    };
    signal.addEventListener("abort", () => {
      source.close();
      reject(signal.reason);
    });
    source.addEventListener("open", () => show.head("text/event-stream\n"));
    source.addEventListener("message", ({ data, lastEventId }) => {
      show.got(`id: ${lastEventId}\ndata: ${data}\n\n`, data.length);
      show.message(JSON.parse(data));
    });
    source.addEventListener("end", ({ data }) => {
      show.got(`event: end\ndata: ${data}\n`, data.length);
      end(OK);
    });
    source.addEventListener("error", ({ data }) => {
      if (data === undefined) return end({ code: "UNAVAILABLE", message: "the event stream can't be read", details: [] });
      show.got(`event: error\ndata: ${data}\n`, data.length);
      end(restStatus(JSON.parse(data)));
    });
  });
}

const DIALECTS = [
  { title: "REST", what: "JSON by google.api.http rules", run: rest },
  { title: "Server-sent events", what: "the same stream by EventSource", run: events, streams: true },
  { title: "Connect", what: "JSON in the Connect protocol", run: connect },
  { title: "gRPC-Web", what: "protobuf in binary frames", run: grpcWeb },
];

// What is shown ------------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

function element(name, content, ...children) {
  const made = document.createElement(name);
  if (content !== undefined) made.textContent = content;
  made.append(...children);
  return made;
}

function list(fields) {
  const made = element("dl");
  for (const [name, value] of Object.entries(fields)) {
    made.append(element("dt", name), element("dd", typeof value === "object" ? JSON.stringify(value) : String(value)));
  }
  return made;
}

function hex(bytes) {
  const rows = [];
  for (let at = 0; at < Math.min(bytes.length, 256); at += 8) {
    const row = bytes.subarray(at, at + 8);
    const digits = [...row].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const letters = [...row].map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    rows.push(`${digits.padEnd(23)} ${letters}`);
  }
  if (bytes.length > 256) rows.push(`… and ${bytes.length - 256} bytes more`);
  return `${rows.join("\n")}\n`;
}

const isText = (type) => /json|text|event-stream/.test(type) && !/connect\+|grpc/.test(type);
const headerLines = (headers) => [...headers].map(([name, value]) => `${name}: ${value}`).join("\n");
const ms = (time) => (time < 10 ? time.toFixed(1) : Math.round(time)) + " ms";

// Panels of one run share a scale, so that their timelines can be compared.
class Scale {
  longest = 1;
  panels = [];

  grow(time) {
    this.longest = Math.max(this.longest, time);
    for (const panel of this.panels) panel.place();
  }
}

class Panel {
  #began = performance.now();
  #marks = [];
  #head = null;
  #messages = 0;
  #bytes = 0;

  constructor(dialect, call, scale) {
    const copy = $("panel").content.cloneNode(true);
    this.root = copy.querySelector(".panel");
    this.part = (name) => this.root.querySelector(name);
    this.call = call;
    this.scale = scale;
    this.part("h2").textContent = dialect.title;
    this.part(".what").textContent = dialect.what;
    this.root.setAttribute("aria-label", dialect.title);
    this.state("wait", "waiting…");
    scale.panels.push(this);
    $("panels").append(this.root);
  }

  state(kind, word) {
    const status = this.part(".status");
    status.className = `status ${kind}`;
    status.textContent = word;
  }

  sent(lines) {
    this.part(".sent").textContent = lines;
  }

  // Only so much is kept: a page isn't a log.
  got(lines, bytes) {
    const shown = this.part(".got");
    if (shown.textContent.length < 20000) shown.append(lines);
    this.#bytes += bytes;
  }

  head(lines) {
    this.#head ??= this.mark("head");
    this.got(`${lines}\n`, 0);
  }

  async fetch(path, init) {
    const body = init.body && (isText(init.headers["content-type"]) ? text.decode(init.body) : hex(init.body));
    const lines = `${init.method ?? "GET"} ${path}\n${headerLines(Object.entries(init.headers))}`;
    this.sent(body ? `${lines}\n\n${body}` : lines);
    const response = await fetch(path, init);
    this.head(`HTTP ${response.status} ${response.statusText}\n${headerLines(response.headers)}\n`);
    return response;
  }

  async *chunks(response) {
    const shown = isText(response.headers.get("content-type") ?? "");
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.got(shown ? text.decode(value) : hex(value), value.length);
      yield value;
    }
  }

  message(message) {
    this.#messages += 1;
    this.mark("message");
    const came = this.part(".came");
    if (this.call.streams) {
      const pages = came.querySelector("ol") ?? came.appendChild(element("ol"));
      pages.append(element("li", message.text));
      return;
    }
    const { title, subtitle, labels, name, ...rest } = message;
    came.append(element("h3", title), list({ ...(subtitle && { subtitle }), ...rest }));
  }

  mark(kind) {
    const time = performance.now() - this.#began;
    const dot = element("i");
    dot.className = kind;
    this.#marks.push([time, dot]);
    this.part(".timeline").append(dot);
    this.scale.grow(time);
    this.times(time);
    return time;
  }

  place() {
    for (const [time, dot] of this.#marks) dot.style.left = `${(100 * time) / this.scale.longest}%`;
  }

  times(now) {
    const head = this.#head === null ? "" : `head after ${ms(this.#head)} · `;
    const messages = `${this.#messages} message${this.#messages === 1 ? "" : "s"}`;
    this.part(".times").textContent = `${head}${messages} · ${ms(now)} · ${this.#bytes} bytes`;
  }

  end(status) {
    this.times(performance.now() - this.#began);
    this.state(status.code === "OK" ? "good" : "bad", status.code);
    if (status.code === "OK") return;
    const fault = element("div", undefined, element("h3", status.message));
    fault.className = "fault";
    for (const { type, fields } of status.details) fault.append(element("p", type), list(fields));
    this.part(".came").append(fault);
  }
}

// Calls --------------------------------------------------------------------------------------------------------

const SERVICE = "/transom.demo.v1.Library/";
const ASKS = {
  book: (name) => ({
    says: "GetBook: one message each way.", path: `${SERVICE}GetBook`, rest: `/v1/${name}`,
    message: { name }, request: GET_BOOK, reply: BOOK,
  }),
  read: (name) => ({
    says: "ReadBook: one message there, a stream of pages back, one every 0.4 s.", path: `${SERVICE}ReadBook`,
    rest: `/v1/${name}:read?pages=8&pause=0.4s`, message: { name, pages: 8, pause: "0.4s" },
    request: READ_BOOK, reply: PAGE, streams: true,
  }),
  missing: () => ({
    ...ASKS.book("shelves/harbour/books/no-such-book"), says: "GetBook of a book that isn't there: NOT_FOUND, and its details.",
  }),
};

let running = null;

async function run(ask) {
  running?.abort();
  const abort = new AbortController();
  running = abort;
  const call = ASKS[ask]($("book").value);
  $("what").textContent = call.says;
  $("panels").replaceChildren();
  $("stop").disabled = false;
  const scale = new Scale();
  const calls = DIALECTS.filter((dialect) => call.streams || !dialect.streams).map(async (dialect) => {
    const panel = new Panel(dialect, call, scale);
    try {
      panel.end(await dialect.run(call, panel, abort.signal));
    } catch (error) {
      const stopped = abort.signal.aborted;
      panel.end({ code: stopped ? "CANCELLED" : "FAILED", message: stopped ? "stopped here: the gateway was told" : String(error), details: [] });
    }
  });
  await Promise.all(calls);
  if (running === abort) $("stop").disabled = true;
}

async function stock() {
  const json = async (path) => (await fetch(path)).json();
  const { shelves } = await json("/v1/shelves");
  const pages = await Promise.all(shelves.map(({ name }) => json(`/v1/${name}/books`)));
  const chosen = $("book").value;
  const groups = shelves.map((shelf, at) => {
    const group = element("optgroup");
    group.label = shelf.theme;
    group.append(...(pages[at].books ?? []).map(({ name, title }) => new Option(title, name)));
    return group;
  });
  $("book").replaceChildren(...groups);
  $("book").value = chosen;
}

$("desk").addEventListener("submit", (event) => event.preventDefault());
$("desk").addEventListener("click", ({ target }) => target.dataset?.ask && run(target.dataset.ask));
$("stop").addEventListener("click", () => running?.abort());
$("book").addEventListener("change", () => { $("cover").src = `/v1/${$("book").value}/cover`; });
stock().catch(() => {}); // the first book is there already
run("book");
