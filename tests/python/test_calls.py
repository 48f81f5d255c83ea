"""All four kinds of calls, their metadata, errors and sizes."""

import itertools
import queue
import threading
from concurrent import futures

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from library import LAMP, SECONDS, channel, inspect, pb, received, rpc, values


def test_unary(stub):
    book = stub.GetBook(pb.GetBookRequest(name=LAMP), timeout=SECONDS)
    assert book.author == "Ines Halloran"
    assert book.copies_sold == 9007199254740993


def test_server_stream(stub):
    call = stub.ReadBook(pb.ReadBookRequest(name=LAMP), timeout=SECONDS)
    assert [page.number for page in call] == list(range(1, 13))
    assert call.code() == grpc.StatusCode.OK
    assert received(call.initial_metadata(), "x-library") == ["open"]
    assert received(call.trailing_metadata(), "x-library-trailer") == ["mind the step"]


def test_long_server_stream(stub):
    call = stub.ReadBook(pb.ReadBookRequest(name=LAMP, pages=20_000), timeout=SECONDS)
    assert sum(1 for _ in call) == 20_000


def test_client_stream(stub):
    books = (pb.ImportBooksRequest(parent="shelves/nowhere", book=pb.Book(title=f"B{n}")) for n in range(1000))
    done = stub.ImportBooks(books, timeout=SECONDS)
    assert (done.imported, done.rejected, len(done.problems)) == (0, 1000, 10)
    assert done.problems[0] == "no shelf shelves/nowhere"


def test_empty_client_stream(stub):
    done = stub.ImportBooks(iter(()), timeout=SECONDS)
    assert (done.imported, done.rejected) == (0, 0)


def test_bidi_goes_both_ways_at_once(stub):
    """Each remark is only sent when the one before it was answered."""
    remarks = queue.Queue()
    call = stub.Discuss(iter(remarks.get, None), timeout=SECONDS)
    for turn in range(1, 21):
        remarks.put(pb.Remark(id=str(turn), text="Is it raining?"))
        answer = next(call)
        assert (answer.id, answer.number, answer.text) == (str(turn), turn, "Who can say? Is it raining?")
    remarks.put(None)
    assert list(call) == []
    assert call.code() == grpc.StatusCode.OK


def test_backend_ends_a_stream_that_the_client_still_sends(stub, refused):
    remarks = itertools.chain(
        [pb.Remark(id="a", text="so"), pb.Remark(id="b", text="enough", fail_with=9)],
        (pb.Remark(id="c", text="more") for _ in itertools.count()),
    )
    call = stub.Discuss(remarks, timeout=SECONDS)
    assert next(call).id == "a"
    error = refused(lambda: list(call))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "enough")


def test_calls_side_by_side_on_one_connection(stub):
    texts = [f"call {n}" for n in range(200)]
    with futures.ThreadPoolExecutor(32) as pool:
        replies = pool.map(lambda text: inspect(stub, text=text, padding=5000), texts)
        assert [reply.text for reply in replies] == texts


def test_watchers_see_what_others_do(stub):
    shelf = f"shelves/watched-{threading.get_ident()}-{id(stub)}"
    stub.CreateShelf(pb.CreateShelfRequest(shelf=pb.Shelf(name=shelf, theme="x")), timeout=SECONDS)
    stub.CreateBook(pb.CreateBookRequest(parent=shelf, book_id="a", book=pb.Book(title="A")), timeout=SECONDS)
    watch = stub.WatchShelf(pb.WatchShelfRequest(name=shelf, include_present=True, events=3), timeout=SECONDS)
    assert next(watch).kind == pb.ShelfEvent.KIND_PRESENT
    book = pb.Book(name=f"{shelf}/books/a", title="A again")
    stub.UpdateBook(pb.UpdateBookRequest(book=book, update_mask={"paths": ["title"]}), timeout=SECONDS)
    stub.DeleteBook(pb.DeleteBookRequest(name=book.name), timeout=SECONDS)
    rest = [(event.kind, event.book.title) for event in watch]
    assert rest == [(pb.ShelfEvent.KIND_CHANGED, "A again"), (pb.ShelfEvent.KIND_REMOVED, "A again")]


def test_metadata_both_ways(stub):
    sent = [
        ("x-one", "1"),
        ("x-many", "a"),
        ("x-many", "b, c"),
        ("x-many", "a"),
        ("x-empty", ""),
        ("x-raw-bin", bytes(range(256))),
        ("x-raw-bin", b""),
        ("x-echo-n", "first"),
        ("x-echo-n", "second"),
        ("x-echo-b-bin", b"\x00\xff,"),
        ("x-trail-t", "one"),
        ("x-trail-t", "two"),
        ("x-trail-b-bin", b"\x80"),
    ]
    reply, call = stub.Inspect.with_call(pb.InspectRequest(), metadata=sent, timeout=SECONDS)
    assert values(reply, "x-one") == [b"1"]
    assert values(reply, "x-many") == [b"a", b"b, c", b"a"]
    assert values(reply, "x-empty") == [b""]
    assert values(reply, "x-raw-bin") == [bytes(range(256)), b""]
    head, end = call.initial_metadata(), call.trailing_metadata()
    assert received(head, "x-library") == ["open"]
    assert received(head, "x-echo-n") == ["first", "second"]
    assert received(head, "x-echo-b-bin") == [b"\x00\xff,"]
    assert received(end, "x-library-trailer") == ["mind the step"]
    assert received(end, "x-trail-t") == ["one", "two"]
    assert received(end, "x-trail-b-bin") == [b"\x80"]
    assert received(head, "x-trail-t") == [] and received(end, "x-echo-n") == []


