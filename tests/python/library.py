"""The library's messages and stubs, generated from protos/ into a temporary directory on import."""

import atexit
import importlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

import grpc
from grpc_tools import protoc

from harness import ROOT

_FILE = "transom/demo/v1/library.proto"
_OUT = Path(tempfile.mkdtemp(prefix="transom-python-"))
atexit.register(shutil.rmtree, _OUT, ignore_errors=True)

# The descriptor set a gateway is given.
DESCRIPTOR_SET = _OUT / "demo.binpb"


def _generate():
    wkt = Path(sys.modules["grpc_tools"].__file__).parent / "_proto"
    done = protoc.main([
        "protoc", f"-I{ROOT / 'protos'}", f"-I{wkt}", f"--python_out={_OUT}", f"--grpc_python_out={_OUT}",
        f"--descriptor_set_out={DESCRIPTOR_SET}", "--include_imports", _FILE,
    ])
    if done != 0:
        raise SystemExit(f"{_FILE} does not compile")
    sys.path.insert(0, str(_OUT))


_generate()
pb = importlib.import_module("transom.demo.v1.library_pb2")
rpc = importlib.import_module("transom.demo.v1.library_pb2_grpc")

LAMP = "shelves/harbour/books/the-lamp"
# No answer of these tests takes longer, so that a call that hangs fails.
SECONDS = 30


def channel(address, *options):
    """A channel of its own: without this option, channels to one address share a connection."""
    target = address if ":///" in address or address.startswith("ipv4:") else f"ipv4:{address}"
    return grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1), *options])


def secure_channel(address, credentials, name):
    """A channel over TLS, to a server whose certificate is for `name`."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", name)]
    return grpc.secure_channel(f"ipv4:{address}", credentials, options=options)


def inspect(stub, **fields):
    return stub.Inspect(pb.InspectRequest(**fields), timeout=SECONDS)


def values(reply, key):
    """The values of one key of the metadata the backend saw."""
    return [entry.value for entry in reply.metadata if entry.key == key]


def received(metadata, key):
    """The values of one key of the metadata the client got."""
    return [value for name, value in metadata if name == key]


def until(what, check):
    """Asks again until `check()` is true; each question is a call, so this waits for events."""
    end = time.monotonic() + SECONDS
    while not check():
        assert time.monotonic() < end, f"never came true: {what}"
