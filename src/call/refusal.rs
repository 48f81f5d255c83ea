//! The record of a call that Transom itself ends; only a bridge turns it into bytes.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use crate::call::Code;

/// Why and how the gateway ends a call.
///
/// Code, blame and retry are decided where the fault is known. `told` is for a stranger,
/// `logged` for the operator.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The gRPC truth; the REST status comes from [`Reason::http_status`].
    pub code: Code,
    /// The row of the refusal table.
    pub reason: Reason,
    /// What the client may read: it says what to do.
    pub told: Cow<'static, str>,
    /// What only the operator reads.
    pub logged: Option<String>,
    /// Who is to blame.
    pub side: Side,
    /// Whether another attempt may help, and when it is safe.
    pub retry: Retry,
    /// How long a client should wait before it tries again (RetryInfo, `Retry-After`).
    pub retry_after: Option<Duration>,
    /// The values of `Allow` or `Accept-Post`, where the reason calls for one.
    pub offers: Option<Cow<'static, str>>,
    /// Which fields of the request are at fault (`BadRequest.field_violations`).
    pub violations: Vec<Violation>,
}

/// One field of a request that is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its path in the request message.
    pub field: String,
    /// What is wrong, and what to send.
    pub description: String,
}

impl Refusal {
    /// A refusal of `reason`, with the code, blame and retry that are usual for it.
    pub fn new(reason: Reason, told: impl Into<Cow<'static, str>>) -> Self {
        let (code, side, retry) = reason.usual();
        let retry_after = matches!(reason, Reason::Overloaded | Reason::Draining).then_some(RETRY_AFTER);
        Self {
            code,
            reason,
            told: told.into(),
            logged: None,
            side,
            retry,
            retry_after,
            offers: None,
            violations: Vec::new(),
        }
    }

    /// The same refusal with another code than is usual for its reason.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// The same refusal with what the operator should read.
    #[must_use]
    pub fn logged(mut self, logged: impl Into<String>) -> Self {
        self.logged = Some(logged.into());
        self
    }

    /// The same refusal, which the gateway may retry as `retry` says.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same refusal with the value of `Allow` or `Accept-Post`.
    #[must_use]
    pub fn offering(mut self, offers: impl Into<Cow<'static, str>>) -> Self {
        self.offers = Some(offers.into());
        self
    }

    /// The same refusal with the fields that are at fault.
    #[must_use]
    pub fn violating(mut self, violations: Vec<Violation>) -> Self {
        self.violations = violations;
        self
    }

    /// The HTTP status that REST and plain callers see.
    pub fn http_status(&self) -> StatusCode {
        self.reason.http_status(self.code)
    }
}

/// A row of the refusal table; its name is `ErrorInfo.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// No credential where one is needed.
    CredentialMissing,
    /// A bad, expired or revoked credential.
    CredentialInvalid,
    /// Denied by authorization or address.
    AccessDenied,
    /// Unknown host, service or method.
    MethodUnknown,
    /// A known path under another HTTP method.
    MethodNotAllowed,
    /// The request can't be decoded or bound, or breaks a rule.
    RequestInvalid,
    /// A content type or codec that isn't taken.
    ContentTypeUnsupported,
    /// A message or body encoding that isn't known.
    EncodingUnsupported,
    /// No message, or a second one, where exactly one is due.
    Cardinality,
    /// A malformed gRPC frame.
    FrameInvalid,
    /// A message over its limit.
    MessageTooLarge,
    /// Headers over their limit.
    HeadersTooLarge,
    /// A rate, quota or concurrency limit.
    LimitExceeded,
    /// The gateway has no room.
    Overloaded,
    /// The gateway, or an old stream, is being ended in order.
    Draining,
    /// Every endpoint is unhealthy.
    NoHealthyUpstream,
    /// The breaker of the upstream is open.
    BreakerOpen,
    /// The connection was refused or lost before the call ran.
    UpstreamUnreachable,
    /// The upstream broke the call off.
    UpstreamReset,
    /// The upstream answered without gRPC.
    UpstreamNotGrpc,
    /// The upstream ended without a status.
    UpstreamNoStatus,
    /// The upstream's reply can't be told in the client's dialect.
    UpstreamReplyInvalid,
    /// The deadline, the client's or the gateway's, is over.
    DeadlineExceeded,
    /// The client went away.
    ClientCancelled,
    /// A service that a policy needs is away.
    DependencyUnavailable,
    /// The HTTP version can't carry this dialect.
    HttpVersionUnsupported,
    /// The host is served under another certificate than that of the connection.
    Misdirected,
    /// A fault of ours.
    Internal,
}

