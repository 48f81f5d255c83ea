"""REST clients: every kind of rule, error bodies, and streams in all forms."""

import json

import httpx
import pytest

from library import LAMP

LINES = "application/x-ndjson"


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def client(request, address):
    """One client a version; `http1=False` is HTTP/2 with prior knowledge."""
    is_h2 = request.param == "HTTP/2"
    with httpx.Client(base_url=f"http://{address}", http1=not is_h2, http2=is_h2, timeout=30) as client:
        yield client


def details(response):
    return {detail["@type"].rsplit(".", 1)[1]: detail for detail in response.json()["details"]}


def test_path_variable(client):
    response = client.get(f"/v1/{LAMP}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-library"] == "open"
    book = response.json()
    assert book["author"] == "Ines Halloran"
    assert book["copiesSold"] == "9007199254740993"
    assert book["genre"] == "GENRE_NOVEL"
    assert book["readingTime"] == "19200s"


def test_query_parameters_by_both_names(client):
    for name in ("pageSize", "page_size"):
        response = client.get("/v1/shelves/harbour/books", params={name: 1})
        assert len(response.json()["books"]) == 1


def test_unknown_query_parameter_names_the_nearest(client):
    response = client.get("/v1/shelves/harbour/books", params={"page_siz": 1})
    assert response.status_code == 400
    assert "page_size" in response.json()["message"]
    violation = details(response)["BadRequest"]["fieldViolations"][0]
    assert violation["field"] == "page_siz"


def test_field_of_the_path_is_nobody_elses(client):
    assert client.get("/v1/shelves/harbour/books", params={"parent": "shelves/kitchen"}).status_code == 400


def test_body_field_and_delete(client):
    created = client.post("/v1/shelves/weather/books", json={"title": "Sleet, Twice", "author": "N. N."})
    assert created.status_code == 200, created.text
    name = created.json()["name"]
    changed = client.patch(f"/v1/{name}", params={"updateMask": "subtitle"}, json={"subtitle": "And more fog"})
    assert changed.status_code == 200, changed.text
    assert changed.json()["subtitle"] == "And more fog"
    assert changed.json()["title"] == "Sleet, Twice"
    gone = client.delete(f"/v1/{name}")
    assert (gone.status_code, gone.json()) == (200, {})
    assert client.get(f"/v1/{name}").status_code == 404


def test_whole_body_and_additional_binding(client):
    by_body = client.post("/v1/inspect", json={})
    by_query = client.get("/v1/inspect")
    assert by_body.json()["path"] == by_query.json()["path"] == "/transom.demo.v1.Library/Inspect"


def test_method_without_a_rule_path(client):
    response = client.post("/transom.demo.v1.Library/GetBook", json={"name": LAMP})
    assert response.json()["author"] == "Ines Halloran"
    refused = client.get("/transom.demo.v1.Library/GetBook")
    assert (refused.status_code, refused.headers["allow"]) == (405, "OPTIONS, POST")


def test_upstream_error_body(client):
    response = client.get("/v1/shelves/harbour/books/nope")
    assert response.status_code == 404
    body = response.json()
    assert body["code"] == 5
    assert body["message"] == "no book shelves/harbour/books/nope"
    assert details(response)["ErrorInfo"]["reason"] == "BOOK_NOT_FOUND"


