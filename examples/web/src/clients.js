// The same calls by three clients: Google's grpc-web in its two formats, and connect-web in its two protocols.
// Each has `unary(method, request)`, which is a promise of the reply, and `stream(method, request, signal, each)`,
// a promise of the end that tells `each` of every reply. They fail with a `Fault`.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { GrpcWebClientBase, MethodDescriptor } from "grpc-web";
import { ErrorInfoSchema } from "../generated/google/rpc/error_details_pb.js";
import { StatusSchema } from "../generated/google/rpc/status_pb.js";
import { Library } from "../generated/transom/demo/v1/library_pb.js";

/** How a call failed: a gRPC code, a message, and the reason in its ErrorInfo, where it has one. */
export class Fault extends Error {
  constructor(code, message, reason) {
    super(message);
    this.code = code;
    this.reason = reason;
  }
}

/** A method that no `.proto` file of the gateway has. */
export const UNPUBLISHED = { ...Library.method.getBook, name: "Burn", localName: "burn" };

/** Google's grpc-web. Its generated code knows messages of google-protobuf; a descriptor of its own takes any. */
function googles(format) {
  return (gateway) => {
    const client = new GrpcWebClientBase({ format });
    const url = (method) => `${gateway}/${method.parent.typeName}/${method.name}`;
    const described = (method, kind) =>
      new MethodDescriptor(
        `/${method.parent.typeName}/${method.name}`,
        kind,
        Object,
        Object,
        (request) => toBinary(method.input, request),
        (bytes) => fromBinary(method.output, bytes),
      );
    return {
      async unary(method, request) {
        const message = create(method.input, request);
        try {
          return await client.unaryCall(url(method), message, {}, described(method, "unary"));
        } catch (error) {
          throw googlesFault(error);
        }
      },
      stream(method, request, signal, each) {
        const message = create(method.input, request);
        const call = client.serverStreaming(url(method), message, {}, described(method, "server_streaming"));
        return new Promise((resolve, reject) => {
          signal.addEventListener("abort", () => {
            call.cancel();
            reject(new Fault(Code.Canceled, "stopped here"));
          });
          call.on("data", each);
          call.on("error", (error) => reject(googlesFault(error)));
          call.on("end", resolve);
        });
      },
    };
  };
}

function googlesFault(error) {
  const details = error.metadata?.["grpc-status-details-bin"];
  const packed = details ? fromBinary(StatusSchema, base64Decode(details)).details : [];
  const info = packed.find((any) => any.typeUrl.endsWith(`/${ErrorInfoSchema.typeName}`));
  return new Fault(error.code, error.message, info && fromBinary(ErrorInfoSchema, info.value).reason);
}

/** connect-web, which speaks gRPC-Web as well as its own protocol. */
function connects(transport, options) {
  return (gateway) => {
    const whole = transport({ baseUrl: gateway, ...options });
    const client = createClient(Library, whole);
    const call = async (run) => {
      try {
        return await run();
      } catch (thrown) {
        const error = ConnectError.from(thrown);
        throw new Fault(error.code, error.rawMessage, error.findDetails(ErrorInfoSchema)[0]?.reason);
      }
    };
    return {
      unary: (method, request) =>
        call(async () => (await whole.unary(method, undefined, undefined, undefined, request)).message),
      stream: (method, request, signal, each) =>
        call(async () => {
          for await (const reply of client[method.localName](request, { signal })) each(reply);
        }),
    };
  };
}

export const CLIENTS = {
  "grpc-web, binary": googles("binary"),
  "grpc-web, text": googles("text"),
  "connect-web, Connect with JSON": connects(createConnectTransport, { useBinaryFormat: false }),
  "connect-web, Connect with protobuf": connects(createConnectTransport, { useBinaryFormat: true }),
  "connect-web, Connect by GET": connects(createConnectTransport, { useHttpGet: true }),
  "connect-web, gRPC-Web": connects(createGrpcWebTransport, {}),
};
