"""Google's own APIs, each package a module of its own: what is refused and why, and that all else serves.

`BLESS=1` writes tests/specs/refusals.txt anew; `TRANSOM_OPENAPI=all` validates the documents of all packages.
"""

import concurrent.futures
import http.client
import json
import os
import re
import subprocess
from collections import defaultdict

import grpc
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import harness
import specs

GOLDEN = harness.ROOT / "tests" / "specs" / "refusals.txt"
CLAIMED = re.compile(r"^(\S+ \S+) on host .* is claimed by (\S+) \(.*\) and by (\S+) \(.*\)$")

# Small and big, with streams, deep resources, raw bodies, enums, custom verbs and services without a rule.
DOCUMENTED = [
    "google.cloud.bigquery.v2",
    "google.cloud.discoveryengine.v1",
    "google.cloud.functions.v2",
    "google.cloud.kms.v1",
    "google.cloud.speech.v2",
    "google.cloud.videointelligence.v1",
    "google.firestore.v1",
    "google.longrunning",
    "google.pubsub.v1",
    "google.storage.v2",
]


def no_options(_package):
    return {}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("specs")


@pytest.fixture(scope="module")
def refusals(root):
    """What `transom check` says of each package: pairs of problem and help."""
    configuration = specs.config(root, "127.0.0.1:1", rest=no_options, openapi=lambda _: False)
    path = root / "check.yaml"
    path.write_text(json.dumps(configuration, indent=1))
    checked = subprocess.run([harness.TRANSOM, "check", "-c", path], capture_output=True, text=True, timeout=300)
    assert checked.returncode == 1, checked.stderr
    *lines, last = checked.stderr.splitlines()
    found = defaultdict(list)
    for problem, help in zip(lines[::2], lines[1::2], strict=True):
        fault = re.fullmatch(rf"{re.escape(str(path))}:\d+:\d+: apis\[(\d+)\]\.module: (.*)", problem)
        assert fault and help.startswith("  help: "), f"{problem}\n{help}"
        api = configuration["apis"][int(fault[1])]
        found[api["module"]].append((fault[2], help.removeprefix("  help: ")))
    assert last == f"{len(lines) // 2} faults"
    return {package.name: sorted(found.pop(package.module)) for package in specs.packages().values()
            if package.module in found} | found


