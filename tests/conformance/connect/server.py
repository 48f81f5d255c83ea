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
PROTOCOL, HTTP_VERSION, USE_TLS, RECEIVE_LIMIT = 1, 2, 4, 6
HOST, PORT = 1, 2
GRPC, HTTP_2 = 2, 2


def varint(data, at):
    """The number at `at`, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def numbers(data):
    """The numeric fields of a message by their numbers, without those that are bytes."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        value, at = varint(data, at)
        if tag & 7 == 0:
            fields[tag >> 3] = value
        elif tag & 7 == 2:
            at += value
        else:
            sys.exit(f"server.py: field {tag >> 3} has a wire type that these messages don't use")
    return fields


def number(field, value):
    """One numeric field."""
    out = bytearray([field << 3])
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def text(field, value):
    """One short text field."""
    return bytes([field << 3 | 2, len(value)]) + value.encode()


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
    return numbers(read(backend.stdout))[PORT]


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


def configuration(backend, protos, limit):
    whole = {
        "listeners": [{"name": "plain", "address": "127.0.0.1:0"}],
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
    asked = numbers(read(sys.stdin.buffer))
    if asked.get(USE_TLS):
        sys.exit("server.py: TLS is not set up here")
    with contextlib.ExitStack() as all_of:
        folder = all_of.enter_context(tempfile.TemporaryDirectory(prefix="transom-connect-"))
        backend = all_of.enter_context(running(reference, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        limit = asked.get(RECEIVE_LIMIT, 0)
        file = Path(folder) / "transom.yaml"
        file.write_text(configuration(backend_port(backend, limit), protos, limit))
        command = (transom, "serve", "-c", file)
        gateway = all_of.enter_context(running(*command, stderr=subprocess.PIPE, text=True))
        port = gateway_port(gateway)
        write(sys.stdout.buffer, text(HOST, "127.0.0.1") + number(PORT, port))
        sys.exit(f"server.py: Transom ended by itself with {gateway.wait()}")


main()
