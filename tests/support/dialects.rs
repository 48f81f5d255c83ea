//! The dialects of the matrix: each calls a method in its own way and tells the outcome in gRPC terms.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::client::GrpcService;
use tonic::codec::Codec;
use tonic::codec::CompressionEncoding;
use tonic::codec::DecodeBuf;
use tonic::codec::Decoder;
use tonic::codec::EncodeBuf;
use tonic::codec::Encoder;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use transom::wire::compress::Encoding;

use crate::support::LIBRARY;
use crate::support::connect;
use crate::support::connect::Http;
use crate::support::connect::Way;
use crate::support::dialects_rest;
use crate::support::dialects_web;

/// One call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    /// `/package.Service/Method`.
    pub(crate) path: String,
    /// Request messages, encoded.
    pub(crate) messages: Vec<Bytes>,
    /// Request metadata; `-bin` values encoded.
    pub(crate) metadata: HeaderMap,
    /// The time the client gives.
    pub(crate) timeout: Option<Duration>,
    /// Bytes of each piece in which the body is sent; 0 leaves it to the client.
    pub(crate) cut: usize,
}

impl Ask {
    /// A call of one of the library's methods with one message.
    pub(crate) fn of(method: &str, message: &impl Message) -> Self {
        Self::stream(method, std::slice::from_ref(message))
    }

    /// A call of one of the library's methods with any number of messages.
    pub(crate) fn stream(method: &str, messages: &[impl Message]) -> Self {
        let messages = messages.iter().map(|message| message.encode_to_vec().into()).collect();
        Self { path: format!("/{LIBRARY}/{method}"), messages, ..Self::default() }
    }

    /// The same call with one more field of metadata.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.metadata.append(name, value.parse().expect("a good value"));
        self
    }

    /// The same call with a deadline.
    pub(crate) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same call with its body in pieces of so many bytes.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.cut = bytes;
        self
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Told {
    /// Leading metadata; empty where the answer is a status alone.
    pub(crate) leading: HeaderMap,
    /// Reply messages, decompressed.
    pub(crate) messages: Vec<Bytes>,
    /// Trailing metadata.
    pub(crate) trailing: HeaderMap,
    /// The status, with its message and details.
    pub(crate) status: Status,
}

impl Told {
    /// The only message of a call that succeeded.
    pub(crate) fn one<M: Message + Default>(&self) -> M {
        assert_eq!((self.status.code(), self.messages.len()), (Code::Ok, 1), "{:?}", self.status);
        M::decode(self.messages[0].clone()).expect("a reply decodes")
    }

    /// All messages of a call that succeeded.
    pub(crate) fn all<M: Message + Default>(&self) -> Vec<M> {
        assert_eq!(self.status.code(), Code::Ok, "{:?}", self.status);
        self.messages.iter().map(|message| M::decode(message.clone()).expect("a reply decodes")).collect()
    }

    /// All values of a field, in order.
    pub(crate) fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
        headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect()
    }
}

/// How messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// By gzip, both ways.
    Gzip,
}

impl Compression {
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Self::None => Encoding::Identity,
            Self::Gzip => Encoding::Gzip,
        }
    }
}

/// All of them.
pub(crate) const COMPRESSIONS: [Compression; 2] = [Compression::None, Compression::Gzip];

/// A call under way.
pub(crate) type Calling = Pin<Box<dyn Future<Output = Told> + Send>>;

/// One dialect.
pub(crate) struct Dialect {
    /// As the metrics name it.
    pub(crate) name: &'static str,
    /// How it frames streams or encodes messages, where it has more than one way.
    pub(crate) form: &'static str,
    /// Whether its clients see trailing metadata.
    pub(crate) has_trailers: bool,
    /// Whether compressed messages pass as they come.
    pub(crate) passes_compression: bool,
    /// Bytes of the largest payload of the laws, which each bridge bounds in its own way.
    pub(crate) large: u32,
    /// Makes a call on a connection of its own.
    pub(crate) call: fn(SocketAddr, Compression, Ask) -> Calling,
}

const GRPC: Dialect = Dialect {
    name: "grpc",
    form: "",
    has_trailers: true,
    passes_compression: true,
    large: 6_000_000,
    call: grpc,
};

const CONNECT: Dialect =
    Dialect { name: "connect", form: "proto", passes_compression: false, call: connect_proto, ..GRPC };

const WEB: Dialect = Dialect { name: "grpc_web", form: "binary", call: dialects_web::binary, ..GRPC };

const WEB_JSON: Dialect = Dialect { passes_compression: false, large: JSON_LARGE, ..WEB };

