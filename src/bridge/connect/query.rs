//! Reads the query of a unary call by GET.

use base64::Engine;
use bytes::Bytes;
use http::Uri;

use crate::bridge::Codec;
use crate::bridge::connect::UNARY_TYPES;
use crate::bridge::connect::codec;
use crate::bridge::unsupported;
use crate::call::Reason;
use crate::call::Refusal;

/// What a query says.
#[derive(Debug)]
pub(super) struct Query {
    /// How the message is written.
    pub(super) codec: Codec,
    /// The name of its compression; empty for none.
    pub(super) compression: Vec<u8>,
    /// The message as it was sent: perhaps compressed, no longer base64.
    pub(super) message: Bytes,
}

impl Query {
    /// Whether there is a parameter of this name.
    pub(super) fn has(uri: &Uri, name: &str) -> bool {
        parameters(uri).any(|(found, _)| found == name)
    }

    /// Reads the parameters in any order; others may stand between them.
    ///
    /// # Errors
    /// Parameters that are missing, there twice or malformed.
    pub(super) fn read(uri: &Uri) -> Result<Self, Refusal> {
        if Self::one(uri, "connect")?.is_some_and(|version| *version != *b"v1") {
            return Err(invalid("the query's version is not known: send connect=v1".into()));
        }
        let encoding = Self::one(uri, "encoding")?.unwrap_or_default();
        let codec =
            codec(&encoding).ok_or_else(|| unsupported("the query names no known encoding", UNARY_TYPES))?;
        let compression = Self::one(uri, "compression")?.unwrap_or_default();
        let Some(message) = Self::one(uri, "message")? else {
            return Err(invalid("the query has no message: send message=, which may be empty".into()));
        };
        //= https://connectrpc.com/docs/protocol/#unary-get-request
        //# If Base64-Query is present, the value of the parameter should be one. Other values for the
        //# "base64" parameter will simply be ignored.
        let message = match Self::one(uri, "base64")?.as_deref() {
            Some(b"1") => BASE64.decode(&message).map_err(|_| {
                invalid("the query's message is not base64: send the URL-safe alphabet of RFC 4648".into())
            })?,
            _ => message,
        };
        Ok(Self { codec, compression, message: message.into() })
    }

    /// The value of a parameter. Two of them might be read in two ways on the way here.
    fn one(uri: &Uri, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let mut values = parameters(uri).filter(|(found, _)| *found == name).map(|(_, value)| value);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(invalid(format!("the query has {name} twice: send it once")));
        }
        let malformed =
            || invalid(format!("{name} has a % without two hexadecimal digits: write a percent sign as %25"));
        unescaped(value).map(Some).ok_or_else(malformed)
    }
}

/// Names and values, as they are written.
fn parameters(uri: &Uri) -> impl Iterator<Item = (&str, &str)> {
    let pieces = uri.query().unwrap_or_default().split('&');
    pieces.map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

/// The bytes of a value; `+` is a space.
fn unescaped(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = after.split_first_chunk::<2>()?;
                rest = after;
                hex(digits[0])? << 4 | hex(digits[1])?
            }
            _ => *byte,
        });
    }
    Some(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn invalid(told: String) -> Refusal {
    Refusal::new(Reason::RequestInvalid, told)
}

/// Padded or not.
const BASE64: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Query, Refusal> {
        Query::read(&format!("/s/m?{query}").parse().unwrap())
    }

    #[test]
    fn messages_come_in_any_order_and_form() {
        let table: [(&str, Codec, &[u8]); 9] = [
            ("encoding=json&message=%7B%7D", Codec::Json, b"{}"),
            ("connect=v1&encoding=json&message={}", Codec::Json, b"{}"),
            ("message=a+b%2Bc&x=y&&encoding=JSON", Codec::Json, b"a b+c"),
            ("encoding=proto&message=", Codec::Proto, b""),
            ("base64=1&encoding=proto&message=-_8", Codec::Proto, &[0xfb, 0xff]),
            ("base64=1&encoding=proto&message=-_8%3D", Codec::Proto, &[0xfb, 0xff]),
            ("base64=1&encoding=proto&message=-_8=", Codec::Proto, &[0xfb, 0xff]),
            ("base64=0&encoding=proto&message=-_8", Codec::Proto, b"-_8"),
            ("base64=1&encoding=proto&message", Codec::Proto, b""),
        ];
        for (query, codec, message) in table {
            let got = read(query).unwrap();
            assert_eq!((got.codec, &got.message[..]), (codec, message), "{query}");
        }
        assert_eq!(read("encoding=proto&message=&compression=%67zip").unwrap().compression, b"gzip");
    }

    #[test]
    fn what_is_missing_double_or_malformed_is_refused() {
        let table = [
            ("message=x", Reason::ContentTypeUnsupported),
            ("encoding=&message=x", Reason::ContentTypeUnsupported),
            ("encoding=thrift&message=x", Reason::ContentTypeUnsupported),
            ("encoding=proto", Reason::RequestInvalid),
            ("encoding=proto&message=1&message=2", Reason::RequestInvalid),
            ("encoding=proto&encoding=json&message=1", Reason::RequestInvalid),
            ("encoding=proto&message=%4", Reason::RequestInvalid),
            ("encoding=proto&message=%zz", Reason::RequestInvalid),
            ("encoding=proto&message=%+1", Reason::RequestInvalid),
            ("encoding=proto&base64=1&message=a%2Fb%2B", Reason::RequestInvalid),
            ("encoding=proto&base64=1&message=a", Reason::RequestInvalid),
            ("encoding=proto&base64=1&message=a=b=", Reason::RequestInvalid),
            ("connect=v2&encoding=proto&message=", Reason::RequestInvalid),
            ("connect&encoding=proto&message=", Reason::RequestInvalid),
        ];
        for (query, reason) in table {
            assert_eq!(read(query).map(|_| ()).unwrap_err().reason, reason, "{query}");
        }
    }
}
