"""REST over HTTP/3 by niquests, which sends QUIC packets of its own (qh3)."""

import base64
import json
import ssl
import subprocess
import sys

import niquests
import pytest

import harness
from library import LAMP, SECONDS, until

LINES = "application/x-ndjson"
# How niquests writes a response's version.
HTTP_2, HTTP_3 = 20, 30


@pytest.fixture(scope="module")
def authority(demo, tmp_path_factory):
    """The demo's certificate, which signs itself, as the only one that is trusted."""
    host, port = demo.tls.split(":")
    file = tmp_path_factory.mktemp("demo") / "demo.pem"
    file.write_text(ssl.get_server_certificate((host, int(port)), timeout=SECONDS))
    return str(file)


@pytest.fixture
def session(authority):
    """Makes sessions that trust the demo alone, whatever the environment says."""
    opened = []

    def run(**options):
        session = niquests.Session(timeout=SECONDS, **options)
        session.trust_env = False
        session.verify = authority
        opened.append(session)
        return session

    yield run
    for session in opened:
        session.close()


@pytest.fixture
def call(session, demo):
    """Sends a request over HTTP/3, which is all the session has, and sees to it that the answer came so."""
    client = session(disable_http1=True, disable_http2=True)

    def run(method, path, **options):
        response = client.request(method, f"https://{demo.tls}{path}", **options)
        assert response.http_version == HTTP_3
        return response

    return run


def details(response):
    return {detail["@type"].rsplit(".", 1)[1]: detail for detail in response.json()["details"]}


def books_of(call, shelf):
    return call("GET", f"/v1/shelves/{shelf}/books", params={"pageSize": 100}).json()["books"]


def cancelled(call):
    return int(call("GET", "/v1/inspect").json().get("cancelled", 0))


def test_alt_svc_leads_from_http2_to_http3(session, demo):
    client = session()
    port = demo.tls.split(":")[1]
    first = client.get(f"https://{demo.tls}/v1/{LAMP}")
    assert (first.http_version, first.headers["alt-svc"]) == (HTTP_2, f'h3=":{port}"; ma=86400')
    second = client.get(f"https://{demo.tls}/v1/{LAMP}")
    assert (second.http_version, second.headers.get("alt-svc")) == (HTTP_3, None)
    assert first.json() == second.json()


