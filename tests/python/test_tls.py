"""TLS listeners by openssl's client and by grpcio: versions, server names, ALPN and client certificates; and
client certificates over HTTP/3 by niquests."""

import base64
import json
import re
import shutil
import subprocess

import grpc
import niquests
import pytest
from cryptography.hazmat.primitives import serialization

import harness
import library
import pki
from library import LAMP, SECONDS, pb, until, values

OPENSSL = shutil.which("openssl")
# Old versions are offered only where openssl isn't told to be secure.
ANYTHING = ("-cipher", "DEFAULT:@SECLEVEL=0")
GET = f"GET /v1/{LAMP} HTTP/1.1\r\nhost: one.test\r\nconnection: close\r\n\r\n"


class Session:
    """What `openssl s_client` says of a connection on which it has sent `request`."""

    def __init__(self, address, *options, request="", name=None):
        assert OPENSSL, "install openssl first, or run tests/run.sh"
        names = ("-servername", name) if name else ("-noservername",)
        # It reads on after its input has ended, where there is an answer to come.
        waits = ("-ign_eof",) if request else ()
        command = [OPENSSL, "s_client", "-connect", address, *names, *waits, *options]
        done = subprocess.run(command, input=request.encode(), capture_output=True, timeout=SECONDS, check=False)
        self.code = done.returncode
        self.out = (done.stdout + done.stderr).decode(errors="replace")

    def found(self, pattern):
        """The first group of a pattern, where it is found."""
        match = re.search(pattern, self.out, re.MULTILINE)
        return match and match.group(1)

    def version(self):
        """The version that was agreed on, if one was."""
        return self.found(r"^(?:New|Reused), (TLSv[\d.]+), Cipher is (?!\(NONE\))")

    def subject(self):
        return self.found(r"^subject=CN ?= ?(\S+)")

    def alpn(self):
        return self.found(r"^ALPN protocol: (\S+)")

    def verified(self):
        return self.found(r"^Verif(?:ication|y return code): (?:0 \()?(OK|ok)\b") is not None

    def alert(self):
        return self.found(r"alert ([a-z ]+)")

    def body(self):
        """The JSON of an answer to `request`, if one came."""
        return json.loads(self.found(r"^(\{.*\})"))


class Secured:
    """`transom serve` with listeners that differ in `tls`; `.address[NAME]` is where each listens."""

    def __init__(self, folder, backend, **listeners):
        given = [{"name": name, "address": "127.0.0.1:0", "tls": tls, "http3": True} for name, tls in listeners.items()]
        config = harness.config(library.DESCRIPTOR_SET, [backend.address], listeners=given)
        self.program = harness.serve(folder / "transom.yaml", config)
        self.address = {
            name: self.program.wait_line(rf"listening listener=\"?{name}\"? address=(\S+)").group(1)
            for name in listeners
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def servers(folder):
    """The authority of servers."""
    return pki.Authority(folder, "servers")


@pytest.fixture(scope="module")
def clients(folder):
    """The authority of clients."""
    return pki.Authority(folder, "clients")


@pytest.fixture(scope="module")
def good(clients):
    return clients.sign("good", "good.client.test")


@pytest.fixture(scope="module")
def revoked(clients):
    return clients.sign("revoked")


@pytest.fixture(scope="module")
def stranger(folder):
    """A client certificate of an authority that the gateway doesn't know."""
    return pki.Authority(folder, "strangers").sign("stranger")


@pytest.fixture(scope="module")
def gateway(folder, servers, clients, good, revoked):
    one = servers.sign("one", "one.test", "127.0.0.1")
    two = servers.sign("two", "*.two.test")
    certificates = [one.files(), two.files()]
    mutual = {
        "certificates": certificates,
        "client_ca": str(clients.file),
        "crl": str(clients.revoke(revoked)),
        "forward_client_cert": True,
    }
    with harness.backend() as backend:
        secured = Secured(
            folder,
            backend,
            public={"certificates": certificates},
            modern={"certificates": certificates, "min_version": "1.3"},
            mutual=mutual,
            optional=mutual | {"client_auth": "optional"},
        )
        with secured.program:
            yield secured


@pytest.fixture(scope="module")
def openssl(gateway, servers):
    """Connects to a listener, and trusts the authority of servers alone."""

    def run(listener="public", *options, pair=None, **more):
        shown = ("-cert", str(pair.cert), "-key", str(pair.key)) if pair else ()
        return Session(gateway.address[listener], "-CAfile", str(servers.file), *shown, *options, **more)

    return run


@pytest.mark.parametrize(
    ("options", "version"), [(["-tls1_2"], "TLSv1.2"), (["-tls1_3"], "TLSv1.3"), ([], "TLSv1.3")]
)
def test_versions_that_are_spoken(openssl, options, version):
    session = openssl("public", *options, request=GET, name="one.test")
    assert session.version() == version, session.out
    assert session.verified()
    assert session.body()["author"] == "Ines Halloran"


def test_renegotiation_is_refused(gateway):
    """CVE-2009-3555: what follows a new handshake may be somebody else's."""
    address = gateway.address["public"]
    command = [OPENSSL, "s_client", "-connect", address, "-servername", "one.test", "-tls1_2", "-alpn", "h2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        client.stdin.write(b"R\n")
        client.stdin.flush()
        try:
            # Its input stays open: it ends by what it hears.
            assert client.wait(SECONDS) != 0
        finally:
            client.kill()
        out = client.stdout.read()
    assert b"RENEGOTIATING" in out and b"no renegotiation" in out, out


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_versions_that_are_too_old(openssl, option):
    session = openssl("public", option, *ANYTHING, name="one.test")
    # rustls misses the extensions of later versions first, and says that.
    assert (session.version(), session.alert()) == (None, "handshake failure"), session.out


def test_oldest_version_of_a_listener(openssl):
    assert openssl("modern", "-tls1_3", name="one.test").version() == "TLSv1.3"
    session = openssl("modern", "-tls1_2", name="one.test")
    assert (session.version(), session.alert()) == (None, "protocol version"), session.out


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("one.test", "one"),
        ("a.two.test", "two"),
        ("A.Two.Test", "two"),
        ("a.b.two.test", "one"),
        ("two.test", "one"),
        ("nobody.test", "one"),
        (None, "one"),
    ],
)
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_server_name_picks_the_certificate(openssl, option, name, subject):
    session = openssl("public", option, name=name)
    assert (session.subject(), session.verified()) == (subject, True), session.out


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [("h2", "h2"), ("http/1.1", "http/1.1"), ("http/1.1,h2", "h2"), ("spdy/3,http/1.1", "http/1.1"), (None, None)],
)
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_alpn(openssl, option, offered, agreed):
    session = openssl("public", option, *(("-alpn", offered) if offered else ()), name="one.test")
    assert session.version()
    assert session.alpn() == agreed, session.out