def test_long_metadata(stub):
    value = "v" * 6000
    reply, call = stub.Inspect.with_call(pb.InspectRequest(), metadata=[("x-echo-long", value)], timeout=SECONDS)
    assert values(reply, "x-echo-long") == [value.encode()]
    assert received(call.initial_metadata(), "x-echo-long") == [value]


def test_head_comes_before_the_first_message(stub):
    call = stub.WatchShelf(pb.WatchShelfRequest(name="shelves/weather"), timeout=SECONDS)
    assert received(call.initial_metadata(), "x-library") == ["open"]  # waits for the head alone
    call.cancel()


def test_error_details(stub, refused):
    name = "shelves/harbour/books/nope"
    error = refused(lambda: stub.GetBook(pb.GetBookRequest(name=name), timeout=SECONDS))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, f"no book {name}")
    status = rpc_status.from_call(error)
    info, resource = error_details_pb2.ErrorInfo(), error_details_pb2.ResourceInfo()
    assert {detail.TypeName(): detail.Unpack(into) for detail, into in zip(status.details, (info, resource))} == {
        "google.rpc.ErrorInfo": True,
        "google.rpc.ResourceInfo": True,
    }
    assert (info.reason, info.domain) == ("BOOK_NOT_FOUND", "library.transom.demo")
    assert (resource.resource_type, resource.resource_name) == ("transom.demo.v1.Book", name)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0] != 0], ids=lambda code: code.name)
def test_every_code_comes_through(stub, refused, code):
    error = refused(lambda: inspect(stub, fail_with=code.value[0], text="why"))
    assert (error.code(), error.details()) == (code, "why")


@pytest.mark.parametrize("text", ["50 % off, 100%25", "naïve – 日本語 🌧", "two\nlines\r\n", " spaces "])
def test_messages_of_errors_come_through_exactly(stub, refused, text):
    assert refused(lambda: inspect(stub, fail_with=9, text=text)).details() == text


def test_trailers_only_errors_carry_metadata(stub, refused):
    sent = [("x-trail-t", "one"), ("x-trail-t", "two")]
    request = pb.InspectRequest(fail_with=10)
    error = refused(lambda: stub.Inspect(request, metadata=sent, timeout=SECONDS))
    assert error.code() == grpc.StatusCode.ABORTED
    assert received(error.trailing_metadata(), "x-trail-t") == ["one", "two"]


def test_error_after_messages(stub, refused):
    remarks = [pb.Remark(id="a", text="so", times=3), pb.Remark(id="b", text="lost", fail_with=15)]
    call = stub.Discuss(iter(remarks), timeout=SECONDS)
    assert [next(call).number for _ in range(3)] == [1, 2, 3]
    error = refused(lambda: next(call))
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "lost")


@pytest.mark.parametrize("path", ["/transom.demo.v1.Library/Burn", "/no.such.v1.Service/Call"])
def test_unknown_methods(channel, refused, path):
    error = refused(lambda: channel.unary_unary(path)(b"", timeout=SECONDS))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression], ids=str)
def test_compression_of_a_call(stub, compression):
    payload = b"transom " * 20_000
    request = pb.InspectRequest(payload=payload, padding=100_000)
    reply = stub.Inspect(request, compression=compression, timeout=SECONDS)
    assert (reply.payload, len(reply.padding)) == (payload, 100_000)
    expected = [b"gzip"] if compression == grpc.Compression.Gzip else []
    assert [v for v in values(reply, "grpc-encoding") if v != b"identity"] == expected


def test_compression_of_streams(stub):
    remarks = [pb.Remark(id=str(n), text="round and round " * 1000) for n in range(50)]
    answers = stub.Discuss(iter(remarks), compression=grpc.Compression.Gzip, timeout=SECONDS)
    assert [answer.id for answer in answers] == [remark.id for remark in remarks]


def test_unknown_compression_is_unimplemented(stub, refused):
    request = pb.InspectRequest(payload=b"x" * 10_000)
    error = refused(lambda: stub.Inspect(request, compression=grpc.Compression.Deflate, timeout=SECONDS))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


def test_large_messages_under_a_raised_limit(serve):
    payload = bytes(range(256)) * (6 << 12)  # 6 MiB
    with channel(serve.address, ("grpc.max_receive_message_length", -1)) as wide:
        stub = rpc.LibraryStub(wide)
        assert inspect(stub, payload=payload).payload == payload
        assert len(inspect(stub, padding=8 << 20).padding) == 8 << 20
        pages = stub.ReadBook(pb.ReadBookRequest(name=LAMP, pages=64, page_bytes=1 << 20), timeout=SECONDS)
        assert sum(len(page.text) for page in pages) == 64 << 20


def test_keepalive_pings_are_answered(address):
    options = [
        ("grpc.keepalive_time_ms", 250),
        ("grpc.keepalive_timeout_ms", 5000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with channel(address, *options) as pinging:
        stub = rpc.LibraryStub(pinging)
        request = pb.ReadBookRequest(name=LAMP, pages=4, pause=Duration(seconds=1))
        assert len(list(stub.ReadBook(request, timeout=SECONDS))) == 4
        assert inspect(stub, text="still here").text == "still here"
