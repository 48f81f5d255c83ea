"""Starts and stops the programs under test, on free ports, and finds out where they listen.

TRANSOM_BIN and DEMO_BACKEND_BIN name the programs; without them those of the dev profile are taken.
"""

import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
TRANSOM = os.environ.get("TRANSOM_BIN", str(_BUILT / "transom"))
BACKEND = os.environ.get("DEMO_BACKEND_BIN", str(_BUILT / "examples" / "demo_backend"))

START_SECONDS = 20
STOP_SECONDS = 40
_ADDRESS = r"(127\.0\.0\.1:\d+)"


class Program:
    """A running program whose output is read line by line. Use it with `with`, or call `stop`."""

    def __init__(self, *command):
        if not Path(command[0]).exists():
            raise SystemExit(f"no program {command[0]}: build it first, or run tests/run.sh")
        self.command = command
        self.lines = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for pipe in (self.process.stdout, self.process.stderr):
            threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe):
        for line in pipe:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def wait_line(self, pattern, skip=None, seconds=START_SECONDS):
        """The first match of `pattern` in the output, whether it is printed already or is yet to come."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                for line in self.lines:
                    match = re.search(pattern, line)
                    if match and not (skip and re.search(skip, line)):
                        return match
                left = deadline - time.monotonic()
                if self.process.poll() is not None or left <= 0:
                    raise AssertionError(f"{self.command} printed no line like {pattern!r}:\n" + self.output())
                self.changed.wait(min(left, 0.5))

    def output(self):
        return "\n".join(self.lines[-200:])

    def terminate(self):
        """Asks the program to drain and end."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        """The exit code, once the program has ended by itself."""
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.command} did not end within {STOP_SECONDS} s:\n{self.output()}") from None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.terminate()
        code = self.wait()
        assert code == 0, f"{self.command} ended with {code}:\n{self.output()}"

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if failed and self.process.poll() is None:
            self.kill()
        elif self.process.poll() is None:
            self.stop()


def listening(program, seconds=START_SECONDS):
    """Where a `transom serve` listens for calls: it logs one line for each listener."""
    return program.wait_line(rf"listening.*?{_ADDRESS}", skip="admin|status", seconds=seconds).group(1)


def demo():
    """`transom demo`; `.gateway`, `.tls` and `.admin` are its addresses. HTTP/3 is at `.tls` too."""
    free = [part for flag in ("--listen", "--listen-tls", "--admin") for part in (flag, "127.0.0.1:0")]
    program = Program(TRANSOM, "demo", *free)
    program.gateway = program.wait_line(rf"^gateway +http://{_ADDRESS}").group(1)
    program.admin = program.wait_line(rf"^admin +http://{_ADDRESS}").group(1)
    program.tls = program.wait_line(rf"^tls +https://{_ADDRESS}").group(1)
    return program


def backend(address="127.0.0.1:0"):
    """The demo's library alone; `.address` is where it listens."""
    program = Program(BACKEND, "--listen", address)
    program.address = program.wait_line(rf"^backend +http://{_ADDRESS}").group(1)
    return program


def config(descriptor_set, backends, address="127.0.0.1:0", **sections):
    """A configuration that publishes the library of these backends; `sections` are added or replaced."""
    whole = {
        "listeners": [{"name": "plain", "address": address}],
        "modules": [{"name": "demo", "descriptor_set": str(descriptor_set)}],
        "upstreams": [{"name": "demo", "endpoints": [{"address": backend} for backend in backends]}],
        "apis": [{"name": "demo", "module": "demo", "upstream": "demo"}],
        "admin": {"address": "127.0.0.1:0"},
    }
    return whole | sections


def serve(path, configuration, seconds=START_SECONDS):
    """`transom serve` with a configuration that is written to `path`; `.address` is its listener's."""
    path.write_text(json.dumps(configuration, indent=1))  # JSON is YAML
    program = Program(TRANSOM, "serve", "-c", str(path))
    try:
        program.address = listening(program, seconds)
    except AssertionError:
        program.kill()
        raise
    return program