def test_alpn_of_nothing_that_is_spoken(openssl):
    session = openssl("public", "-alpn", "spdy/3,h3", name="one.test")
    assert session.alert() == "no application protocol", session.out


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_sessions_are_resumed(openssl, tmp_path, option):
    kept = str(tmp_path / "session")
    first = openssl("public", option, "-sess_out", kept, request=GET, name="one.test")
    assert first.found(r"^(New|Reused), TLS") == "New"
    again = openssl("public", option, "-sess_in", kept, request=GET, name="one.test")
    assert again.found(r"^(New|Reused), TLS") == "Reused", again.out
    assert again.body() == first.body()


def test_early_data_is_not_taken(openssl, tmp_path):
    kept, early = str(tmp_path / "session"), tmp_path / "early"
    early.write_text(GET)
    first = openssl("public", "-tls1_3", "-sess_out", kept, request=GET, name="one.test")
    assert first.found(r"Max Early Data: (\d+)") == "0", first.out
    again = openssl("public", "-tls1_3", "-sess_in", kept, "-early_data", str(early), request=GET, name="one.test")
    assert "Early data was not sent" in again.out, again.out


def test_host_of_another_certificate_is_misdirected(openssl):
    elsewhere = GET.replace("one.test", "a.two.test")
    assert "HTTP/1.1 421 " in openssl("public", "-alpn", "http/1.1", request=elsewhere, name="one.test").out


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_client_certificate_that_is_good(openssl, option, good):
    for listener in ("mutual", "optional"):
        session = openssl(listener, option, pair=good, request=GET, name="one.test")
        assert session.verified()
        assert session.found(r"^(Acceptable client certificate CA names)")
        assert session.body()["author"] == "Ines Halloran", session.out


@pytest.mark.parametrize(
    ("option", "alert"), [("-tls1_2", "handshake failure|certificate required"), ("-tls1_3", "certificate required")]
)
def test_client_certificate_that_is_missing(openssl, option, alert):
    refused = openssl("mutual", option, request=GET, name="one.test")
    assert "HTTP/1.1" not in refused.out
    assert re.fullmatch(alert, refused.alert() or ""), refused.out
    assert openssl("optional", option, request=GET, name="one.test").body()["author"] == "Ines Halloran"


@pytest.mark.parametrize("listener", ["mutual", "optional"])
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize(("who", "alert"), [("revoked", "certificate revoked"), ("stranger", "unknown ca")])
def test_client_certificate_that_is_bad(openssl, request, listener, option, who, alert):
    session = openssl(listener, option, pair=request.getfixturevalue(who), request=GET, name="one.test")
    assert "HTTP/1.1" not in session.out
    assert session.alert() == alert, session.out


