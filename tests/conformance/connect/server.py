#!/usr/bin/env python3
"""The server under test: Transom, with the suite's own reference server behind it.

usage: server.py TRANSOM REFERENCESERVER PROTOS

The suite starts this once for each kind of server that it wants. It reads a ServerCompatRequest from standard
input, starts the reference server for gRPC alone and Transom in front of it, says on standard output where
Transom listens, and ends both on SIGTERM. PROTOS is the folder of the suite's .proto files. Transom's log goes
to standard error, which the suite shows where it is told to be verbose.
"""
import contextlib
import json
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

SERVICE = "connectrpc.conformance.v1.ConformanceService"
START_SECONDS = 60
STOP_SECONDS = 10
# The fields and values of connectrpc/conformance/v1/server_compat.proto that matter here.
PROTOCOL, HTTP_VERSION, USE_TLS, CLIENT_CERTIFICATE, RECEIVE_LIMIT, CREDENTIALS = 1, 2, 4, 5, 6, 7
CERTIFICATE, KEY = 1, 2
HOST, PORT, SHOWN = 1, 2, 3
GRPC, HTTP_2, HTTP_3 = 2, 2, 3


def varint(data, at):
    """The number at `at`, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields_of(data):
    """The fields of a message by their numbers."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        value, at = varint(data, at)
        if tag & 7 == 0:
            fields[tag >> 3] = value
        elif tag & 7 == 2:
            fields[tag >> 3] = data[at:at + value]
            at += value
        else:
            sys.exit(f"server.py: field {tag >> 3} has a wire type that these messages don't use")
    return fields


def varint_of(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def number(field, value):
    """One numeric field."""
    return bytes([field << 3]) + varint_of(value)


def octets(field, value):
    """One field of text or bytes."""
    return bytes([field << 3 | 2]) + varint_of(len(value)) + value


def write(pipe, message):
    pipe.write(struct.pack(">I", len(message)) + message)
    pipe.flush()


def read(pipe):
    head = pipe.read(4)
    if len(head) < 4:
        sys.exit("server.py: no message where one was due")
    return pipe.read(struct.unpack(">I", head)[0])


@contextlib.contextmanager
def running(*command, **pipes):
    """A program that ends with the block."""
    program = subprocess.Popen(command, **pipes)
    try:
        yield program
    finally:
        program.terminate()
        try:
            program.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()


def backend_port(backend, limit):
    """Starts a server for gRPC with the same receive limit: compressed messages of gRPC and gRPC-Web pass
    Transom unread, so what they hold is for the service to refuse."""
    write(backend.stdin, number(PROTOCOL, GRPC) + number(HTTP_VERSION, HTTP_2) + number(RECEIVE_LIMIT, limit))
    backend.stdin.close()
    return fields_of(read(backend.stdout))[PORT]


def gateway_port(gateway):
    """The port that Transom logs. Its log is read on to the end, so that it never waits for its reader."""
    listens, port = threading.Event(), []

    def follow():
        for line in gateway.stderr:
            if found := re.search(r"listening.*?127\.0\.0\.1:(\d+)", line):
                if not re.search("admin|status", line):
                    port.append(int(found[1]))
                    listens.set()
            sys.stderr.write(line)
        listens.set()

    threading.Thread(target=follow, daemon=True).start()
    listens.wait(START_SECONDS)
    if not port:
        sys.exit("server.py: Transom did not say where it listens")
    return port[0]


def listener(asked, folder):
    """The listener that is asked for; certificates are written to files."""
    found = {"name": "suite", "address": "127.0.0.1:0"}
    if asked.get(USE_TLS):
        credentials = fields_of(asked[CREDENTIALS])
        (folder / "own.crt").write_bytes(credentials[CERTIFICATE])
        (folder / "own.key").write_bytes(credentials[KEY])
        found["tls"] = {"certificates": [{"cert": "own.crt", "key": "own.key"}]}
        if asked.get(CLIENT_CERTIFICATE):
            (folder / "clients.pem").write_bytes(asked[CLIENT_CERTIFICATE])
            found["tls"]["client_ca"] = "clients.pem"
        found["http3"] = asked[HTTP_VERSION] == HTTP_3
    return found


def configuration(own, backend, protos, limit):
    whole = {
        "listeners": [own],
        "modules": [{"name": "suite", "protos": protos}],
        "upstreams": [{"name": "suite", "endpoints": [{"address": f"127.0.0.1:{backend}"}]}],
        "apis": [{
            "name": "suite", "module": "suite", "upstream": "suite", "services": [SERVICE],
            # What the suite knows. REST would have an answer of its own to content types that no other takes.
            "dialects": ["grpc", "grpc_web", "connect"],
        }],
        "admin": {"address": "127.0.0.1:0"},
    }
    if limit:
        whole["policies"] = {"validate": {"max_message": f"{limit}B"}}
    return json.dumps(whole)  # JSON is YAML


def main():
    transom, reference, protos = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    asked = fields_of(read(sys.stdin.buffer))
    with contextlib.ExitStack() as all_of:
        folder = all_of.enter_context(tempfile.TemporaryDirectory(prefix="transom-connect-"))
        backend = all_of.enter_context(running(reference, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        limit = asked.get(RECEIVE_LIMIT, 0)
        file = Path(folder) / "transom.yaml"
        own = listener(asked, file.parent)
        file.write_text(configuration(own, backend_port(backend, limit), protos, limit))
        command = (transom, "serve", "-c", file)
        gateway = all_of.enter_context(running(*command, stderr=subprocess.PIPE, text=True))
        # At the end both are told at once: the suite doesn't wait for long.
        all_of.callback(backend.terminate)
        port = gateway_port(gateway)
        where = octets(HOST, b"127.0.0.1") + number(PORT, port)
        if asked.get(USE_TLS):
            where += octets(SHOWN, fields_of(asked[CREDENTIALS])[CERTIFICATE])
        write(sys.stdout.buffer, where)
        sys.exit(f"server.py: Transom ended by itself with {gateway.wait()}")


main()
