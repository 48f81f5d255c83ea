//! Checks and changes applied to calls: fixed slots in a fixed order.
//!
//! A policy is one file with a [`Kind`], and one line in [`TABLE`]. It is compiled from its
//! slot's raw value into a [`Policy`], whose `check` looks at the head of a call. What it
//! must do later (per message, at the end) is in the [`Hold`] that it may leave behind,
//! which drops with the call.

mod admit;
mod cors;
pub mod merge;
mod stream;
mod timeout;
mod validate;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use admit::Admitted;
pub use admit::Holds;
pub use admit::Passing;
pub use admit::admit;
pub use cors::ALLOW_PRIVATE_NETWORK;
pub use cors::ASKED;
pub use cors::Cors;
pub use cors::REQUEST_PRIVATE_NETWORK;

use crate::call::Call;
use crate::call::Code;
use crate::call::Refusal;
use crate::config::fault::Diag;
use crate::config::raw::Raw;

/// Every policy that Transom knows, in the order in which calls pass them. A new one is a
/// new file and one line here.
pub static TABLE: &[&dyn Kind] = &[&cors::Slot, &validate::Validate, &timeout::Timeout, &stream::Stream];

/// A kind of policy: a slot of the configuration and what compiles it.
pub trait Kind: Sync {
    /// The key of its slot.
    fn slot(&self) -> &'static str;

    /// Compiles the checked value of the slot; faults that the schema can't see go to `diag`.
    fn compile(&self, raw: &Raw, diag: &mut Diag) -> Option<Arc<dyn Policy>>;

    /// What applies where no level sets the slot.
    fn unset(&self) -> Option<Arc<dyn Policy>> {
        None
    }

    /// The same in words, for `transom explain`.
    fn unset_in_words(&self) -> &'static str {
        "its defaults"
    }

    /// How an `enforced` slot meets the slot of an API or a method.
    fn enforced(&self) -> Enforced;
}

/// How an `enforced` slot meets the slot of an API or a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    /// It replaces the other.
    Instead,
    /// Both apply, so the stricter one holds.
    Both,
}

/// One compiled policy. Immutable: its state, if any, is shared by identity.
pub trait Policy: Send + Sync + fmt::Debug {
    /// The slot it was compiled from, for logs.
    fn slot(&self) -> &'static str;

    /// What it must see besides the head.
    fn needs(&self) -> Needs {
        Needs::Head
    }

    /// What it says about web pages; only the slot `cors` says anything.
    fn cors(&self) -> Option<Cors> {
        None
    }

    /// Looks at the head of a call, and may change it.
    fn check(&self, call: &mut Call) -> Check;
}

/// What a policy must see of a call. Frames that none needs stay unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Needs {
    /// The head alone.
    #[default]
    Head,
    /// The first request message, before anything goes upstream.
    FirstMessage,
    /// Every message, both ways.
    Messages,
}

/// The outcome of a policy's look at the head.
pub enum Check {
    /// The call goes on.
    Pass,
    /// The call goes on, and the policy with it.
    Hold(Box<dyn Hold>),
    /// The call ends here.
    Refuse(Box<Refusal>),
    /// The policy must wait for something; only then is a future made.
    Wait(Waiting<Option<Box<dyn Hold>>>),
}

/// A future that a policy waits for.
pub type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// What a policy keeps of one call. Whatever it took, it gives back when it is dropped.
pub trait Hold: Send {
    /// One request message, before it goes upstream.
    fn on_request(&mut self, message: &Message) -> Step {
        let _ = message;
        Step::Pass
    }

    /// One reply message, before it goes to the client.
    fn on_reply(&mut self, message: &Message) -> Step {
        let _ = message;
        Step::Pass
    }

    /// The end of the call. It isn't reached by a call whose client goes away: see `Drop`.
    fn on_end(&mut self, end: &End) {
        let _ = end;
    }
}

/// One gRPC message, as it was sent.
#[derive(Debug, Clone)]
pub struct Message {
    /// Whether the payload is compressed by the encoding that the head names.
    pub compressed: bool,
    /// The payload.
    pub payload: Bytes,
}

/// The outcome of a policy's look at a message.
pub enum Step {
    /// The message goes on.
    Pass,
    /// It goes on when the future says so.
    Wait(Waiting<()>),
    /// The call ends here.
    Refuse(Box<Refusal>),
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// The status that the client got.
    pub code: Code,
    /// From the head of the request on.
    pub duration: Duration,
}
