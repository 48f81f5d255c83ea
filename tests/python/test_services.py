"""Reflection and health, as the standard clients of grpcio use them."""

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from library import LAMP, SECONDS, received

LIBRARY = "transom.demo.v1.Library"
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture(params=["v1", "v1alpha"])
def reflect(request, channel):
    """Asks the reflection service; the messages of both versions are the same on the wire."""
    ask = channel.stream_stream(
        f"/grpc.reflection.{request.param}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )

    def run(*questions):
        return list(ask(iter([reflection_pb2.ServerReflectionRequest(**q) for q in questions]), timeout=SECONDS))

    return run


def test_reflection_lists_services(reflect):
    (reply,) = reflect({"list_services": ""})
    assert LIBRARY in [service.name for service in reply.list_services_response.service]


@pytest.mark.parametrize("symbol", [LIBRARY, f"{LIBRARY}.GetBook", "transom.demo.v1.Book", "transom.demo.v1.ShelfEvent.Kind"])
def test_reflection_finds_the_file_of_a_symbol(reflect, symbol):
    (reply,) = reflect({"file_containing_symbol": symbol})
    files = [FileDescriptorProto.FromString(file) for file in reply.file_descriptor_response.file_descriptor_proto]
    assert "transom/demo/v1/library.proto" in [file.name for file in files]


def test_reflection_answers_many_questions_in_order(reflect):
    replies = reflect(
        {"file_by_filename": "transom/demo/v1/library.proto"},
        {"file_containing_symbol": "no.such.Symbol"},
        {"file_by_filename": "google/protobuf/timestamp.proto"},
        {"list_services": ""},
    )
    kinds = [reply.WhichOneof("message_response") for reply in replies]
    assert kinds == ["file_descriptor_response", "error_response", "file_descriptor_response", "list_services_response"]
    assert replies[1].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert replies[1].original_request.file_containing_symbol == "no.such.Symbol"


def test_a_method_is_called_by_reflection_alone(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert LIBRARY in database.get_services()
    pool = DescriptorPool(database)
    method = pool.FindServiceByName(LIBRARY).FindMethodByName("GetBook")
    request, reply = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = channel.unary_unary(
        f"/{LIBRARY}/GetBook", request_serializer=request.SerializeToString, response_deserializer=reply.FromString
    )
    book, done = call.with_call(request(name=LAMP), timeout=SECONDS)
    assert book.title == "The Lamp at Transom Point"
    assert received(done.initial_metadata(), "x-library") == ["open"]


@pytest.fixture
def health(channel):
    return health_pb2_grpc.HealthStub(channel)


@pytest.mark.parametrize("service", ["", LIBRARY])
def test_health_check(health, service):
    assert health.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS).status == SERVING


def test_health_check_of_an_unknown_service(health, refused):
    error = refused(lambda: health.Check(health_pb2.HealthCheckRequest(service="no.such"), timeout=SECONDS))
    assert error.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", ["", LIBRARY])
def test_health_watch(health, service):
    watch = health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
    assert next(watch).status == SERVING
    watch.cancel()


def test_health_watch_of_an_unknown_service_waits_for_it(health):
    watch = health.Watch(health_pb2.HealthCheckRequest(service="no.such"), timeout=SECONDS)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    assert watch.is_active()
    watch.cancel()
