//! Why a message can't be written as JSON.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// Where and why a message can't be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteError {
    /// Proto names of the fields on the way, such as `order.items.price`; empty for the message itself.
    pub path: String,
    /// What is wrong.
    pub what: Cow<'static, str>,
    /// Which of the two sides of it is wrong.
    pub cause: Cause,
}

/// Why a message has no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its bytes are no such message.
    Malformed,
    /// It is a message, and holds what JSON can't express or what the options forbid.
    Inexpressible,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)
    }
}

impl Error for WriteError {}

/// The same on its way out, boxed: it is rare.
#[derive(Debug)]
pub(super) struct Fault(Box<WriteError>);

impl Fault {
    /// A message that JSON can't express.
    pub(super) fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(WriteError { path: String::new(), what: what.into(), cause: Cause::Inexpressible }))
    }

    /// Bytes that are no message.
    #[cold]
    pub(super) fn malformed(what: &'static str) -> Self {
        Self(Box::new(WriteError { path: String::new(), what: what.into(), cause: Cause::Malformed }))
    }

    #[cold]
    pub(super) fn too_deep() -> Self {
        Self::new("messages are nested too deeply")
    }

    #[cold]
    pub(super) fn too_long() -> Self {
        Self::new("the JSON is over `bytes_max`")
    }

    /// The same, of bytes that are of no concern to the message that holds them.
    #[must_use]
    pub(super) fn made_inexpressible(mut self) -> Self {
        self.0.cause = Cause::Inexpressible;
        self
    }

    /// The same, within a field.
    #[must_use]
    pub(super) fn within(mut self, field: &str) -> Self {
        let path = &self.0.path;
        self.0.path = if path.is_empty() { field.to_owned() } else { format!("{field}.{path}") };
        self
    }

    pub(super) fn into_error(self) -> WriteError {
        *self.0
    }
}