@pytest.mark.parametrize(
    "content",
    [b"{", b'{"title":1}', b'{"title":"a","title":"b"}', b'{"titel":"a"}', b'\xff', b"[" * 100_000, b'{"title":"\xed\xa0\x80"}'],
)
def test_bad_json_is_refused(client, content):
    response = client.post(
        "/v1/shelves/weather/books", content=content, headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    assert response.json()["code"] == 3
    assert details(response)["ErrorInfo"]["reason"] == "REQUEST_INVALID"


def test_content_type_that_is_not_taken(client):
    response = client.post("/v1/shelves", content=b"x", headers={"content-type": "text/html"})
    assert response.status_code == 415
    assert "application/json" in response.headers["accept-post"]


def test_form_body(client):
    response = client.post("/v1/inspect", data={})
    assert response.status_code == 200


def test_head_options_and_405(client):
    whole = client.get("/v1/shelves/harbour")
    head = client.head("/v1/shelves/harbour")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    options = client.options("/v1/shelves")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    refused = client.put("/v1/shelves")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert client.get("/v1/nothing/here").status_code == 404


def test_etag(client):
    first = client.get("/v1/shelves/harbour")
    again = client.get("/v1/shelves/harbour", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get("/v1/shelves/harbour", headers={"if-none-match": '"other"'})
    assert other.status_code == 200


def test_compressed_both_ways(client):
    import gzip

    plain = client.get("/v1/shelves/harbour/books", headers={"accept-encoding": "identity"})
    coded = client.get("/v1/shelves/harbour/books", headers={"accept-encoding": "gzip"})
    assert coded.headers["content-encoding"] == "gzip"
    assert coded.json() == plain.json()
    assert coded.headers["etag"] != plain.headers["etag"]
    sent = client.post(
        "/transom.demo.v1.Library/GetBook",
        content=gzip.compress(json.dumps({"name": LAMP}).encode()),
        headers={"content-type": "application/json", "content-encoding": "gzip"},
    )
    assert sent.json()["name"] == LAMP
    unknown = client.post("/v1/inspect", content=b"{}", headers={"content-encoding": "snappy"})
    assert unknown.status_code == 415


def test_stream_as_array(client):
    response = client.get(f"/v1/{LAMP}:read")
    assert response.headers["content-type"] == "application/json"
    assert [page["number"] for page in response.json()] == list(range(1, 13))


def test_stream_as_lines(client):
    with client.stream("GET", f"/v1/{LAMP}:read", headers={"accept": LINES}) as response:
        assert response.headers["content-type"] == LINES
        assert [json.loads(line)["number"] for line in response.iter_lines()] == list(range(1, 13))


def test_stream_as_events(client):
    response = client.get(f"/v1/{LAMP}:read", headers={"accept": "text/event-stream"})
    assert response.headers["content-type"] == "text/event-stream"
    events = [event.split("\n") for event in response.text.strip().split("\n\n")]
    assert events[0][0] == "id: 1"
    assert json.loads(events[0][1].removeprefix("data: "))["number"] == 1
    assert events[-1] == ["event: end", "data: {}"]


def test_error_before_the_first_message_of_a_stream(client):
    response = client.get("/v1/shelves/harbour/books/nope:read", headers={"accept": "text/event-stream"})
    assert response.status_code == 404
    assert response.json()["code"] == 5


def test_client_stream_as_lines_and_as_array(client):
    books = [{"parent": "shelves/nowhere", "book": {"title": f"B{n}"}} for n in range(20)]
    lines = "\n".join(json.dumps(book) for book in books)
    for content, kind in ((lines, LINES), (json.dumps(books), "application/json")):
        response = client.post("/v1/books:import", content=content, headers={"content-type": kind})
        assert response.status_code == 200, response.text
        assert response.json()["rejected"] == 20


def test_raw_bodies(client):
    cover = client.get(f"/v1/{LAMP}/cover")
    assert cover.headers["content-type"] == "image/svg+xml"
    assert cover.text.startswith("<svg")
    text = client.get(f"/v1/{LAMP}:download")
    assert text.headers["content-type"].startswith("text/plain")
    assert "The Lamp at Transom Point" in text.text


def test_metadata(client):
    sent = {"x-echo-a": "1", "grpc-metadata-x-echo-b": "2", "grpc-status": "0", "x-consumer-name": "forged"}
    response = client.get("/v1/inspect", headers=sent)
    assert response.headers["x-echo-a"] == "1"
    assert response.headers["x-echo-b"] == "2"
    keys = {entry["key"] for entry in response.json()["metadata"]}
    assert not keys & {"grpc-status", "x-consumer-name", "grpc-metadata-x-echo-b", "accept-encoding"}


def test_deadline(client):
    response = client.get("/v1/inspect", params={"delay": "20s"}, headers={"grpc-timeout": "200m"})
    assert response.status_code == 504
    assert response.json()["code"] == 4
