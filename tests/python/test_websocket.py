"""WebSocket clients: bidi and client streams of REST."""

import json
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

import harness
import library
from library import SECONDS, pb

DISCUSS = "/v1/discuss"
IMPORT = "/v1/books:import"


@pytest.fixture
def opened(address):
    """Opens a WebSocket on a path of the gateway."""

    @contextmanager
    def run(path=DISCUSS, **options):
        with connect(f"ws://{address}{path}", open_timeout=SECONDS, max_size=None, **options) as socket:
            yield socket

    return run


def ask(socket, **remark):
    socket.send(json.dumps(remark))


def receive(socket):
    return json.loads(socket.recv(timeout=SECONDS))


def closed_ok(socket):
    with pytest.raises(ConnectionClosedOK) as caught:
        socket.recv(timeout=SECONDS)
    return caught.value.rcvd.code


@pytest.mark.parametrize("path", [DISCUSS, "/transom.demo.v1.Library/Discuss"])
def test_discussion(opened, path):
    with opened(path) as socket:
        for number in range(1, 4):
            ask(socket, id=f"r{number}", text="Quite so.")
            answer = receive(socket)
            assert answer == {"id": f"r{number}", "text": "Indeed: Quite so.", "number": str(number)}
        socket.send("")
        assert closed_ok(socket) == 1000


def test_answers_after_the_half_close(opened):
    with opened() as socket:
        ask(socket, id="a", text="Well?", times=5)
        socket.send("")
        assert [receive(socket)["number"] for _ in range(5)] == list("12345")
        assert closed_ok(socket) == 1000


def test_binary(opened):
    with opened() as socket:
        socket.send(pb.Remark(id="a", text="Bytes.").SerializeToString())
        reply = socket.recv(timeout=SECONDS)
        assert isinstance(reply, bytes)
        assert pb.Answer.FromString(reply).text == "Indeed: Bytes."


def test_client_stream(opened):
    with opened(IMPORT) as socket:
        for _ in range(20):
            socket.send(json.dumps({"parent": "shelves/nowhere", "book": {"title": "T"}}))
        socket.send("")
        assert receive(socket)["rejected"] == 20
        assert closed_ok(socket) == 1000


def test_fragments(opened):
    with opened() as socket:
        socket.send(['{"id":', '"a","te', 'xt":"Piece by piece."}'])
        assert receive(socket)["text"] == "Indeed: Piece by piece."


def test_error_has_details_and_a_close_code(opened):
    with opened() as socket:
        ask(socket, text="No such thing.", failWith=5)
        error = receive(socket)["error"]
        assert error["code"] == 5
        with pytest.raises(ConnectionClosedError) as caught:
            socket.recv(timeout=SECONDS)
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4005, error["message"])


@pytest.mark.parametrize("message", ["{", '{"id":1}', '{"idd":"a"}', "[" * 10_000, b"\x0a\xff"])
def test_bad_message(opened, message):
    with opened() as socket:
        socket.send(message)
        error = receive(socket)["error"]
        assert error["code"] == 3
        assert error["details"][0]["reason"] == "REQUEST_INVALID"
        with pytest.raises(ConnectionClosedError) as caught:
            socket.recv(timeout=SECONDS)
        assert caught.value.rcvd.code == 4003


def test_too_large_a_message(opened):
    with opened() as socket:
        socket.send("x" * (17 << 20))
        assert receive(socket)["error"]["details"][0]["reason"] == "MESSAGE_TOO_LARGE"
        with pytest.raises(ConnectionClosedError) as caught:
            socket.recv(timeout=SECONDS)
        assert caught.value.rcvd.code == 4008


def test_large_message(opened):
    text = "long " * 600_000
    with opened() as socket:
        ask(socket, id="a", text=text)
        assert receive(socket)["text"] == f"Indeed: {text}"


def test_many_messages(opened):
    with opened() as socket:
        for batch in range(20):
            for n in range(100):
                ask(socket, id=str(batch * 100 + n))
            assert [receive(socket)["id"] for _ in range(100)] == [str(batch * 100 + n) for n in range(100)]
        socket.send("")
        assert closed_ok(socket) == 1000


def test_slow_reader(opened):
    # The client takes two frames and stops reading until it is asked for more.
    with opened(max_queue=2) as socket:
        ask(socket, id="a", text="y" * 20_000, times=1000)
        socket.send("")
        for number in range(1, 1001):
            assert receive(socket)["number"] == str(number)
        assert closed_ok(socket) == 1000


def test_pings_are_answered(opened):
    with opened() as socket:
        for payload in ("", "a" * 125):
            assert socket.ping(payload).wait(SECONDS)
        socket.send("")
        assert closed_ok(socket) == 1000


def test_client_close_is_answered(opened):
    with opened() as socket:
        ask(socket, id="a")
        receive(socket)
        socket.close(1001, "enough")
        assert (socket.protocol.close_rcvd.code, socket.protocol.close_rcvd_then_sent) == (1001, False)


def test_subprotocol_and_credential(opened):
    with opened(subprotocols=["transom.v1", "bearer.s3cr3t"]) as socket:
        assert socket.subprotocol == "transom.v1"
        ask(socket, id="a")
        receive(socket)


def test_no_compression(opened):
    with opened(compression="deflate") as socket:
        assert socket.protocol.extensions == []
        ask(socket, id="a")
        receive(socket)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/nothing/here", 404),
        ("/transom.demo.v1.Library/Nothing", 404),
        ("/v1/shelves", 400),
        ("/transom.demo.v1.Library/GetBook", 400),
        ("/transom.demo.v1.Library/ReadBook", 400),
    ],
)
def test_refused_before_it_opens(opened, path, status):
    with pytest.raises(InvalidStatus) as caught, opened(path):
        pass
    response = caught.value.response
    assert response.status_code == status
    assert response.headers["content-type"].startswith("application/json")
    assert json.loads(response.body)["message"]


def test_origins(opened, address, request):
    with opened(origin=f"http://{address}") as socket:
        ask(socket, id="a")
        receive(socket)
    if "demo" in request.node.name:
        # Its `cors` policy lets every page in.
        with opened(origin="https://elsewhere.test") as socket:
            ask(socket, id="a")
            receive(socket)
        return
    with pytest.raises(InvalidStatus) as caught, opened(origin="https://elsewhere.test"):
        pass
    assert caught.value.response.status_code == 403


def test_a_drain_closes_in_order(tmp_path):
    with harness.backend() as backend:
        config = harness.config(library.DESCRIPTOR_SET, [backend.address], server={"drain_timeout": "1s"})
        with harness.serve(tmp_path / "transom.yaml", config) as program:
            with connect(f"ws://{program.address}{DISCUSS}", open_timeout=SECONDS) as socket:
                ask(socket, id="a")
                receive(socket)
                program.terminate()
                error = receive(socket)["error"]
                assert error["details"][0]["reason"] == "DRAINING"
                with pytest.raises(ConnectionClosedError) as caught:
                    socket.recv(timeout=SECONDS)
                assert caught.value.rcvd.code == 4014
            assert program.wait() == 0
