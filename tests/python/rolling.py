"""Restarts gateways, and backends, one after the other under load: no unary call may fail."""

import threading

import harness
import library
from library import SECONDS, pb, rpc

THREADS = 8
OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.lb_policy_name", "round_robin"),
    # A list of addresses would be sent as the authority, which no server has to take.
    ("grpc.default_authority", "library.example"),
]


class Load:
    """Unary calls from many threads, until it is left. Says which backends answered."""

    def __init__(self, addresses):
        self.channel = library.channel("ipv4:" + ",".join(addresses), *OPTIONS)
        self.stub = rpc.LibraryStub(self.channel)
        self.changed = threading.Condition()
        self.answered = {}
        self.failed = []
        self.over = False
        self.threads = [threading.Thread(target=self._run) for _ in range(THREADS)]

    def _run(self):
        while not self.over:
            try:
                local = self.stub.Inspect(pb.InspectRequest(padding=100), timeout=SECONDS).local
            except Exception as error:  # every failure counts
                with self.changed:
                    self.failed.append(str(error))
                continue
            with self.changed:
                self.answered[local] = self.answered.get(local, 0) + 1
                self.changed.notify_all()

    def wait_for(self, backend, calls=200):
        """Waits until this backend has answered so many more calls."""
        with self.changed:
            enough = self.answered.get(backend, 0) + calls
            came = self.changed.wait_for(lambda: self.answered.get(backend, 0) >= enough, SECONDS)
            assert came, f"{backend} is not called any more: {self.answered}, {self.failed[:3]}"

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        for thread in self.threads:
            thread.join()
        self.channel.close()


def check(load, backends):
    assert not load.failed, f"{len(load.failed)} of {sum(load.answered.values())} calls failed: {load.failed[0]}"
    assert set(load.answered) == set(backends)


def test_gateways_restart_one_after_the_other(tmp_path):
    """Each gateway has a backend of its own, which tells by whom a call went."""
    with harness.backend() as one, harness.backend() as two:
        places, gateways = [one.address, two.address], []
        try:
            for number, place in enumerate(places):
                config = harness.config(library.DESCRIPTOR_SET, [place])
                gateways.append(harness.serve(tmp_path / f"{number}.yaml", config))
            addresses = [gateway.address for gateway in gateways]
            with Load(addresses) as load:
                for number in [0, 1, 0, 1]:
                    for place in places:
                        load.wait_for(place)
                    gateways[number].stop()
                    config = harness.config(library.DESCRIPTOR_SET, [places[number]], address=addresses[number])
                    gateways[number] = harness.serve(tmp_path / f"{number}.yaml", config)
                for place in places:
                    load.wait_for(place)
            check(load, places)
        finally:
            for gateway in gateways:
                if gateway.process.poll() is None:
                    gateway.stop()


def test_backends_restart_one_after_the_other(tmp_path):
    backends = [harness.backend(), harness.backend()]
    places = [backend.address for backend in backends]
    try:
        config = harness.config(library.DESCRIPTOR_SET, places)
        with harness.serve(tmp_path / "transom.yaml", config) as gateway, Load([gateway.address]) as load:
            for number in [0, 1, 0, 1]:
                for place in places:
                    load.wait_for(place)
                backends[number].stop()
                backends[number] = harness.backend(places[number])
            for place in places:
                load.wait_for(place)
        check(load, places)
    finally:
        for backend in backends:
            if backend.process.poll() is None:
                backend.stop()
