//! One rule of a method as REST serves it, compiled with the snapshot.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use crate::bridge::rest::decode::Asked;
use crate::bridge::rest::errors::ErrorForm;
use crate::bridge::rest::errors::PrintAny;
use crate::bridge::rest::negotiate::BodyForm;
use crate::bridge::rest::raw;
use crate::bridge::rest::raw::HttpBody;
use crate::call::Idempotency;
use crate::call::Kind;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::Violation;
use crate::schema::http::BodyRule;
use crate::schema::http::Rule;
use crate::schema::http::Verb;
use crate::transcode;
use crate::transcode::BindError;
use crate::transcode::BindOptions;
use crate::transcode::Binding;
use crate::transcode::Body;
use crate::transcode::Bound;
use crate::transcode::BoundBody;
use crate::transcode::Field;
use crate::transcode::MessageId;
use crate::transcode::Plans;
use crate::transcode::ReadError;
use crate::transcode::ReadOptions;
use crate::transcode::Shape;
use crate::transcode::WriteError;
use crate::transcode::WriteOptions;
use crate::transcode::check_fields;
use crate::transcode::field_bytes;
use crate::transcode::field_index;
use crate::transcode::read;
use crate::transcode::read_field;
use crate::transcode::write;
use crate::transcode::write_any;
use crate::transcode::write_field;

/// How one API reads and writes JSON: `rest` of its configuration.
#[derive(Debug, Default)]
pub struct Options {
    /// Of JSON bodies.
    pub read: ReadOptions,
    /// Of JSON replies.
    pub write: WriteOptions,
    /// Of paths, queries and forms.
    pub bind: BindOptions,
    /// Of error bodies.
    pub errors: ErrorForm,
    /// Whether the field mask of a PATCH is made from its body.
    pub patch_mask: bool,
}

/// One method, shared by all its rules.
#[derive(Debug)]
pub struct Method {
    /// The messages of its module.
    pub plans: Arc<Plans>,
    /// What it takes.
    pub input: MessageId,
    /// What it answers.
    pub output: MessageId,
    /// Which ways it streams.
    pub kind: Kind,
    /// What `idempotency_level` says.
    pub idempotency: Idempotency,
    /// How JSON is read and written.
    pub options: Arc<Options>,
}

impl Method {
    /// Appends the request message that `json` is.
    ///
    /// # Errors
    /// Text that isn't one.
    pub(in crate::bridge) fn read(&self, json: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        read(&self.plans, self.input, json, &Bound::empty(), &self.options.read, out).map_err(unread)
    }

    /// Appends the JSON of a reply message.
    ///
    /// # Errors
    /// Bytes that JSON can't express.
    pub(in crate::bridge) fn write(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
        write(&self.plans, self.output, message, &self.options.write, out)
    }

    /// Appends the JSON of a message of any type of the module; false, and nothing is appended, where that
    /// type is not known or the bytes are not of it.
    pub(in crate::bridge) fn print(&self, name: &str, message: &[u8], out: &mut Vec<u8>) -> bool {
        let begun = out.len();
        let id = self.plans.find(name);
        let is_told = id.is_some_and(|id| write(&self.plans, id, message, &self.options.write, out).is_ok());
        if !is_told {
            out.truncate(begun);
        }
        is_told
    }
}

/// One rule of a method: where its fields come from, and what of the reply is shown.
pub struct Endpoint {
    pub(super) method: Arc<Method>,
    binding: Binding,
    /// What a request body is.
    pub(super) taken: Taken,
    /// The field of the reply that is shown alone.
    shown: Option<usize>,
    /// Whether what is shown is a `google.api.HttpBody`.
    pub(super) raw_reply: bool,
    /// Whether a field mask is made from the body.
    mask: Mask,
}

/// Whether a field mask is made from the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mask {
    Made,
    Sent,
}

/// What a request body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing; it is not read.
    Nothing,
    /// JSON, or a form.
    Text,
    /// Bytes and a media type for a `google.api.HttpBody`.
    Raw,
}