def test_get(call):
    response = call("GET", f"/v1/{LAMP}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-library"] == "open"
    assert response.json()["author"] == "Ines Halloran"
    again = call("GET", f"/v1/{LAMP}", headers={"if-none-match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = call("HEAD", f"/v1/{LAMP}", headers={"accept-encoding": "identity"})
    assert (head.status_code, head.content) == (200, b"")


def test_post_patch_and_delete(call):
    created = call("POST", "/v1/shelves/weather/books", json={"title": "Hail, in Packets"})
    assert created.status_code == 200, created.text
    path = f"/v1/{created.json()['name']}"
    changed = call("PATCH", path, params={"updateMask": "subtitle"}, json={"subtitle": "None lost"})
    assert changed.json()["subtitle"] == "None lost"
    assert call("DELETE", path).json() == {}
    assert call("GET", path).status_code == 404


def test_error_with_details(call):
    response = call("GET", "/v1/shelves/harbour/books/nope")
    assert response.status_code == 404
    assert response.json()["code"] == 5
    assert response.json()["message"] == "no book shelves/harbour/books/nope"
    assert details(response)["ErrorInfo"]["reason"] == "BOOK_NOT_FOUND"


def test_what_the_gateway_refuses(call):
    body = call("POST", "/v1/shelves/weather/books", data=b"{", headers={"content-type": "application/json"})
    assert (body.status_code, details(body)["ErrorInfo"]["reason"]) == (400, "REQUEST_INVALID")
    method = call("PUT", "/v1/shelves")
    assert (method.status_code, method.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    late = call("GET", "/v1/inspect", params={"delay": "20s"}, headers={"grpc-timeout": "200m"})
    assert (late.status_code, late.json()["code"]) == (504, 4)


def test_stream_as_lines(call):
    response = call("GET", f"/v1/{LAMP}:read", headers={"accept": LINES}, stream=True)
    assert response.headers["content-type"] == LINES
    assert [json.loads(line)["number"] for line in response.iter_lines()] == list(range(1, 13))


def test_stream_as_events(call):
    response = call("GET", f"/v1/{LAMP}:read", headers={"accept": "text/event-stream"})
    assert response.headers["content-type"] == "text/event-stream"
    events = [event.split("\n") for event in response.text.strip().split("\n\n")]
    assert json.loads(events[0][1].removeprefix("data: "))["number"] == 1
    assert events[-1] == ["event: end", "data: {}"]


def test_messages_of_a_stream_come_at_once_and_a_cancel_reaches_the_service(call, session, demo):
    before = cancelled(call)
    watcher = session(disable_http1=True, disable_http2=True)
    url, query = f"https://{demo.tls}/v1/shelves/harbour:watch", {"includePresent": "true"}
    watched = watcher.get(url, params=query, headers={"accept": LINES}, stream=True)
    assert (watched.status_code, watched.http_version) == (200, HTTP_3)
    # The stream has no end: what comes of it was sent by itself.
    events = (json.loads(line) for line in watched.iter_lines())
    present = [next(events)["kind"] for _ in books_of(call, "harbour")]
    assert set(present) == {"KIND_PRESENT"}
    made = call("POST", "/v1/shelves/harbour/books", json={"title": "Thaw"}).json()["name"]
    event = next(events)
    assert (event["kind"], event["book"]["name"]) == ("KIND_ADDED", made)
    call("DELETE", f"/v1/{made}")
    watched.close()
    watcher.close()
    until("the service sees the cancel", lambda: cancelled(call) > before)


def test_client_stream(call):
    books = [{"parent": "shelves/nowhere", "book": {"title": f"B{n}"}} for n in range(500)]
    lines = "\n".join(json.dumps(book) for book in books)
    # An iterator has no length: the body ends with the stream.
    for data in (lines.encode(), (f"{json.dumps(book)}\n".encode() for book in books)):
        response = call("POST", "/v1/books:import", data=data, headers={"content-type": LINES})
        assert response.status_code == 200, response.text
        assert response.json()["rejected"] == 500


def test_large_bodies(call):
    sent = bytes(range(256)) * (11 << 10)  # 3.7 MiB in base64, of 4 MiB that are taken
    body = {"payload": base64.b64encode(sent).decode()}
    response = call("POST", "/v1/inspect", json=body)
    assert response.status_code == 200, response.text
    assert base64.b64decode(response.json()["payload"]) == sent


def test_too_large_a_body(call):
    response = call("POST", "/v1/inspect", json={"payload": "A" * (12 << 20)})
    assert response.status_code == 413
    assert details(response)["ErrorInfo"]["reason"] == "MESSAGE_TOO_LARGE"


def test_compressed_replies(call):
    plain = call("GET", "/v1/shelves/harbour/books", headers={"accept-encoding": "identity"})
    coded = call("GET", "/v1/shelves/harbour/books", headers={"accept-encoding": "gzip"})
    assert (plain.headers.get("content-encoding"), coded.headers["content-encoding"]) == (None, "gzip")
    assert coded.json() == plain.json()


def test_calls_side_by_side_on_one_connection(session, demo):
    client = session(multiplexed=True, disable_http1=True, disable_http2=True)
    url = f"https://{demo.tls}/v1/inspect"
    client.gather(client.get(url))
    replies = [client.get(url, params={"text": str(n)}) for n in range(64)]
    client.gather()
    assert [reply.json()["text"] for reply in replies] == [str(n) for n in range(64)]
    assert {reply.http_version for reply in replies} == {HTTP_3}


@pytest.mark.parametrize("is_there", [True, False])
def test_a_drain_does_not_wait_for_connections_without_calls(is_there):
    """A client that rests, or that went without a word, as programs do that just end."""
    with harness.demo() as program:
        call = f"import niquests; s = niquests.Session(disable_http1=True, disable_http2=True); " \
            f"s.trust_env = False; print(s.get('https://{program.tls}/v1/shelves', verify=False).http_version, flush=True); "
        rest = "input()" if is_there else "import os; os._exit(0)"
        client = subprocess.Popen([sys.executable, "-W", "ignore", "-c", call + rest], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert client.stdout.readline() == b"30\n"
            program.terminate()
            # The drain timeout is 25 s.
            assert program.process.wait(10) == 0
        finally:
            client.kill()
            client.wait()
