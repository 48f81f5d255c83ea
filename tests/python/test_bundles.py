"""Descriptor bundles of other projects: pushed to a gateway with an empty store, they load and serve.

`TRANSOM_BIN=... python -m pytest tests/python/test_bundles.py -k measure -s` prints how long that takes with a binary.
"""

import concurrent.futures
import http.client
import json
import re
import subprocess
import threading
import time

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import code_pb2, error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from grpc_tools import protoc

import bundles
import harness
import library

SECONDS = 60
PUSH_SECONDS_MAX = 20
COUNTS = {"compute": (4, 2078), "editions": (2, 3), "xds": (766, 210), "yandexcloud": (1076, 2534)}
# REST routes of methods without streams.
ROUTES = {"compute": 2073, "editions": 2, "xds": 291, "yandexcloud": 2347}
# Field 1007, a text: a message of any type may have it.
PAYLOAD = b"\xfa\x3e\x07payload"
# Its one method has the rule `body: "input.input_value"`, and google/api/http.proto wants a field of the request.
EXECUTIONS = "yandex.cloud.serverless.workflows.v1.ExecutionService"


class Backend(grpc.GenericRpcHandler):
    """Answers each message of every method with itself, or where the metadata say so with an empty one.

    `last` is the method and the messages of the last call.
    """

    def __init__(self):
        self.last = None

    def service(self, details):
        whole = ("echo", "yes") in details.invocation_metadata

        def answer(requests, _context):
            messages = []
            for message in requests:
                messages.append(message)
                self.last = (details.method, messages)
                yield message if whole else b""

        return grpc.stream_stream_rpc_method_handler(answer)


