//! `google.api.HttpBody`: bytes with a media type, as they come and go.

use bytes::Bytes;
use prost::Message;

/// The fields that the gateway reads and writes; extensions are left out.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpBody {
    /// The media type.
    #[prost(string, tag = "1")]
    pub(super) content_type: String,
    /// The bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) data: Bytes,
}

/// The full name of the message.
pub(super) const NAME: &str = "google.api.HttpBody";