class Echo(grpc.GenericRpcHandler):
    """Refuses every call, with the name of the method and the bytes of the request."""

    def service(self, details):
        def answer(request, context):
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{details.method} {request.hex()}")

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture(scope="module")
def backend():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[Echo()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(scope="module")
def gateway(root, refusals, backend):
    """`transom serve` with every package; those that are refused have the options that their refusals name."""

    def options(package):
        helps = " ".join(help for _, help in refusals.get(package.name, []))
        chosen = {}
        if "`rest.conflicts: first`" in helps:
            chosen["conflicts"] = "first"
        if "`rest.allow_mid_double_star: true`" in helps:
            chosen["allow_mid_double_star"] = True
        return chosen

    every = os.environ.get("TRANSOM_OPENAPI") == "all"
    configuration = specs.config(
        root, backend, rest=options, openapi=lambda package: every or package.name in DOCUMENTED
    )
    with harness.serve(root / "transom.yaml", configuration, seconds=300) as program:
        program.apis = configuration["apis"]
        yield program


@pytest.fixture(scope="module")
def ask(gateway):
    """Sends one request; gives the status and the body."""
    connection = http.client.HTTPConnection(gateway.address, timeout=30)

    def ask(host, verb, path, body=None):
        headers = {"host": host, "content-type": "application/json"}
        connection.request(verb, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()

    yield ask
    connection.close()


def called(answer):
    """The method and the request that the backend saw."""
    status, body = answer
    assert status == 501, answer
    method, _, request = json.loads(body)["message"].partition(" ")
    return method, bytes.fromhex(request)


def written(refusals):
    """As it is in the golden file."""
    lines = []
    for name, faults in sorted(refusals.items()):
        lines.append(f"{name} on {', '.join(sorted(specs.packages()[name].hosts))}")
        for problem, help in faults:
            lines += [f"  {problem}", f"    {help}"]
    return "\n".join(lines) + "\n"


def test_all_rules_are_there():
    rules = [rule for package in specs.packages().values()
             for services in package.hosts.values() for service in services for rule in service.rules]
    assert (len(specs.packages()), len(rules)) == (490, 15_328)


def test_refusals_are_as_they_were(refusals):
    found = written(refusals)
    if os.environ.get("BLESS"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text(), "BLESS=1 writes it anew"


def test_each_refusal_names_two_methods_or_a_template(refusals):
    for name, faults in refusals.items():
        for problem, _ in faults:
            claim = CLAIMED.match(problem)
            if claim:
                assert claim[2] != claim[3] and claim[3].startswith(f"{name}."), problem
            else:
                assert f"HTTP rule of {name}." in problem and "a segment after **" in problem, problem


def test_the_first_of_a_conflict_serves_with_a_warning(gateway, refusals):
    conflicts = [claim for faults in refusals.values() for problem, _ in faults if (claim := CLAIMED.match(problem))]
    warnings = [line.partition(" WARN ")[2] for line in gateway.lines if " WARN " in line]
    assert conflicts
    for claim in conflicts:
        said = [line for line in warnings if line.startswith(f"{claim[0]}: {claim[2]} serves")]
        assert len(said) == 1, f"{claim[0]}: {said}"
    assert len(warnings) == len(conflicts)


@pytest.mark.parametrize(
    "host, verb, path, method, fields",
    [
        (
            "pubsub.googleapis.com", "GET", "/v1/projects/p/topics/t%20u",
            "google.pubsub.v1.Publisher/GetTopic", {1: "projects/p/topics/t u"},
        ),
        (
            "firestore.googleapis.com", "POST", "/v1/projects/p/databases/d/documents/a/b/c?document_id=x",
            "google.firestore.v1.Firestore/CreateDocument",
            {1: "projects/p/databases/d/documents/a/b", 2: "c", 3: "x", 4: ""},
        ),
        # Two methods claim it: the first in file order serves.
        (
            "discoveryengine.googleapis.com", "POST", "/v1/projects/p/locations/l/dataStores/d/sessions",
            "google.cloud.discoveryengine.v1.ConversationalSearchService/CreateSession",
            {1: "projects/p/locations/l/dataStores/d", 2: ""},
        ),
        # Two packages claim it: the first in the configuration serves.
        (
            "compute.googleapis.com", "GET", "/compute/v1/projects/p/aggregated/addresses?filter=f",
            "google.cloud.compute.v1.Addresses/AggregatedList", {227560217: "p", 336120696: "f"},
        ),
    ],
)
def test_calls_reach_their_method(ask, host, verb, path, method, fields):
    seen, request = called(ask(host, verb, path, body="{}" if verb == "POST" else None))
    assert (seen, texts(request)) == (f"/{method}", fields)


def texts(message):
    """The fields of a message that has only texts and messages."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            value |= (message[at] & 0x7F) << shift
            at, shift, more = at + 1, shift + 7, message[at] & 0x80
            if not more:
                return value

    while at < len(message):
        tag, length = varint(), varint()
        assert tag & 7 == 2
        found[tag >> 3] = message[at : at + length].decode()
        at += length
    return found


def test_every_get_rule_is_reached(ask):
    """A path of each template reaches the method that another, slower reading of the rules finds."""
    by_host = defaultdict(list)
    for package in specs.packages().values():
        for host, services in package.hosts.items():
            rules = [rule for service in services for rule in service.rules if rule.verb == "GET"]
            by_host[host] += [Reading(rule) for rule in rules]
    wrong = []
    for host, readings in by_host.items():
        for path in {reading.path: None for reading in readings}:
            wanted = min((reading for reading in readings if reading.fits(path)), key=lambda reading: reading.rank)
            seen, _ = called(ask(host, "GET", path))
            if seen != wanted.method:
                wrong.append(f"{host}{path} reached {seen}, not {wanted.method}")
    assert not wrong, "\n".join(wrong)
    assert sum(map(len, by_host.values())) == 5_725


class Reading:
    """A template as a regular expression, and its rank: from left to right, a literal goes before * before
    the end before **."""

    def __init__(self, rule):
        self.method = rule.method
        plain = re.sub(r"\{[^=}]*\}", "*", rule.template)
        plain = re.sub(r"\{[^=]*=([^}]*)\}", r"\1", plain)
        plain, colon, verb = plain.partition(":")
        segments = plain.removeprefix("/").split("/")
        # A number is a text as well; two segments of ** tell it from *.
        self.path = "/" + "/".join({"*": "7", "**": "7/7"}.get(segment, segment) for segment in segments) + colon + verb
        pattern = "".join({"*": "/[^/]+", "**": "(?:/[^/]*)*"}.get(segment, "/" + re.escape(segment))
                          for segment in segments)
        self._pattern = re.compile(pattern + re.escape(colon + verb))
        self.rank = (not verb, [{"*": 1, "**": 3}.get(segment, 0) for segment in segments] + [2])

    def fits(self, path):
        return self._pattern.fullmatch(path)


def test_documents_are_valid(gateway, ask):
    documented = [api for api in gateway.apis if "openapi" in api]
    assert len(documented) >= len(DOCUMENTED) == 10
    with concurrent.futures.ProcessPoolExecutor() as pool:
        checks = []
        for api in documented:
            status, text = ask(api["hosts"][0], "GET", api["openapi"]["path"])
            assert status == 200, f"{api['name']}: {text}"
            checks.append((api["name"], pool.submit(faults_of, text)))
        faulty = {name: check.result()[:5] for name, check in checks if check.result()}
    assert not faulty, json.dumps(faulty, indent=1)


def faults_of(text):
    document = json.loads(text)
    assert document["openapi"].startswith("3.1.") and document["paths"]
    return [f"{'/'.join(map(str, fault.absolute_path))}: {fault.message}"[:300]
            for fault in OpenAPIV31SpecValidator(document).iter_errors()]
