//! Refusals of replies that can't be told to a REST client.

use std::fmt::Display;

use crate::bridge::frames::Uncoded;
use crate::bridge::frames::outgrown;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::Side;
use crate::transcode::Cause;
use crate::transcode::WriteError;
use crate::wire::compress::CodingFault;
use crate::wire::frame::FrameFault;

/// A reply that breaks the rules of its method.
pub(super) fn invalid(told: &'static str) -> Refusal {
    Refusal::new(Reason::UpstreamReplyInvalid, told)
}

/// A reply whose bytes are no message of its type.
pub(super) fn malformed(why: impl Display) -> Refusal {
    invalid("the service sent a malformed reply: its messages may be newer than the gateway's descriptors")
        .logged(why.to_string())
}

/// A reply whose frames can't be read.
pub(super) fn frame(fault: FrameFault) -> Refusal {
    match fault {
        FrameFault::TooLarge { .. } => too_large(fault.to_string()),
        _ => invalid("the service sent a malformed reply").logged(fault.to_string()),
    }
}

/// A message that can't be decompressed.
pub(super) fn uncoded(fault: Uncoded) -> Refusal {
    match fault {
        Uncoded::Unknown => {
            invalid("the service compressed its reply in a way that the gateway doesn't know")
        }
        Uncoded::Fault(fault) => coding(fault),
    }
}

fn coding(fault: CodingFault) -> Refusal {
    match fault {
        CodingFault::Codec(_) => Refusal::new(Reason::Overloaded, "the gateway has no memory: try again"),
        _ => outgrown(fault).unwrap_or_else(|| {
            invalid("the service sent a reply that can't be decompressed").logged(fault.to_string())
        }),
    }
}

/// A message that has no JSON; `written` bytes of it were written, of at most `bytes_max`.
pub(super) fn unwritten(error: &WriteError, written: usize, bytes_max: usize) -> Refusal {
    if bytes_max <= written {
        return too_large(format!("the reply is over {bytes_max} bytes as JSON: ask for less"));
    }
    match error.cause {
        Cause::Malformed => malformed(error),
        // What is told names fields and types, never values.
        Cause::Inexpressible => Refusal::new(
            Reason::UpstreamReplyInvalid,
            format!("the service's reply has no JSON form: {error}"),
        ),
    }
}

fn too_large(told: String) -> Refusal {
    let mut refusal = Refusal::new(Reason::MessageTooLarge, told);
    refusal.side = Side::Upstream;
    refusal
}
