"""Descriptor bundles of other projects: each is a published package, read as it was unpacked.

TRANSOM_BUNDLES names the directory of the unpacked packages; without it that of tests/run.sh is taken.
"""

import ast
import functools
import io
import os
import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from harness import ROOT

BUNDLES = Path(os.environ.get("TRANSOM_BUNDLES", ROOT / "tests" / ".specs"))
# google/protobuf/*.proto, for protoc.
WELL_KNOWN = Path(protoc.__file__).parent / "_proto"
SET = "application/x-protobuf"
ZIP = "application/zip"

# What protoc writes into a module: the file's descriptor, serialized, as a literal.
_SERIALIZED = re.compile(r"""AddSerializedFile\(\s*(b'(?:\\.|[^'\\])*'|b"(?:\\.|[^"\\])*")\s*\)""", re.S)
_RPC = re.compile(r"^\s*rpc\s+\w+\s*\(", re.M)


@dataclass(frozen=True)
class Bundle:
    """What is pushed, and what is in it by another reading than the gateway's."""

    name: str
    content: bytes
    media_type: str
    files: frozenset
    methods: int
    # The directory that the zip was made of; None for a descriptor set.
    directory: Path | None = None


def _unpacked(directory):
    path = BUNDLES / directory
    if not path.is_dir():
        raise SystemExit(f"no package at {path}: run tests/run.sh, which puts it there")
    return path


def generated(name, directory):
    """A package of generated Python modules. They are read, not run."""
    files = {}
    for path in sorted(_unpacked(directory).rglob("*_pb2.py")):
        (literal,) = _SERIALIZED.findall(path.read_text(encoding="utf-8"))
        file = FileDescriptorProto.FromString(ast.literal_eval(literal))
        assert file.name not in files, f"{file.name} is in the package twice"
        files[file.name] = file
    return of_set(name, FileDescriptorSet(file=files.values()))


def of_set(name, files):
    methods = sum(len(service.method) for file in files.file for service in file.service)
    return Bundle(name, files.SerializeToString(), SET, frozenset(file.name for file in files.file), methods)


def texts(name, directory):
    """A directory of `.proto` files."""
    root, names, methods = _unpacked(directory), set(), 0
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*.proto")):
            text = path.read_text(encoding="utf-8")
            names.add(path.relative_to(root).as_posix())
            methods += len(_RPC.findall(text))
            archive.writestr(path.relative_to(root).as_posix(), text)
    return Bundle(name, packed.getvalue(), ZIP, frozenset(names), methods, root)


# Each feature differs from what proto3 has.
_EDITIONS = {
    "far/v1/types.proto": """
        edition = "2023";
        package far.v1;
        option features.field_presence = IMPLICIT;
        enum Colour {
            option features.enum_type = CLOSED;
            RED = 1;
            BLUE = 2;
        }
        message Point { int32 x = 1; int32 y = 2; }
    """,
    "far/v1/shapes.proto": """
        edition = "2023";
        package far.v1;
        import "far/v1/types.proto";
        import "google/api/annotations.proto";
        message Shape {
            string name = 1 [features.field_presence = LEGACY_REQUIRED];
            repeated Point corners = 2 [features.message_encoding = DELIMITED];
            repeated int32 sizes = 3 [features.repeated_field_encoding = EXPANDED];
            Colour colour = 4 [features.field_presence = EXPLICIT];
            bool filled = 5;
        }
        service Shapes {
            rpc Draw(Shape) returns (Shape) { option (google.api.http) = { post: "/v1/{name=shapes/*}" body: "*" }; }
            rpc Erase(Shape) returns (Shape) { option (google.api.http) = { delete: "/v1/{name=shapes/*}" }; }
            rpc Watch(Shape) returns (stream Shape);
        }
    """,
}


