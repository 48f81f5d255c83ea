"""The gateways the tests run against."""

import grpc
import pytest

import harness
import library


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """`transom serve` before one library, with a limit of 16 MiB a message."""
    with harness.backend() as backend:
        policies = {"validate": {"max_message": "16MiB"}}
        config = harness.config(library.DESCRIPTOR_SET, [backend.address], policies=policies)
        with harness.serve(tmp_path_factory.mktemp("serve") / "transom.yaml", config) as program:
            yield program


@pytest.fixture(scope="session")
def demo():
    """`transom demo`."""
    with harness.demo() as program:
        yield program


@pytest.fixture(scope="session", params=["demo", "serve"])
def address(request):
    """Every test runs against both."""
    program = request.getfixturevalue(request.param)
    return program.gateway if request.param == "demo" else program.address


@pytest.fixture
def channel(address):
    with library.channel(address) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    return library.rpc.LibraryStub(channel)


@pytest.fixture
def refused():
    """Runs a call that must fail, and returns its error."""

    def run(call):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        return caught.value

    return run