const REST: Dialect = Dialect {
    name: "rest",
    form: "lines",
    has_trailers: false,
    passes_compression: false,
    large: JSON_LARGE,
    call: dialects_rest::lines,
};

/// In base64, and under the limit that holds where none is set.
const JSON_LARGE: u32 = 3_000_000;

/// Every dialect that is built; a new one joins all laws by one entry.
pub(crate) static DIALECTS: &[Dialect] = &[
    GRPC,
    CONNECT,
    Dialect { form: "proto over HTTP/1.1", call: connect_proto_h1, ..CONNECT },
    Dialect { form: "json", large: JSON_LARGE, call: connect_json, ..CONNECT },
    Dialect { form: "json over HTTP/2", large: JSON_LARGE, call: connect_json_h2, ..CONNECT },
    Dialect {
        form: "json",
        passes_compression: false,
        large: JSON_LARGE,
        call: dialects_web::grpc_json,
        ..GRPC
    },
    WEB,
    Dialect { form: "binary over HTTP/2", call: dialects_web::binary_h2, ..WEB },
    Dialect { form: "text", call: dialects_web::text, ..WEB },
    Dialect { form: "text over HTTP/2", call: dialects_web::text_h2, ..WEB },
    Dialect { form: "json", call: dialects_web::json, ..WEB_JSON },
    Dialect { form: "text of json over HTTP/2", call: dialects_web::text_json, ..WEB_JSON },
    // Of a trailer that is there twice, tonic's client keeps the last value.
    Dialect { form: "tonic", has_trailers: false, call: dialects_web::tonic_web, ..WEB },
    REST,
    Dialect { form: "array", call: dialects_rest::array, ..REST },
    Dialect { form: "events", call: dialects_rest::events, ..REST },
];

fn connect_proto_h1(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    let way = Way { http: Http::One, codec: connect::Codec::Proto, coding: compression.encoding() };
    Box::pin(way.call(address, ask))
}

fn connect_json_h2(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    let way = Way { http: Http::Two, codec: connect::Codec::Json, coding: compression.encoding() };
    Box::pin(way.call(address, ask))
}

fn connect_proto(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    let way = Way { http: Http::Two, codec: connect::Codec::Proto, coding: compression.encoding() };
    Box::pin(way.call(address, ask))
}

fn connect_json(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    let way = Way { http: Http::One, codec: connect::Codec::Json, coding: compression.encoding() };
    Box::pin(way.call(address, ask))
}

fn grpc(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    if ask.cut != 0 {
        // tonic's client decides for itself what a DATA frame is.
        return dialects_web::grpc(address, compression, ask);
    }
    Box::pin(async move {
        let channel = crate::support::channel(address).await;
        call_grpc(channel, compression, ask).await
    })
}

/// Makes a call of any kind over a tonic channel.
pub(crate) async fn call_grpc(channel: Channel, compression: Compression, ask: Ask) -> Told {
    call_over(channel, compression, ask).await
}

/// Makes a call of any kind by tonic's client, over any transport.
pub(crate) async fn call_over<T>(channel: T, compression: Compression, ask: Ask) -> Told
where
    T: GrpcService<tonic::body::Body>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    T::Error: std::fmt::Debug,
{
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
    if compression == Compression::Gzip {
        client =
            client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    }
    let mut request = Request::new(tokio_stream::iter(ask.messages));
    *request.metadata_mut() = MetadataMap::from_headers(ask.metadata);
    if let Some(timeout) = ask.timeout {
        request.set_timeout(timeout);
    }
    let path = ask.path.parse().expect("a good path");
    client.ready().await.expect("the connection is open");
    let mut told = Told {
        leading: HeaderMap::new(),
        messages: Vec::new(),
        trailing: HeaderMap::new(),
        status: Status::ok(""),
    };
    let response = match client.streaming(request, path, Raw).await {
        Ok(response) => response,
        Err(status) => return failed(told, status),
    };
    told.leading = response.metadata().clone().into_headers();
    let mut stream = response.into_inner();
    loop {
        match stream.message().await {
            Ok(Some(message)) => told.messages.push(message),
            Ok(None) => break,
            Err(status) => return failed(told, status),
        }
    }
    let trailers = stream.trailers().await.expect("the trailers were read");
    told.trailing = trailers.map(MetadataMap::into_headers).unwrap_or_default();
    told
}

fn failed(mut told: Told, status: Status) -> Told {
    told.trailing = status.metadata().clone().into_headers();
    told.status = status;
    told
}

/// Passes messages on as bytes.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
