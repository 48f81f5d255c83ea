//! Reads the PROXY header of a connection: bounded in time, counted by its outcome, and to its last byte alone,
//! since TLS or HTTP begin behind it.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::listen::Limits;
use crate::listen::Place;
use crate::wire::proxy::Fault;
use crate::wire::proxy::Header;
use crate::wire::proxy::Version;
use crate::wire::proxy::parse;

/// Whether a connection goes on behind its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Introduced {
    Yes,
    No,
}

/// Reads the header, and tells the place whose connection it is.
pub(crate) async fn introduce(socket: &mut TcpStream, place: &mut Place, limits: &Limits) -> Introduced {
    let reading = tokio::time::timeout(limits.header_timeout, read(socket));
    let outcome = tokio::select! {
        read = reading => read.unwrap_or(Err("timeout")),
        () = std::future::poll_fn(|cx| place.poll_closed(cx)) => Err("gave_way"),
    };
    let told = outcome.and_then(|header| {
        if let Some(source) = header.source {
            place.told(source, limits)?;
        }
        Ok(header)
    });
    place.introduced(match told {
        Ok(Header { source: None, .. }) => "local",
        Ok(Header { version: Version::V1, .. }) => "v1",
        Ok(Header { version: Version::V2, .. }) => "v2",
        Err(why) => why,
    });
    if told.is_ok() { Introduced::Yes } else { Introduced::No }
}

/// Looks at what is there before it takes it: of bytes that don't end a header all belong to it.
async fn read(socket: &mut TcpStream) -> Result<Header, &'static str> {
    let mut head = Vec::new();
    loop {
        let held = head.len();
        head.resize(held + PEEKED_BYTES, 0);
        let seen = socket.peek(&mut head[held..]).await.map_err(closed)?;
        if seen == 0 {
            return Err("closed");
        }
        head.truncate(held + seen);
        let found = parse(&head).map_err(Fault::name)?;
        let end = found.map_or(head.len(), |header| header.bytes);
        // These bytes are there: nothing is waited for.
        socket.read_exact(&mut head[held..end]).await.map_err(closed)?;
        if let Some(header) = found {
            return Ok(header);
        }
    }
}

fn closed(_: io::Error) -> &'static str {
    "closed"
}

/// What most headers fit in.
const PEEKED_BYTES: usize = 232;