impl Reason {
    /// Every reason, in the order of the table.
    pub const ALL: [Self; 28] = [
        Self::CredentialMissing,
        Self::CredentialInvalid,
        Self::AccessDenied,
        Self::MethodUnknown,
        Self::MethodNotAllowed,
        Self::RequestInvalid,
        Self::ContentTypeUnsupported,
        Self::EncodingUnsupported,
        Self::Cardinality,
        Self::FrameInvalid,
        Self::MessageTooLarge,
        Self::HeadersTooLarge,
        Self::LimitExceeded,
        Self::Overloaded,
        Self::Draining,
        Self::NoHealthyUpstream,
        Self::BreakerOpen,
        Self::UpstreamUnreachable,
        Self::UpstreamReset,
        Self::UpstreamNotGrpc,
        Self::UpstreamNoStatus,
        Self::UpstreamReplyInvalid,
        Self::DeadlineExceeded,
        Self::ClientCancelled,
        Self::DependencyUnavailable,
        Self::HttpVersionUnsupported,
        Self::Misdirected,
        Self::Internal,
    ];

    /// `ErrorInfo.reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CredentialMissing => "CREDENTIAL_MISSING",
            Self::CredentialInvalid => "CREDENTIAL_INVALID",
            Self::AccessDenied => "ACCESS_DENIED",
            Self::MethodUnknown => "METHOD_UNKNOWN",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::RequestInvalid => "REQUEST_INVALID",
            Self::ContentTypeUnsupported => "CONTENT_TYPE_UNSUPPORTED",
            Self::EncodingUnsupported => "ENCODING_UNSUPPORTED",
            Self::Cardinality => "CARDINALITY",
            Self::FrameInvalid => "FRAME_INVALID",
            Self::MessageTooLarge => "MESSAGE_TOO_LARGE",
            Self::HeadersTooLarge => "HEADERS_TOO_LARGE",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::Overloaded => "OVERLOADED",
            Self::Draining => "DRAINING",
            Self::NoHealthyUpstream => "NO_HEALTHY_UPSTREAM",
            Self::BreakerOpen => "BREAKER_OPEN",
            Self::UpstreamUnreachable => "UPSTREAM_UNREACHABLE",
            Self::UpstreamReset => "UPSTREAM_RESET",
            Self::UpstreamNotGrpc => "UPSTREAM_NOT_GRPC",
            Self::UpstreamNoStatus => "UPSTREAM_NO_STATUS",
            Self::UpstreamReplyInvalid => "UPSTREAM_REPLY_INVALID",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::ClientCancelled => "CLIENT_CANCELLED",
            Self::DependencyUnavailable => "DEPENDENCY_UNAVAILABLE",
            Self::HttpVersionUnsupported => "HTTP_VERSION_UNSUPPORTED",
            Self::Misdirected => "MISDIRECTED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The code, blame and retry that are usual for a reason.
    fn usual(self) -> (Code, Side, Retry) {
        match self {
            Self::CredentialMissing | Self::CredentialInvalid => {
                (Code::Unauthenticated, Side::Client, Retry::Never)
            }
            Self::AccessDenied => (Code::PermissionDenied, Side::Client, Retry::Never),
            Self::MethodUnknown
            | Self::MethodNotAllowed
            | Self::ContentTypeUnsupported
            | Self::EncodingUnsupported
            | Self::Cardinality
            | Self::HttpVersionUnsupported => (Code::Unimplemented, Side::Client, Retry::Never),
            Self::RequestInvalid => (Code::InvalidArgument, Side::Client, Retry::Never),
            Self::FrameInvalid => (Code::Internal, Side::Client, Retry::Never),
            Self::MessageTooLarge | Self::HeadersTooLarge | Self::LimitExceeded => {
                (Code::ResourceExhausted, Side::Client, Retry::Never)
            }
            Self::Overloaded | Self::Draining | Self::DependencyUnavailable => {
                (Code::Unavailable, Side::Gateway, Retry::Never)
            }
            Self::NoHealthyUpstream | Self::BreakerOpen | Self::UpstreamUnreachable => {
                (Code::Unavailable, Side::Upstream, Retry::IfUnsent)
            }
            Self::UpstreamReset | Self::UpstreamNoStatus | Self::UpstreamReplyInvalid => {
                (Code::Internal, Side::Upstream, Retry::Never)
            }
            Self::UpstreamNotGrpc => (Code::Unknown, Side::Upstream, Retry::Never),
            Self::DeadlineExceeded => (Code::DeadlineExceeded, Side::Upstream, Retry::Never),
            Self::ClientCancelled => (Code::Cancelled, Side::Client, Retry::Never),
            Self::Misdirected => (Code::FailedPrecondition, Side::Client, Retry::Never),
            Self::Internal => (Code::Internal, Side::Gateway, Retry::Never),
        }
    }

