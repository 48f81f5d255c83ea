//! Reads and writes `grpc-timeout`.

use std::time::Duration;

use http::HeaderValue;

/// Reads a `grpc-timeout` value: at most eight digits and a unit.
///
/// Returns `None` for what the grammar doesn't allow.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    //= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests
    //# TimeoutValue → {positive integer as ASCII string of at most 8 digits}
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Writes a `grpc-timeout` value: the finest unit in which the time has at most eight
/// digits, rounded down, so that the upstream never waits longer than the caller.
pub fn format_timeout(left: Duration) -> HeaderValue {
    const UNITS: [(u128, u8); 6] = [
        (1, b'n'),
        (1_000, b'u'),
        (1_000_000, b'm'),
        (1_000_000_000, b'S'),
        (60_000_000_000, b'M'),
        (3_600_000_000_000, b'H'),
    ];
    let nanos = left.as_nanos();
    let (count, unit) = UNITS
        .into_iter()
        .map(|(size, unit)| (nanos / size, unit))
        .find(|(count, _)| *count < 100_000_000)
        .unwrap_or((99_999_999, b'H'));
    let mut text = itoa::Buffer::new().format(count).as_bytes().to_vec();
    text.push(unit);
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0n"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::format_timeout;
    use super::parse_timeout;

    #[test]
    fn reads_the_grammar_and_nothing_else() {
        assert_eq!(parse_timeout(b"1H"), Some(Duration::from_secs(3600)));
        assert_eq!(parse_timeout(b"2M"), Some(Duration::from_secs(120)));
        assert_eq!(parse_timeout(b"00000005S"), Some(Duration::from_secs(5)));
        assert_eq!(parse_timeout(b"99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(parse_timeout(b"7u"), Some(Duration::from_micros(7)));
        assert_eq!(parse_timeout(b"0m"), Some(Duration::ZERO));
        for odd in ["", "S", "5", "5s", "-1S", "+1S", "1.5S", "123456789n", " 5S", "5S ", "5 S", "1h"] {
            assert_eq!(parse_timeout(odd.as_bytes()), None, "{odd:?}");
        }
    }

    #[test]
    fn writes_what_it_reads_and_never_more() {
        let times = [0, 1, 99_999_999, 100_000_000, 1_500_000_000, u64::MAX];
        for nanos in times {
            let time = Duration::from_nanos(nanos);
            let text = format_timeout(time);
            let back = parse_timeout(text.as_bytes()).unwrap();
            assert!(back <= time, "{text:?}");
            assert!(
                time.as_nanos() - back.as_nanos() <= time.as_nanos() / 1_000_000,
                "{text:?} loses too much"
            );
        }
        assert_eq!(format_timeout(Duration::MAX), "99999999H");
    }
}