/// A message of a WebSocket.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sent<'a> {
    /// A text.
    Json(&'a [u8]),
    /// A binary one.
    Protobuf(&'a [u8]),
}

impl Endpoint {
    /// Compiles one `google.api.http` rule.
    ///
    /// # Errors
    /// A sentence that names what the rule gets wrong.
    pub fn new(method: Arc<Method>, rule: &Rule) -> Result<Self, String> {
        let body = match &rule.body {
            BodyRule::None => Body::None,
            BodyRule::All => Body::All,
            BodyRule::Field(name) => Body::Field(name),
        };
        let variables: Vec<&[Box<str>]> =
            rule.template.variables.iter().map(|variable| &*variable.path).collect();
        let shown = match &rule.response_body {
            Some(name) => {
                let found = field_index(&method.plans, method.output, name);
                Some(found.map_err(|why| format!("response_body: {why}"))?)
            }
            None => None,
        };
        let mask =
            if method.options.patch_mask && rule.verb == Verb::Patch { Mask::Made } else { Mask::Sent };
        Ok(Self { mask, ..Self::with(method, &variables, body, shown)? })
    }

    /// The method without a rule: all of its message is the body.
    ///
    /// # Errors
    /// Never for a method whose types are in its module.
    pub fn without_rule(method: Arc<Method>) -> Result<Self, String> {
        Self::with(method, &[], Body::All, None)
    }

    /// How its API reads and writes JSON.
    pub(super) fn options(&self) -> &Options {
        &self.method.options
    }

    /// Which ways its method streams.
    pub(super) fn kind(&self) -> Kind {
        self.method.kind
    }

    fn with(
        method: Arc<Method>,
        variables: &[&[Box<str>]],
        body: Body<'_>,
        shown: Option<usize>,
    ) -> Result<Self, String> {
        let plans = &method.plans;
        let binding = Binding::compile(plans, method.input, variables, body, &method.options.bind)?;
        let is_raw = |id: MessageId| &*plans.message(id).name == raw::NAME;
        let held = |id: MessageId, at: usize| plans.message(id).fields.get(at).and_then(|f| f.message());
        let taken = match binding.body() {
            BoundBody::None => Taken::Nothing,
            BoundBody::All if is_raw(method.input) => Taken::Raw,
            BoundBody::Field(at) if held(method.input, at).is_some_and(is_raw) => Taken::Raw,
            _ => Taken::Text,
        };
        let raw_reply = match shown {
            Some(at) => held(method.output, at).is_some_and(is_raw),
            None => is_raw(method.output),
        };
        Ok(Self { method, binding, taken, shown, raw_reply, mask: Mask::Sent })
    }

    /// Appends the message that a body and what the target binds make.
    ///
    /// # Errors
    /// What of the request can't be bound or read.
    pub(super) fn read(&self, asked: &Asked, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let method = &*self.method;
        match (self.taken, &asked.form) {
            (Taken::Nothing, _) => self.binding.check_body(body).map_err(unbound)?,
            (Taken::Raw, _) => self.read_raw(asked, body, out)?,
            (Taken::Text, BodyForm::Form) => {
                self.binding.bind_form(&method.plans, body, out).map_err(unbound)?;
            }
            (Taken::Text, BodyForm::Raw(_)) => {
                self.binding
                    .bind_multipart(&method.plans, &asked.content_type, body, out)
                    .map_err(unbound)?;
            }
            // Nothing at all is a message without fields.
            (Taken::Text, _) if body.is_empty() => {}
            (Taken::Text, _) => {
                self.read_json(body, out).map_err(unread)?;
                if self.mask == Mask::Made {
                    self.binding.add_mask(&method.plans, &asked.query, body, out).map_err(unbound)?;
                }
            }
        }
        self.binding.bind(&method.plans, &asked.captures, &asked.query, out).map_err(unbound)
    }

    fn read_json(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ReadError> {
        let Method { plans, input, options, .. } = &*self.method;
        let bound = self.binding.bound();
        match self.binding.body() {
            BoundBody::Field(at) => read_field(plans, *input, at, body, bound, &options.read, out),
            BoundBody::All | BoundBody::None => read(plans, *input, body, bound, &options.read, out),
        }
    }

    fn read_raw(&self, asked: &Asked, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let body = HttpBody { content_type: asked.content_type.clone(), data: Bytes::copy_from_slice(body) };
        let bytes = body.encode_to_vec();
        if let BoundBody::Field(at) = self.binding.body()
            && let Some(field) = self.method.plans.message(self.method.input).fields.get(at)
        {
            out.extend_from_slice(field.tag.bytes());
            prost::encoding::encode_varint(bytes.len() as u64, out);
        }
        out.extend_from_slice(&bytes);
        Ok(())
    }

    /// Appends the message that a WebSocket's message and what the target binds make. It is what the rule's
    /// body is; where the rule has none, it is the whole message.
    ///
    /// # Errors
    /// What of it can't be bound or read.
    pub(super) fn read_message(
        &self,
        sent: Sent<'_>,
        captures: &[String],
        query: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        match sent {
            Sent::Json(json) => self.read_json(json, out).map_err(unread)?,
            Sent::Protobuf(message) => self.read_protobuf(message, out)?,
        }
        self.binding.bind(&self.method.plans, captures, query, out).map_err(unbound)
    }

    /// What the target binds is appended, so the message must end where its bytes do: a field that is cut
    /// short would take the bound ones in.
    fn read_protobuf(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let invalid = |told: String| Refusal::new(Reason::RequestInvalid, told);
        check_fields(message)
            .map_err(|error| invalid(format!("a binary message is no protobuf message: {error}")))?;
        if let BoundBody::Field(at) = self.binding.body() {
            let Some(field) = self.message_field(self.method.input, at) else {
                return Err(invalid(
                    "the body of this rule is no message: send JSON in text messages".into(),
                ));
            };
            out.extend_from_slice(field.tag.bytes());
            prost::encoding::encode_varint(message.len() as u64, out);
        }
        out.extend_from_slice(message);
        Ok(())
    }

    /// What is shown of a reply in protobuf; `None` where it is a field that holds no message.
    ///
    /// # Errors
    /// A reply that is no message.
    pub(super) fn write_protobuf(&self, message: &Bytes) -> Result<Option<Bytes>, WriteError> {
        let Some(at) = self.shown else { return Ok(Some(message.clone())) };
        let Method { plans, output, .. } = &*self.method;
        if self.message_field(*output, at).is_none() {
            return Ok(None);
        }
        field_bytes(plans, *output, at, message).map(|bytes| Some(bytes.into()))
    }

    /// A field that holds one message.
    fn message_field(&self, id: MessageId, at: usize) -> Option<&Field> {
        let field = self.method.plans.message(id).fields.get(at)?;
        (field.shape == Shape::Single && matches!(field.kind, transcode::Kind::Message(_))).then_some(field)
    }

    /// Appends the JSON of a reply.
    pub(super) fn write(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
        let Method { plans, output, options, .. } = &*self.method;
        match self.shown {
            Some(at) => write_field(plans, *output, at, message, &options.write, out),
            None => self.method.write(message, out),
        }
    }

    /// The bytes and media type of a reply that is a `google.api.HttpBody`.
    pub(super) fn write_raw(&self, message: Bytes) -> Result<HttpBody, String> {
        let bytes = match self.shown {
            Some(at) => {
                let Method { plans, output, .. } = &*self.method;
                field_bytes(plans, *output, at, &message).map_err(|error| error.to_string())?.into()
            }
            None => message,
        };
        HttpBody::decode(bytes).map_err(|error| error.to_string())
    }
}

impl PrintAny for Endpoint {
    fn print(&self, any: &[u8], out: &mut Vec<u8>) -> bool {
        write_any(&self.method.plans, any, &self.method.options.write, out)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("method", &self.method).finish_non_exhaustive()
    }
}

fn unread(error: ReadError) -> Refusal {
    let violation = Violation { field: error.path.clone(), description: error.what.clone() };
    Refusal::new(Reason::RequestInvalid, error.to_string()).violating(vec![violation])
}

fn unbound(error: BindError) -> Refusal {
    let told = error.to_string();
    let violations = error.violations.into_iter();
    let violations = violations.map(|(field, description)| Violation { field, description }).collect();
    Refusal::new(Reason::RequestInvalid, told).violating(violations)
}
