// Starts Chromium, and has it speak HTTP/3 to a gateway whose certificate nobody vouches for.

import { X509Certificate, createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:tls";
import { chromium } from "playwright-core";

// Nothing of the browser's own goes out: it talks to this machine alone.
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const NO_QUIC = ["--disable-quic"];

/** Flags that force HTTP/3 to this address, `HOST:PORT`. */
export const onlyQuic = (address) => ["--enable-quic", `--origin-to-force-quic-on=${address}`];

/** Flags that have the certificate trusted that is shown at `HOST:PORT`: the browser knows its key. */
export async function trusting(address) {
  const [host, port] = address.split(":");
  const socket = connect({ host, port, rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const { publicKey } = new X509Certificate(socket.getPeerCertificate().raw);
  socket.destroy();
  const digest = createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("base64");
  return [`--ignore-certificate-errors-spki-list=${digest}`];
}

export const launch = (...flags) =>
  chromium.launch({ executablePath: process.env.CHROMIUM, args: [...ARGUMENTS, ...flags] });

/** A page in a browser of its own, with what the network tells of it by the DevTools protocol. */
export async function opened(browser) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const network = await context.newCDPSession(page);
  await network.send("Network.enable");
  return { page, network, close: () => context.close() };
}
