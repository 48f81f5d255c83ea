//! The deadline a call announces.

use std::time::Duration;

use http::HeaderMap;

/// The `grpc-timeout` of a call; none where it is absent or malformed.
//= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests
//# TimeoutValue → {*positive integer as ASCII string of at most 8 digits*}
pub(crate) fn left(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get("grpc-timeout")?.to_str().ok()?)
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit() {
        let cases =
            [("2H", 7_200_000), ("3M", 180_000), ("4S", 4_000), ("250m", 250), ("1500u", 1), ("2000000n", 2)];
        for (text, ms) in cases {
            assert_eq!(parse(text).map(|left| left.as_millis()), Some(ms), "{text}");
        }
        for bad in ["", "S", "123456789S", "+5S", "5", "5s", "5 S", "€"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
