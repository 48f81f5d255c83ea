//! The client protocols that Transom speaks.

/// A client protocol; one file of the bridge room speaks each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Dialect {
    /// Native gRPC over HTTP/2 or HTTP/3.
    Grpc,
    /// gRPC-Web, binary or text.
    GrpcWeb,
    /// The Connect protocol.
    Connect,
    /// JSON by `google.api.http` rules.
    Rest,
    /// HTTP that asks for no method in any of these: it only ever sees refusals.
    Plain,
}

impl Dialect {
    /// Every dialect, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Grpc, Self::GrpcWeb, Self::Connect, Self::Rest, Self::Plain];

    /// The name in configuration, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc_web",
            Self::Connect => "connect",
            Self::Rest => "rest",
            Self::Plain => "plain",
        }
    }
}