    /// The HTTP status of the refusal table; `code` decides where the table names none.
    pub fn http_status(self, code: Code) -> StatusCode {
        match self {
            Self::MethodUnknown => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentTypeUnsupported | Self::EncodingUnsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Cardinality | Self::FrameInvalid => StatusCode::BAD_REQUEST,
            Self::MessageTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UpstreamUnreachable
            | Self::UpstreamReset
            | Self::UpstreamNotGrpc
            | Self::UpstreamNoStatus
            | Self::UpstreamReplyInvalid => StatusCode::BAD_GATEWAY,
            Self::HttpVersionUnsupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            _ => code.http_status(),
        }
    }
}

/// Who is to blame for a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The caller.
    Client,
    /// Transom.
    Gateway,
    /// The service behind it.
    Upstream,
}

/// Whether the gateway may try again, decided where the fault is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The call may have run.
    Never,
    /// The call provably did not run.
    IfUnsent,
}

/// What a client is told to wait while the gateway is full or drains.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::Reason;
    use super::Refusal;

    #[test]
    fn the_table_is_whole_and_consistent() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason:?} is out of order");
            let refusal = Refusal::new(reason, "x");
            assert_ne!(refusal.code.number(), 0, "a refusal is never OK");
            assert!(refusal.http_status().as_u16() >= 400);
        }
    }

    #[test]
    fn the_rest_statuses_are_those_of_the_table() {
        let table = [
            (Reason::CredentialMissing, 401),
            (Reason::AccessDenied, 403),
            (Reason::MethodUnknown, 404),
            (Reason::MethodNotAllowed, 405),
            (Reason::RequestInvalid, 400),
            (Reason::ContentTypeUnsupported, 415),
            (Reason::MessageTooLarge, 413),
            (Reason::HeadersTooLarge, 431),
            (Reason::LimitExceeded, 429),
            (Reason::Draining, 503),
            (Reason::NoHealthyUpstream, 503),
            (Reason::UpstreamUnreachable, 502),
            (Reason::UpstreamNotGrpc, 502),
            (Reason::UpstreamReplyInvalid, 502),
            (Reason::DeadlineExceeded, 504),
            (Reason::ClientCancelled, 499),
            (Reason::Misdirected, 421),
            (Reason::Internal, 500),
        ];
        for (reason, status) in table {
            assert_eq!(Refusal::new(reason, "x").http_status().as_u16(), status, "{reason:?}");
        }
    }
}