def editions(directory):
    """Files of edition 2023, as protoc compiles them."""
    for name, text in _EDITIONS.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    out = directory / "editions.binpb"
    # The modules of this package lie beside their .proto files.
    google = Path(annotations_pb2.__file__).parents[2]
    done = protoc.main([
        "protoc", f"-I{directory}", f"-I{google}", f"-I{WELL_KNOWN}", f"--descriptor_set_out={out}", *_EDITIONS,
    ])
    assert done == 0, "protoc refuses the files of edition 2023"
    return of_set("editions", FileDescriptorSet.FromString(out.read_bytes()))


@functools.cache
def yandexcloud():
    return generated("yandexcloud", "yandexcloud-0.413.0")


@functools.cache
def xds():
    return generated("xds", "xds_protos-1.85.0")


@functools.cache
def temporal():
    return generated("temporal", "temporalio-1.35.0")


@functools.cache
def compute():
    return texts("compute", "google-cloud-compute-6.15.0/package/build/protos")


@dataclass(frozen=True)
class Rule:
    """One HTTP binding of a method."""

    method: str
    verb: str
    template: str
    body: str
    streams: bool

    @property
    def documented(self):
        """As a document has it, names of variables aside: `*` is a variable, literals of a variable are literals."""
        return f"{self.verb} {variables(self.template)}"

    def path(self, value):
        """A path of the template."""
        return variables(self.template).replace("{}", value)


def variables(template):
    """A template whose variables have no names."""
    plain = re.sub(r"\{[^={}]*\}", "{}", template)
    plain = re.sub(r"\{[^={}]*=([^{}]*)\}", r"\1", plain)
    return re.sub(r"(?<=/)\*\*?(?=[/:]|$)", "{}", plain)


def rules(files):
    """Every binding of a descriptor set, in the order of the files."""
    found = []
    for file in files.file:
        for service in file.service:
            for method in service.method:
                rule = method.options.Extensions[annotations_pb2.http]
                for binding in [rule, *rule.additional_bindings]:
                    verb = binding.WhichOneof("pattern")
                    if verb is None:
                        continue
                    full_name = f"/{file.package}.{service.name}/{method.name}"
                    template = getattr(binding, verb)
                    streams = method.client_streaming or method.server_streaming
                    found.append(Rule(full_name, verb.upper(), template, binding.body, streams))
    return found


def linked(name):
    """The serialized descriptor of a file that is linked into this process."""
    return descriptor_pool.Default().FindFileByName(name).serialized_pb


def services(files):
    return {f"{file.package}.{service.name}": service for file in files.file for service in file.service}


def without_method(files):
    """A copy that lacks one method, and the method's name."""
    changed = FileDescriptorSet.FromString(files.SerializeToString())
    file = next(file for file in changed.file if any(service.method for service in file.service))
    service = next(service for service in file.service if service.method)
    gone = service.method.pop()
    return changed, f"{file.package}.{service.name}.{gone.name}"


def _messages(file):
    """Messages of a file that are the request of one of its methods, so that they certainly serve."""
    inputs = Counter(method.input_type for service in file.service for method in service.method)
    return [message for message in file.message_type if f".{file.package}.{message.name}" in inputs]


def without_field(files):
    """A copy that lacks one field of a request, and the field's name."""
    changed = FileDescriptorSet.FromString(files.SerializeToString())
    for file in changed.file:
        bound = " ".join(str(rule) for rule in rules(FileDescriptorSet(file=[file])))
        for message in _messages(file):
            for at, field in enumerate(message.field):
                if not field.HasField("oneof_index") and field.name not in bound:
                    del message.field[at]
                    return changed, f"{file.package}.{message.name}.{field.name}"
    raise AssertionError("no request has a field to drop")


def with_field(files):
    """A copy that has one field more."""
    changed = FileDescriptorSet.FromString(files.SerializeToString())
    message = next(message for file in changed.file for message in _messages(file))
    message.field.add(name="transom_added", json_name="transomAdded", number=536_870_000, type=9, label=1)
    return changed