@pytest.mark.parametrize(
    ("listener", "who", "is_served"),
    [
        ("mutual", "good", True),
        ("mutual", None, False),
        ("mutual", "revoked", False),
        ("mutual", "stranger", False),
        ("optional", "good", True),
        ("optional", None, True),
        ("optional", "revoked", False),
    ],
)
def test_client_certificates_over_http3(gateway, request, servers, listener, who, is_served):
    pair = who and request.getfixturevalue(who)
    with niquests.Session(disable_http1=True, disable_http2=True, timeout=SECONDS) as session:
        session.trust_env = False
        session.verify = str(servers.file)
        session.cert = pair and (str(pair.cert), str(pair.key))
        url = f"https://{gateway.address[listener]}/v1/inspect"
        if not is_served:
            with pytest.raises(niquests.exceptions.ConnectionError):
                session.get(url)
            return
        response = session.get(url)
    assert response.http_version == 30
    told = [entry["value"] for entry in response.json()["metadata"] if entry["key"] == "x-forwarded-client-cert"]
    hashes = [base64.b64decode(value).decode().split(";")[0] for value in told]
    assert hashes == ([f"Hash={pair.fingerprint()}"] if pair else [])


def test_rotated_certificate_serves_new_handshakes(tmp_path):
    servers = pki.Authority(tmp_path, "servers")
    pair = servers.sign("rotated", "one.test")
    with harness.backend() as backend:
        secured = Secured(tmp_path, backend, public={"certificates": [pair.files()]})

        def shown():
            session = Session(secured.address["public"], "-CAfile", str(servers.file), name="one.test")
            assert session.verified(), session.out
            return session.found(r"-----BEGIN CERTIFICATE-----\n([^-]+)").split()

        def serves(pair):
            pem = pair.certificate.public_bytes(serialization.Encoding.PEM).decode()
            return shown() == pem.split("-----")[2].split()

        with secured.program:
            assert serves(pair)
            # Its files are those of the first.
            renewed = servers.sign("rotated", "one.test")
            until("the new certificate serves", lambda: serves(renewed))


class TestGrpcio:
    """All four kinds of calls over TLS, and the client's certificate as the service is told of it."""

    @pytest.fixture(params=["public", "optional", "mutual"])
    def stub(self, request, gateway, servers, good):
        pair = good if request.param == "mutual" else None
        with library.secure_channel(gateway.address[request.param], credentials(servers, pair), "one.test") as channel:
            yield library.rpc.LibraryStub(channel)

    def test_unary(self, stub):
        book = stub.GetBook(pb.GetBookRequest(name=LAMP), timeout=SECONDS)
        assert book.author == "Ines Halloran"

    def test_server_stream(self, stub):
        pages = stub.ReadBook(pb.ReadBookRequest(name=LAMP), timeout=SECONDS)
        assert [page.number for page in pages] == list(range(1, 13))

    def test_client_stream(self, stub):
        book = pb.ImportBooksRequest(parent="shelves/nowhere", book=pb.Book(title="T"))
        assert stub.ImportBooks(iter([book] * 1000), timeout=SECONDS).rejected == 1000

    def test_both_ways(self, stub):
        remarks = (pb.Remark(id=str(n), text="x" * 10_000) for n in range(200))
        answers = stub.Discuss(remarks, timeout=SECONDS)
        assert [answer.id for answer in answers] == [str(n) for n in range(200)]

    def test_large_messages(self, stub):
        payload = bytes(range(256)) * (4 << 12)  # 4 MiB, as much as grpcio takes back at most
        reply = stub.Inspect(pb.InspectRequest(payload=payload[:-4096]), timeout=SECONDS)
        assert reply.payload == payload[:-4096]

    def test_error_with_trailers(self, stub):
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetBook(pb.GetBookRequest(name="shelves/harbour/books/nope"), timeout=SECONDS)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert "grpc-status-details-bin" in dict(caught.value.trailing_metadata())

    def test_certificate_is_told_to_the_service(self, gateway, servers, good):
        for listener, pair in (("mutual", good), ("optional", good), ("optional", None), ("public", None)):
            with library.secure_channel(gateway.address[listener], credentials(servers, pair), "one.test") as channel:
                forged = [("x-forwarded-client-cert", "Hash=00")]
                stub = library.rpc.LibraryStub(channel)
                reply = stub.Inspect(pb.InspectRequest(), timeout=SECONDS, metadata=forged)
            told = [f'Hash={good.fingerprint()};Subject="CN=good";DNS="good.client.test"'.encode()] if pair else []
            assert values(reply, "x-forwarded-client-cert") == told

    @pytest.mark.parametrize("who", [None, "revoked", "stranger"])
    def test_bad_certificates(self, request, gateway, servers, who):
        pair = who and request.getfixturevalue(who)
        with library.secure_channel(gateway.address["mutual"], credentials(servers, pair), "one.test") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                library.rpc.LibraryStub(channel).GetBook(pb.GetBookRequest(name=LAMP), timeout=SECONDS)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

    def test_a_server_whose_authority_is_unknown(self, gateway, clients):
        with library.secure_channel(gateway.address["public"], credentials(clients), "one.test") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                library.rpc.LibraryStub(channel).GetBook(pb.GetBookRequest(name=LAMP), timeout=SECONDS)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def credentials(authority, pair=None):
    """Of a client that trusts `authority`, and that shows `pair`."""
    shown = (pair.key.read_bytes(), pair.cert.read_bytes()) if pair else (None, None)
    return grpc.ssl_channel_credentials(authority.file.read_bytes(), *shown)
