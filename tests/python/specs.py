"""Google's own .proto files as modules: one a package, published on the hosts that its services name.

TRANSOM_SPECS names the unpacked npm package; without it that of tests/run.sh is taken.
"""

import functools
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from harness import ROOT

SPECS = Path(os.environ.get("TRANSOM_SPECS", ROOT / "tests" / ".specs" / "package"))

# A text is kept, a comment becomes a space: paths have /* in them.
_TOKENS = re.compile(r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|//[^\n]*|/\*.*?\*/""", re.S)
_PACKAGE = re.compile(r"^\s*package\s+([\w.]+)\s*;", re.M)
_IMPORT = re.compile(r'^\s*import\s+(?:public\s+|weak\s+)?"([^"]*)"', re.M)
_SERVICE = re.compile(r"^\s*service\s+(\w+)\s*\{", re.M)
_HOST = re.compile(r'\boption\s*\(\s*google\.api\.default_host\s*\)\s*=\s*"([^"]*)"')
_RPC = re.compile(r"\brpc\s+(\w+)\s*\(")
_RULE = re.compile(r'\b(get|put|post|delete|patch)\s*:\s*"([^"]*)"')


@dataclass(frozen=True)
class Rule:
    """One way to call a method, as its file says it."""

    method: str
    verb: str
    template: str


@dataclass
class Package:
    """A protobuf package that declares services."""

    name: str
    files: list = field(default_factory=list)
    # Services by the host that they name.
    hosts: dict = field(default_factory=lambda: defaultdict(list))

    @property
    def module(self):
        return self.name.replace(".", "-")


@dataclass
class Service:
    name: str
    host: str | None
    rules: list


@dataclass
class _File:
    package: str
    imports: list
    services: list


@functools.cache
def _files():
    if not SPECS.is_dir():
        raise SystemExit(f"no .proto files at {SPECS}: run tests/run.sh, which puts them there")
    found = {}
    for path in sorted(SPECS.rglob("*.proto")):
        text = _TOKENS.sub(lambda match: match[1] or " ", path.read_text(encoding="utf-8"))
        package = _PACKAGE.search(text)[1]
        services = []
        for start, block in _blocks(_SERVICE, text):
            full_name = f"{package}.{start[1]}"
            host = _HOST.search(block)
            rules = [
                Rule(f"/{full_name}/{rpc[1]}", rule[1].upper(), rule[2])
                for rpc, rest in _blocks(_RPC, block)
                for rule in _RULE.finditer(rest)
            ]
            services.append(Service(full_name, host and host[1], rules))
        name = path.relative_to(SPECS).as_posix()
        found[name] = _File(package, _IMPORT.findall(text), services)
    return found


def _blocks(start, text):
    """Each match, and the text from there to the next one."""
    starts = list(start.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    return [(match, text[match.end() : end]) for match, end in zip(starts, ends)]


@functools.cache
def packages():
    """Every package that declares services, by name. Services that name no host get an invented one."""
    found = {}
    for name, file in _files().items():
        if not file.services:
            continue
        package = found.setdefault(file.package, Package(file.package))
        package.files.append(name)
        for service in file.services:
            package.hosts[service.host or f"{package.module}.test"].append(service)
    return found


def closure(package):
    """Names of the package's files and of all that they import."""
    files = _files()
    found = set()
    left = list(package.files)
    while left:
        name = left.pop()
        # What is not in the directory is part of every gateway: google/protobuf/any.proto and the like.
        if name in files and name not in found:
            found.add(name)
            left.extend(files[name].imports)
    return found


def lay_out(package, directory):
    """A directory that has links to just the files that the package needs."""
    for name in closure(package):
        link = directory / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(SPECS / name)


def config(root, backend, rest, openapi):
    """A configuration with one module a package, and one API for each of its hosts.

    `rest` gives the REST options of a package, `openapi` whether its document is served, at `/API.json`.
    """
    modules, apis = [], []
    for package in packages().values():
        directory = root / package.module
        if not directory.exists():
            lay_out(package, directory)
        modules.append({"name": package.module, "protos": str(directory)})
        for number, (host, services) in enumerate(sorted(package.hosts.items())):
            name = package.module if number == 0 else f"{package.module}-{number + 1}"
            api = {
                "name": name,
                "module": package.module,
                "services": [service.name for service in services],
                "hosts": [host],
                "upstream": "backend",
                "rest": rest(package),
            }
            if openapi(package):
                api["openapi"] = {"path": f"/{name}.json"}
            apis.append(api)
    return {
        "listeners": [{"name": "plain", "address": "127.0.0.1:0"}],
        "modules": modules,
        "upstreams": [{"name": "backend", "endpoints": [{"address": backend}]}],
        "apis": apis,
        "admin": {"address": "127.0.0.1:0"},
    }
