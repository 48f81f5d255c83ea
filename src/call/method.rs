//! Names one RPC and what its declaration promises.

use std::sync::Arc;

/// One RPC as its `.proto` declares it: the unit of routing, limits and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// `/pkg.Service/Name`, the `:path` of a gRPC request.
    pub path: Arc<str>,
    /// `pkg.Service`.
    pub service: Arc<str>,
    /// `Name`.
    pub name: Arc<str>,
    /// How many messages go each way.
    pub kind: Kind,
    /// What `idempotency_level` says.
    pub idempotency: Idempotency,
}

/// How many messages a call carries each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One request, one reply.
    Unary,
    /// Many requests, one reply.
    ClientStream,
    /// One request, many replies.
    ServerStream,
    /// Many each way.
    Bidi,
}

impl Kind {
    /// From the two `stream` keywords of the declaration.
    pub fn of(client_streams: Streams, server_streams: Streams) -> Self {
        match (client_streams, server_streams) {
            (Streams::No, Streams::No) => Self::Unary,
            (Streams::Yes, Streams::No) => Self::ClientStream,
            (Streams::No, Streams::Yes) => Self::ServerStream,
            (Streams::Yes, Streams::Yes) => Self::Bidi,
        }
    }

    /// Whether exactly one request message is due.
    pub fn one_request(self) -> bool {
        matches!(self, Self::Unary | Self::ServerStream)
    }

    /// Whether exactly one reply message is due.
    pub fn one_reply(self) -> bool {
        matches!(self, Self::Unary | Self::ClientStream)
    }
}

/// Whether one direction of a method is declared `stream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// One message.
    No,
    /// Any number of messages.
    Yes,
}

impl From<bool> for Streams {
    fn from(streams: bool) -> Self {
        if streams { Self::Yes } else { Self::No }
    }
}

/// `google.protobuf.MethodOptions.idempotency_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Idempotency {
    /// Nothing is promised.
    #[default]
    Unknown,
    /// Safe to repeat and without effect: Connect may use GET.
    NoSideEffects,
    /// Safe to repeat.
    Idempotent,
}
