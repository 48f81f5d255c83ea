//! The Inspect method: what the backend saw of the call itself.

use std::time::Duration;

use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::metadata::KeyAndValueRef;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpConnectInfo;

use crate::demo::fault;
use crate::demo::layer::Seen;
use crate::demo::pb::InspectRequest;
use crate::demo::pb::InspectResponse;
use crate::demo::pb::inspect_response::Entry;

/// The longest pause and delay of any method.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(60);
const PADDING_BYTES_MAX: usize = 8 << 20;

pub(crate) async fn inspect(request: Request<InspectRequest>) -> Result<Response<InspectResponse>, Status> {
    let seen = request.extensions().get::<Seen>().cloned();
    let connection = request.extensions().get::<TcpConnectInfo>().cloned();
    let address = |of: fn(&TcpConnectInfo) -> Option<std::net::SocketAddr>| {
        connection.as_ref().and_then(of).map(|address| address.to_string()).unwrap_or_default()
    };
    let mut reply = InspectResponse {
        metadata: entries(request.metadata()),
        deadline_ms: seen.as_ref().and_then(|seen| i64::try_from(seen.left?.as_millis()).ok()),
        peer: address(TcpConnectInfo::remote_addr),
        local: address(TcpConnectInfo::local_addr),
        ..Default::default()
    };
    let asked = request.into_inner();
    let padding = usize::try_from(asked.padding).ok().filter(|&bytes| bytes <= PADDING_BYTES_MAX);
    let padding = padding.ok_or_else(|| fault::bad("padding", "write 0 to 8388608"))?;
    if let Some(delay) = pause("delay", asked.delay.as_ref())? {
        tokio::time::sleep(delay).await;
    }
    if let Some(status) = fault::wanted("fail_with", asked.fail_with, &asked.text) {
        return Err(status);
    }
    if let Some(seen) = seen {
        reply.running = seen.running();
        reply.cancelled = seen.cancelled();
        reply.authority = seen.authority;
        reply.path = seen.path;
    }
    Ok(Response::new(InspectResponse {
        text: asked.text,
        payload: asked.payload,
        padding: vec![b'.'; padding],
        ..reply
    }))
}

/// A pause a caller asked for: none, or at most [`PAUSE_MAX`].
pub(crate) fn pause(field: &str, asked: Option<&prost_types::Duration>) -> Result<Option<Duration>, Status> {
    let Some(asked) = asked else { return Ok(None) };
    let pause = Duration::try_from(*asked).ok().filter(|&pause| pause <= PAUSE_MAX);
    pause.map(Some).ok_or_else(|| fault::bad(field, "write 0s to 60s"))
}

fn entries(metadata: &MetadataMap) -> Vec<Entry> {
    let entry = |pair| match pair {
        KeyAndValueRef::Ascii(key, value) => Entry { key: key.to_string(), value: value.as_bytes().to_vec() },
        KeyAndValueRef::Binary(key, value) => {
            // One that isn't base64 is shown as it came.
            let value =
                value.to_bytes().map_or_else(|_| value.as_encoded_bytes().to_vec(), |bytes| bytes.to_vec());
            Entry { key: key.to_string(), value }
        }
    };
    metadata.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_bounded() {
        let of = |seconds, nanos| pause("pause", Some(&prost_types::Duration { seconds, nanos }));
        assert_eq!(of(60, 0).unwrap(), Some(PAUSE_MAX));
        assert!(of(60, 1).is_err());
        assert!(of(-1, 0).is_err());
        assert!(of(i64::MAX, i32::MAX).is_err());
    }
}
