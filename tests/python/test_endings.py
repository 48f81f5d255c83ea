"""Deadlines, cancellation from both sides, and limits of messages."""

import grpc
from google.protobuf.duration_pb2 import Duration

import harness
import library
from library import LAMP, SECONDS, inspect, pb, rpc, until

LONG = Duration(seconds=60)


def alone(stub):
    """No call runs at the backend but the one that asks."""
    return inspect(stub).running == 1


def test_the_deadline_reaches_the_backend(stub):
    left = stub.Inspect(pb.InspectRequest(), timeout=10).deadline_ms
    assert 5_000 < left <= 11_000  # grpcio rounds up to two or three digits


def test_a_deadline_ends_a_unary_call_everywhere(stub, refused):
    before = inspect(stub).cancelled
    error = refused(lambda: stub.Inspect(pb.InspectRequest(delay=LONG), timeout=0.3))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until("the backend's call ended", lambda: alone(stub))
    assert inspect(stub).cancelled > before


def test_a_deadline_ends_a_stream(stub, refused):
    call = stub.ReadBook(pb.ReadBookRequest(name=LAMP, pause=LONG), timeout=1)
    assert next(call).number == 1
    assert refused(lambda: next(call)).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until("the backend's stream ended", lambda: alone(stub))


def test_a_cancelled_unary_call_ends_at_the_backend(stub):
    before = inspect(stub).cancelled
    call = stub.Inspect.future(pb.InspectRequest(delay=LONG), timeout=SECONDS)
    until("the call runs", lambda: inspect(stub).running == 2)
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED
    until("the backend's call ended", lambda: alone(stub))
    assert inspect(stub).cancelled == before + 1


def test_a_cancelled_stream_ends_at_the_backend(stub, refused):
    before = inspect(stub).cancelled
    call = stub.WatchShelf(pb.WatchShelfRequest(name="shelves/harbour", include_present=True), timeout=SECONDS)
    assert next(call).number == 1
    call.cancel()
    assert refused(lambda: list(call)).code() == grpc.StatusCode.CANCELLED
    until("the backend's stream ended", lambda: alone(stub))
    assert inspect(stub).cancelled == before + 1


def test_a_closed_channel_ends_its_streams_at_the_backend(stub, address):
    with library.channel(address) as other:
        watch = rpc.LibraryStub(other).WatchShelf(
            pb.WatchShelfRequest(name="shelves/harbour", include_present=True), timeout=SECONDS
        )
        next(watch)
        assert inspect(stub).running == 2
    until("the backend's stream ended", lambda: alone(stub))


def test_the_backend_cancels(stub, refused):
    remarks = [pb.Remark(id="a", text="so"), pb.Remark(id="b", text="no more", fail_with=1)]
    call = stub.Discuss(iter(remarks), timeout=SECONDS)
    assert next(call).id == "a"
    error = refused(lambda: next(call))
    assert (error.code(), error.details()) == (grpc.StatusCode.CANCELLED, "no more")


def test_a_killed_backend_ends_streams_and_calls_as_unavailable(tmp_path, refused):
    with harness.backend() as backend:
        config = harness.config(library.DESCRIPTOR_SET, [backend.address])
        with harness.serve(tmp_path / "transom.yaml", config) as serve, library.channel(serve.address) as channel:
            stub = rpc.LibraryStub(channel)
            call = stub.ReadBook(pb.ReadBookRequest(name=LAMP, pause=LONG), timeout=SECONDS)
            assert next(call).number == 1
            backend.kill()
            assert refused(lambda: next(call)).code() == grpc.StatusCode.UNAVAILABLE
            assert refused(lambda: inspect(stub)).code() == grpc.StatusCode.UNAVAILABLE
            with harness.backend(backend.address):
                until("the backend is found again", lambda: answers(stub))


def answers(stub):
    try:
        return inspect(stub, text="back").text == "back"
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        return False


def test_a_message_over_the_limit_is_refused_and_the_connection_lives(tmp_path, refused):
    with harness.backend() as backend:
        policies = {"validate": {"max_message": "1MiB"}}
        config = harness.config(library.DESCRIPTOR_SET, [backend.address], policies=policies)
        with harness.serve(tmp_path / "transom.yaml", config) as serve, library.channel(serve.address) as channel:
            stub = rpc.LibraryStub(channel)
            assert len(inspect(stub, payload=b"x" * (1 << 19)).payload) == 1 << 19
            error = refused(lambda: inspect(stub, payload=b"x" * (1 << 21)))
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert inspect(stub, text="on").text == "on"
