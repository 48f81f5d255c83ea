// The page: each button is one call by the client that is chosen, and what comes is written below.

import { Code } from "@connectrpc/connect";
import { Library } from "../generated/transom/demo/v1/library_pb.js";
import { CLIENTS, Fault, UNPUBLISHED } from "./clients.js";

const $ = (id) => document.getElementById(id);
const { getBook, readBook, watchShelf } = Library.method;
const LAMP = "shelves/harbour/books/the-lamp";

const CALLS = {
  async unary(client) {
    const book = await client.unary(getBook, { name: LAMP });
    say(`“${book.title}” by ${book.author}, sold ${book.copiesSold} times`);
  },
  async missing(client) {
    await client.unary(getBook, { name: "shelves/harbour/books/nope" });
  },
  async stream(client, signal) {
    const pages = { name: LAMP, pages: 6, pause: { seconds: 0n, nanos: 100_000_000 } };
    await client.stream(readBook, pages, signal, (page) => say(`page ${page.number}: ${page.text}`));
  },
  async watch(client, signal) {
    const shelf = { name: "shelves/harbour", includePresent: true };
    await client.stream(watchShelf, shelf, signal, (event) => say(`event ${event.number}: ${event.book.name}`));
  },
  async unpublished(client) {
    await client.unary(UNPUBLISHED, { name: LAMP });
  },
};

let running = new AbortController();

function say(line) {
  $("log").append(`${line}\n`);
}

async function run(call) {
  running.abort();
  const { signal } = (running = new AbortController());
  $("log").replaceChildren();
  $("log").dataset.state = "running";
  try {
    await CALLS[call](CLIENTS[$("client").value]($("gateway").value), signal);
    say("ended");
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    say(`${Code[error.code] ?? error.code}: ${error.message}`);
    if (error.reason) say(`because ${error.reason}`);
  } finally {
    $("log").dataset.state = "ended";
  }
}

$("client").append(...Object.keys(CLIENTS).map((name) => new Option(name)));
$("gateway").value = new URLSearchParams(location.search).get("gateway") ?? $("gateway").value;
$("stop").addEventListener("click", () => running.abort());
for (const button of document.querySelectorAll("[data-call]")) {
  button.addEventListener("click", () => run(button.dataset.call));
}