class Gateway:
    """`transom serve` with an empty store."""

    def __init__(self, directory):
        configuration = {
            "listeners": [{"name": "plain", "address": "127.0.0.1:0"}],
            "admin": {"address": "127.0.0.1:0"},
            "store": {"embedded": {"path": str(directory / "store.redb")}},
        }
        self.program = harness.serve(directory / "transom.yaml", configuration)
        self.address = self.program.address
        self.admin = self.program.wait_line(r"listener=admin address=(127\.0\.0\.1:\d+)").group(1)

    def __enter__(self):
        return self

    def __exit__(self, *failed):
        return self.program.__exit__(*failed)

    def ask(self, verb, path, body=None, media_type="application/json", address=None, headers=None):
        """Sends one request; gives the status and the body."""
        connection = http.client.HTTPConnection(address or self.admin, timeout=SECONDS)
        try:
            connection.request(verb, path, body=body, headers={"content-type": media_type} | (headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def get(self, path, address=None):
        status, body = self.ask("GET", path, address=address)
        assert status == 200, body
        return body

    def push(self, module, content, media_type=bundles.SET):
        status, body = self.ask("POST", f"/admin/v1/modules/{module}/versions", content, media_type)
        return status, json.loads(body)

    def put(self, resource, **spec):
        status, body = self.ask("PUT", f"/admin/v1/{resource}", json.dumps(spec))
        return status, json.loads(body)


@pytest.fixture(scope="module")
def backend():
    handler = Backend()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[handler])
    handler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield handler
    server.stop(None).wait()


def bundle(name, tmp_path_factory):
    if name == "editions":
        return bundles.editions(tmp_path_factory.mktemp("editions"))
    return getattr(bundles, name)()


@pytest.fixture(scope="module", params=sorted(COUNTS))
def pushed(request, backend, tmp_path_factory):
    """A gateway that a bundle was pushed to, with an upstream."""
    with Gateway(tmp_path_factory.mktemp(request.param)) as gateway:
        gateway.bundle = bundle(request.param, tmp_path_factory)
        assert gateway.put("upstreams/x", endpoints=[{"address": backend.address}])[0] == 200
        status, gateway.answer = gateway.push(request.param, gateway.bundle.content, gateway.bundle.media_type)
        assert status == 200, gateway.answer
        versions = f"/admin/v1/modules/{request.param}/versions/live"
        whole = FileDescriptorSet.FromString(gateway.get(f"{versions}/descriptor_set"))
        gateway.files = FileDescriptorSet(file=[file for file in whole.file if file.name in gateway.bundle.files])
        yield gateway


def publish(gateway):
    """Publishes the whole module; gives how the API was made, and where the first try was refused, its answer."""
    name = gateway.bundle.name
    spec = {"module": name, "upstream": "x", "openapi": {"path": "/openapi.json"}}
    refused = None
    if name == "compute":
        refused = gateway.put(f"apis/{name}", **spec)
        spec["rest"] = {"conflicts": "first"}
    if name == "yandexcloud":
        refused = gateway.put(f"apis/{name}", **spec)
        spec["services"] = sorted(bundles.services(gateway.files).keys() - {EXECUTIONS})
        others = {"services": [EXECUTIONS], "dialects": ["grpc", "grpc_web", "connect"]}
        made = gateway.put(f"apis/{name}-others", module=name, upstream="x", **others)
        assert made[0] == 200, made
    made = gateway.put(f"apis/{name}", **spec)
    assert made[0] == 200, made
    return refused


@pytest.fixture(scope="module")
def published(pushed):
    pushed.refused = publish(pushed)
    return pushed


@pytest.fixture(scope="module")
def channel(published):
    with library.channel(published.address) as channel:
        yield channel


def faults(answer):
    """Field by field, what a refusal says is wrong."""
    violations = [detail for detail in answer["details"] if detail["@type"].endswith("BadRequest")]
    return [(fault["field"], fault["description"]) for fault in violations[0]["fieldViolations"]]


def test_counts_are_those_of_the_package(pushed):
    version, bundle = pushed.answer["version"], pushed.bundle
    assert (version["fileCount"], version["methodCount"]) == COUNTS[bundle.name]
    assert (len(bundle.files), bundle.methods) == COUNTS[bundle.name]
    assert set(version["files"]) == bundle.files
    assert pushed.answer["promoted"] and version["labels"] == ["live"]


def test_the_same_again_is_unchanged(pushed):
    bundle, digest = pushed.bundle, pushed.answer["version"]["digest"]
    for content, media_type in [(bundle.content, bundle.media_type), (pushed.files.SerializeToString(), bundles.SET)]:
        status, answer = pushed.push(bundle.name, content, media_type)
        assert status == 200, answer
        assert answer.get("unchanged") and not answer.get("promoted"), answer
        assert answer["version"]["digest"] == digest


def test_the_program_pushes_it(pushed, tmp_path):
    path = pushed.bundle.directory
    if path is None:
        path = tmp_path / "set.binpb"
        path.write_bytes(pushed.bundle.content)
    command = [harness.TRANSOM, "push", pushed.bundle.name, path, "--admin", f"http://{pushed.admin}", "--source", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert "unchanged, it was there already" in done.stdout


@pytest.mark.parametrize("drop, rule", [("method", "TRANSOM_RPC_NO_DELETE"), ("field", "FIELD_NO_DELETE")])
def test_what_breaks_is_refused(pushed, drop, rule):
    changed, gone = getattr(bundles, f"without_{drop}")(pushed.files)
    status, answer = pushed.push(pushed.bundle.name, changed.SerializeToString())
    assert (status, answer["code"]) == (400, code_pb2.FAILED_PRECONDITION), answer
    assert answer["message"].startswith(f"it would break clients of {pushed.bundle.name} (live): "), answer
    message = gone if drop == "method" else gone.rpartition(".")[0]
    assert re.search(rf" {rule}\w* {re.escape(message)}", answer["message"]), answer
    live = json.loads(pushed.get(f"/admin/v1/modules/{pushed.bundle.name}/versions/live"))
    assert live["digest"] == pushed.answer["version"]["digest"]


def test_rules_that_cannot_serve_are_told(published):
    if published.bundle.name == "compute":
        status, answer = published.refused
        assert (status, len(faults(answer))) == (409, 5), answer
        for field, told in faults(answer):
            assert field == "apis/compute: module"
            assert re.match(
                r"\w+ \S+ on every host is claimed by google\.cloud\.compute\.v1\.\S+ \(\S+/v1/compute\.proto\) and by "
                r"google\.cloud\.compute\.v1small\.\S+ \(\S+/compute_small\.proto\); change one of the two rules, "
                r'or set `rest\.conflicts: first` on API "compute": google\.cloud\.compute\.v1\.\S+ serves then$', told,
            ), told
    elif published.bundle.name == "yandexcloud":
        status, answer = published.refused
        assert status == 400, answer
        ((field, told),) = faults(answer)
        assert field == "apis/yandexcloud: module"
        assert told == (
            f"yandex/cloud/serverless/workflows/v1/execution_service.proto: HTTP rule of {EXECUTIONS}.Start: "
            'additional_bindings[0]: body "input.input_value" is not a field; write *, or a field directly in the '
            "request message, by its name in the .proto file; if the file is not yours, publish its service by an API of "
            "its own whose `dialects` leave out rest"
        )
    else:
        assert published.refused is None


def test_reflection_lists_all_services(published, channel):
    found = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert bundles.services(published.files).keys() <= found
    strangers = found - bundles.services(published.files).keys()
    assert all(name.startswith("grpc.") for name in strangers), strangers


def methods(files):
    return [f"/{name}/{method.name}" for name, service in bundles.services(files).items() for method in service.method]


def echoes(channel, method):
    call = channel.stream_stream(method)(iter([PAYLOAD]), timeout=SECONDS, metadata=[("echo", "yes")])
    return list(call)


def test_calls_reach_the_backend_and_come_back(published, channel, backend):
    every = methods(published.files)
    # Those of each end, and of every eighth between them.
    sample = dict.fromkeys([*every[::8], every[-1]])
    for method in sample:
        assert echoes(channel, method) == [PAYLOAD], method
        assert backend.last == (method, [PAYLOAD])


def served(gateway):
    """The bindings that have a route, by verb and path: of two that claim one, the first has it."""
    found = {}
    for rule in bundles.rules(gateway.files):
        if not rule.method.startswith(f"/{EXECUTIONS}/"):
            found.setdefault(rule.documented, rule)
    return found


def test_the_document_lists_every_route(published):
    document = json.loads(published.get("/openapi.json", published.address))
    listed = {f"{verb.upper()} {bundles.variables(path)}": operation for path, operations in document["paths"].items()
              for verb, operation in operations.items()}
    wanted = served(published)
    assert wanted and not wanted.keys() - listed.keys()
    for key, rule in wanted.items():
        service, _, method = rule.method.removeprefix("/").partition("/")
        operation = listed[key]
        assert operation["tags"] == [service], key
        assert method in operation["operationId"], key


def test_rest_routes_reach_their_methods(published, backend):
    connection = http.client.HTTPConnection(published.address, timeout=SECONDS)
    wrong, asked = [], 0
    for key, rule in served(published).items():
        # What `**` takes is the matter of test_specs.py.
        if "**" in rule.template or rule.streams:
            continue
        asked += 1
        backend.last = None
        body = "{}" if rule.body else None
        connection.request(rule.verb, rule.path("7"), body=body, headers={"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200 or backend.last is None or backend.last[0] != rule.method:
            wrong.append(f"{key}: {response.status} {text[:200]} {backend.last}")
    connection.close()
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong[:40])
    assert asked == ROUTES[published.bundle.name]


def test_editions_are_read_as_they_say(tmp_path, backend):
    """REST writes what another implementation of edition 2023 reads, and the other way round."""
    bundle = bundles.editions(tmp_path)
    pool = DescriptorPool()
    for name in ("google/protobuf/descriptor.proto", "google/api/http.proto", "google/api/annotations.proto"):
        pool.AddSerializedFile(bundles.linked(name))
    for file in FileDescriptorSet.FromString(bundle.content).file:
        pool.Add(file)
    shape = message_factory.GetMessageClass(pool.FindMessageTypeByName("far.v1.Shape"))
    with Gateway(tmp_path) as gateway:
        gateway.put("upstreams/x", endpoints=[{"address": backend.address}])
        assert gateway.push("editions", bundle.content)[0] == 200
        assert gateway.put("apis/editions", module="editions", upstream="x")[0] == 200

        def draw(**fields):
            body = json.dumps(fields)
            return gateway.ask("POST", "/v1/shapes/a", body, address=gateway.address, headers={"echo": "yes"})

        corners = [{"x": 1, "y": -1}, {"x": 2, "y": 0}]
        status, body = draw(corners=corners, sizes=[0, 300], colour="BLUE", filled=False)
        method, (sent,) = backend.last
        assert method == "/far.v1.Shapes/Draw"
        parts = [
            b"\x0a\x08shapes/a",
            # Groups, in which a zero is left out: the presence of its field is implicit.
            b"\x13\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x14" b"\x13\x08\x02\x14",
            # Not packed.
            b"\x18\x00\x18\xac\x02",
            b"\x20\x02",
            # The presence of this field is explicit.
            b"\x28\x00",
        ]
        assert all(part in sent for part in parts) and len(sent) == sum(map(len, parts)), sent
        read = shape.FromString(sent)
        assert [(corner.x, corner.y) for corner in read.corners] == [(1, -1), (2, 0)]
        assert (read.name, list(read.sizes), read.colour) == ("shapes/a", [0, 300], 2)
        assert read.HasField("filled") and not read.filled
        assert (status, json.loads(body)) == (200, {
            "name": "shapes/a", "corners": [corners[0], {"x": 2}], "sizes": [0, 300], "colour": "BLUE", "filled": False,
        })
        # An enum that is closed has no other values.
        status, body = draw(colour=7)
        assert status == 400 and b"colour" in body, body


def test_a_missing_import_is_refused_and_nothing_else_suffers(tmp_path, backend):
    """Generated modules of temporalio import three files that the package doesn't have."""
    with Gateway(tmp_path) as gateway:
        gateway.put("upstreams/x", endpoints=[{"address": backend.address}])
        bundle = bundles.editions(tmp_path)
        assert gateway.push("editions", bundle.content)[0] == 200
        assert gateway.put("apis/editions", module="editions", upstream="x")[0] == 200
        status, answer = gateway.push("temporal", bundles.temporal().content)
        assert (status, answer["code"]) == (400, code_pb2.INVALID_ARGUMENT), answer
        help = "upload that file too, or list the module that has it under deps; protoc wants --include_imports"
        cluster, interaction = "temporal/api/cluster/v1/message.proto", "temporal/api/interaction/v1/message.proto"
        assert faults(answer) == [
            (file, f'it imports "{missing}", which is not there; {help}') for file, missing in [
                (cluster, "dependencies/gogoproto/gogo.proto"),
                (cluster, "temporal/api/enums/v1/cluster.proto"),
                (interaction, "temporal/api/enums/v1/interaction_type.proto"),
            ]
        ]
        assert gateway.ask("GET", "/admin/v1/modules/temporal")[0] == 404
        with library.channel(gateway.address) as channel:
            assert echoes(channel, "/far.v1.Shapes/Draw") == [PAYLOAD]
        # Without the files that lack something, and those that need them, the rest of the package serves.
        whole, missing = FileDescriptorSet.FromString(bundles.temporal().content), {cluster, interaction}
        while more := {file.name for file in whole.file if missing & set(file.dependency)} - missing:
            missing |= more
        rest = FileDescriptorSet(file=[file for file in whole.file if file.name not in missing])
        status, answer = gateway.push("temporal", rest.SerializeToString())
        assert status == 200, answer
        assert answer["version"]["fileCount"] == len(rest.file)


@pytest.fixture(scope="module")
def admin_pool(tmp_path_factory):
    """The messages of the Admin API."""
    out = tmp_path_factory.mktemp("admin") / "admin.binpb"
    assert protoc.main(["protoc", f"-I{harness.ROOT / 'protos'}", f"-I{bundles.WELL_KNOWN}", "--include_imports",
                        f"--descriptor_set_out={out}", "transom/admin/v1/modules.proto"]) == 0
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.Add(file)
    return pool


def test_many_faults_fit_into_what_clients_of_grpc_take(tmp_path, admin_pool):
    """grpcio takes trailers of 8 KiB for certain: what doesn't fit is counted, and each fault has its way out."""
    files = FileDescriptorSet.FromString(bundles.yandexcloud().content)
    for file in files.file:
        file.dependency[:] = ["missing/" + "x" * 250 + name for name in file.dependency]
    kind = message_factory.GetMessageClass(admin_pool.FindMessageTypeByName("transom.admin.v1.CreateVersionRequest"))
    request = kind(module="yandexcloud", content={"content_type": bundles.SET, "data": files.SerializeToString()})
    with Gateway(tmp_path) as gateway, library.channel(gateway.admin) as channel:
        call = channel.unary_unary("/transom.admin.v1.Modules/CreateVersion")
        with pytest.raises(grpc.RpcError) as caught:
            call(request.SerializeToString(), timeout=SECONDS)
    error = caught.value
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    assert re.search(r"and \d+ more\)$", error.details()), error
    assert sum(len(key) + len(value) + 32 for key, value in error.trailing_metadata()) < 8 << 10
    violations = error_details_pb2.BadRequest()
    assert rpc_status.from_call(error).details[1].Unpack(violations)
    assert len(violations.field_violations) > 3
    for fault in violations.field_violations:
        assert "which is not there; upload that file too" in fault.description, fault


class Load:
    """Calls of one method after the other, from one client, until it is left."""

    def __init__(self, address, method):
        self.address, self.method = address, method
        self.calls, self.slowest, self.failed, self.over = 0, 0.0, [], False
        self.begun = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        with library.channel(self.address) as channel:
            while not self.over:
                start = time.perf_counter()
                try:
                    assert echoes(channel, self.method) == [PAYLOAD]
                except (grpc.RpcError, AssertionError) as error:
                    self.failed.append(error)
                self.slowest = max(self.slowest, time.perf_counter() - start)
                self.calls += 1
                self.begun.set()

    def __enter__(self):
        self.thread.start()
        assert self.begun.wait(SECONDS)
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


def polls(gateway):
    """How many polls of client connections each bucket of `transom_worker_poll_cpu_seconds` has."""
    page = gateway.get("/metrics").decode()
    sums = re.findall(r'^transom_worker_poll_cpu_seconds_bucket\{le="([^"]+)"\} (\d+)$', page, re.M)
    counts = [int(count) for _, count in sums]
    return {bound: count - before for (bound, _), count, before in zip(sums, counts, [0, *counts])}


def test_measure_a_push_under_load(tmp_path, backend):
    """Seconds from request to answer: compiled, checked, stored and swapped, while calls run."""
    small, large = bundles.editions(tmp_path), bundles.yandexcloud()
    with Gateway(tmp_path) as gateway:
        gateway.put("upstreams/x", endpoints=[{"address": backend.address}])
        assert gateway.push("editions", small.content)[0] == 200
        assert gateway.put("apis/editions", module="editions", upstream="x", services=["far.v1.Shapes"])[0] == 200
        gateway.bundle, gateway.files = large, FileDescriptorSet.FromString(large.content)
        wider = bundles.with_field(gateway.files).SerializeToString()

        def measured(what, step):
            before = polls(gateway)
            with Load(gateway.address, "/far.v1.Shapes/Draw") as load:
                start = time.perf_counter()
                result = step()
                seconds = time.perf_counter() - start
            after = polls(gateway)
            reached = [bound for bound in after if before[bound] < after[bound]]
            print(f"\n{what}: {seconds:.2f} s; meanwhile {load.calls} calls, the slowest {load.slowest * 1e3:.0f} ms, "
                  f"polls of workers up to {reached[-1]} s", end="")
            assert not load.failed, load.failed[:3]
            assert seconds < PUSH_SECONDS_MAX
            return result

        status, answer = measured("first version, of 2534 methods", lambda: gateway.push(large.name, large.content))
        assert status == 200, answer
        measured("its APIs", lambda: publish(gateway))
        status, answer = measured("second version, with one field more", lambda: gateway.push(large.name, wider))
        assert status == 200 and answer["promoted"], answer
        status, answer = measured("the same again", lambda: gateway.push(large.name, wider))
        assert status == 200 and answer["unchanged"], answer
        print()
