//! The tables of the Connect protocol: names of codes, statuses without a code, and timeouts.

use std::time::Duration;

use http::StatusCode;

use crate::call::Code;

/// The name of a code in Connect, which has none for OK.
pub fn name(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Ok => return None,
        Code::Cancelled => "canceled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    })
}

/// The code of a name.
pub fn from_name(text: &str) -> Option<Code> {
    Code::ALL.into_iter().find(|code| name(*code) == Some(text))
}

/// The HTTP status of a unary error: since its RFC 003 Connect has the table of `google/rpc/code.proto`.
pub fn http_status(code: Code) -> StatusCode {
    code.http_status()
}

/// The code of a response that names none: the table "HTTP to Error Code", for clients only.
pub fn from_http_status(status: StatusCode) -> Code {
    //= https://connectrpc.com/docs/protocol/#http-to-error-code
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// Reads a `Connect-Timeout-Ms` value: at most ten digits.
///
/// Returns `None` for what the grammar doesn't allow.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    //= https://connectrpc.com/docs/protocol/#unary-request
    //# Timeout-Milliseconds → {positive integer as ASCII string of at most 10 digits}
    if value.is_empty() || value.len() > 10 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(Duration::from_millis(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::from_name;
    use super::name;
    use super::parse_timeout;
    use crate::call::Code;

    #[test]
    fn names_lead_back_to_their_codes() {
        for code in Code::ALL {
            assert_eq!(name(code).and_then(from_name), (code != Code::Ok).then_some(code));
        }
        for odd in ["", "ok", "cancelled", "NOT_FOUND"] {
            assert_eq!(from_name(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn timeouts_are_digits_only() {
        assert_eq!(parse_timeout(b"0"), Some(Duration::ZERO));
        assert_eq!(parse_timeout(b"0000001500"), Some(Duration::from_millis(1500)));
        for odd in ["", "-1", "+1", " 1", "1.5", "1s", "12345678901"] {
            assert_eq!(parse_timeout(odd.as_bytes()), None, "{odd:?}");
        }
    }
}
