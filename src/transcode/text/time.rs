//! Reads the text of `google.protobuf.Timestamp` and `google.protobuf.Duration`.

use crate::transcode::text::Problem;

/// A point in time, or a span: seconds, and nanoseconds as the message type counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seconds {
    /// Field 1.
    pub(crate) seconds: i64,
    /// Field 2.
    pub(crate) nanos: i32,
}

/// The point in time that `2024-02-29T12:30:00.5Z` or `2024-02-29T13:30:00.5+01:00` is.
///
/// # Errors
/// What is not RFC 3339 with upper-case `T` and `Z`, or outside of the years 1 to 9999.
pub(crate) fn timestamp(text: &str) -> Result<Seconds, Problem> {
    let (date, rest) = text.as_bytes().split_first_chunk::<19>().ok_or(TIMESTAMP)?;
    let [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2] = *date
    else {
        return Err(TIMESTAMP);
    };
    let year = pair(y1, y2)? * 100 + pair(y3, y4)?;
    let (month, day) = (pair(mo1, mo2)?, pair(d1, d2)?);
    let (hour, minute, second) = (pair(h1, h2)?, pair(mi1, mi2)?, pair(s1, s2)?);
    let date_is_real = (1..=12).contains(&month) && day >= 1 && day <= days_of(year, month);
    if !(date_is_real && hour < 24 && minute < 60 && second < 60) {
        return Err(NO_SUCH_TIME);
    }
    let (nanos, rest) = fraction(rest).ok_or(TIMESTAMP)?;
    let local = days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = local - offset(rest)?;
    if !(TIMESTAMP_MIN..=TIMESTAMP_MAX).contains(&seconds) {
        return Err(TIMESTAMP_RANGE);
    }
    Ok(Seconds { seconds, nanos })
}

/// The span that `1.5s` or `-3s` is.
///
/// # Errors
/// What is not decimal seconds with at most nine digits after the point, or beyond 315576000000 s.
pub(crate) fn duration(text: &str) -> Result<Seconds, Problem> {
    let text = text.as_bytes();
    let negative = text.first() == Some(&b'-');
    let text = &text[usize::from(negative)..];
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = text.split_at(len);
    let (nanos, rest) = fraction(rest).ok_or(DURATION)?;
    if whole.is_empty() || rest != b"s" {
        return Err(DURATION);
    }
    let seconds =
        whole.iter().fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if seconds > DURATION_MAX {
        return Err(DURATION_RANGE);
    }
    Ok(if negative { Seconds { seconds: -seconds, nanos: -nanos } } else { Seconds { seconds, nanos } })
}

/// The nanoseconds of `.5` at the begin of `text`, and what comes after it.
fn fraction(text: &[u8]) -> Option<(i32, &[u8])> {
    let Some((b'.', text)) = text.split_first() else { return Some((0, text)) };
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&len) {
        return None;
    }
    let (digits, rest) = text.split_at(len);
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    Some((padded.fold(0_i32, |sum, digit| sum * 10 + i32::from(digit - b'0')), rest))
}

/// The seconds that `Z` or `+01:00` is ahead of UTC.
fn offset(text: &[u8]) -> Result<i64, Problem> {
    match *text {
        [b'Z'] => Ok(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (pair(h1, h2)?, pair(m1, m2)?);
            if hours > 23 || minutes > 59 {
                return Err(NO_SUCH_TIME);
            }
            let ahead = hours * 3600 + minutes * 60;
            Ok(if sign == b'-' { -ahead } else { ahead })
        }
        _ => Err(TIMESTAMP),
    }
}

fn pair(tens: u8, ones: u8) -> Result<i64, Problem> {
    if !(tens.is_ascii_digit() && ones.is_ascii_digit()) {
        return Err(TIMESTAMP);
    }
    Ok(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March put the leap day last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - DAYS_TO_1970
}

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;
/// 0001-01-01T00:00:00Z.
const TIMESTAMP_MIN: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const TIMESTAMP_MAX: i64 = 253_402_300_799;
const DURATION_MAX: i64 = 315_576_000_000;
const TIMESTAMP: Problem = Problem::fixed("is not a timestamp: write it as \"2024-02-29T12:30:00Z\"");
const NO_SUCH_TIME: Problem = Problem::fixed("is no point in time: check day, hour and offset");
const TIMESTAMP_RANGE: Problem = Problem::fixed("is outside of the years 0001 to 9999 in UTC");
const DURATION: Problem =
    Problem::fixed("is not a duration: write seconds with at most nine decimals, as \"1.5s\"");
const DURATION_RANGE: Problem = Problem::fixed("is a duration beyond 315576000000s");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_timestamps() {
        let cases: &[(&str, i64, i32)] = &[
            ("1970-01-01T00:00:00Z", 0, 0),
            ("0001-01-01T00:00:00Z", TIMESTAMP_MIN, 0),
            ("9999-12-31T23:59:59.999999999Z", TIMESTAMP_MAX, 999_999_999),
            ("1969-12-31T16:00:01-08:00", 1, 0),
            ("1970-01-01T05:30:00+05:30", 0, 0),
            ("1970-01-01T00:00:00.00001Z", 0, 10_000),
            ("2000-02-29T00:00:00Z", 951_782_400, 0),
            ("2024-03-01T00:00:00Z", 1_709_251_200, 0),
            ("1969-12-31T23:59:59.5Z", -1, 500_000_000),
            ("1600-12-31T23:59:59Z", -11_644_473_601, 0),
        ];
        for (text, seconds, nanos) in cases {
            assert_eq!(timestamp(text), Ok(Seconds { seconds: *seconds, nanos: *nanos }), "{text}");
        }
    }

    #[test]
    fn counts_days_without_a_gap() {
        let mut expected = TIMESTAMP_MIN / 86_400;
        for year in 1..=9999 {
            for month in 1..=12 {
                for day in 1..=days_of(year, month) {
                    assert_eq!(days_before(year, month, day), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
        assert_eq!(expected, (TIMESTAMP_MAX + 1) / 86_400);
    }

    #[test]
    fn refuses_what_is_no_timestamp() {
        let cases = [
            "",
            "2024",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01 00:00:00Z",
            "2024-01-01t00:00:00Z",
            "2024-01-01T00:00:00z",
            "2024-01-01T00:00Z",
            "2024-1-1T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-32T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.0000000001Z",
            "2024-01-01T00:00:00,5Z",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+00:60",
            "2024-01-01T00:00:00+0000",
            "2024-01-01T00:00:00+00",
            "2024-01-01T00:00:00ZZ",
            " 2024-01-01T00:00:00Z",
            "2024-01-01T00:00:00Z ",
            "2024-01-01T00:00:0१Z",
        ];
        for text in cases {
            assert!(timestamp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_durations() {
        let cases: &[(&str, i64, i32)] = &[
            ("0s", 0, 0),
            ("1s", 1, 0),
            ("1.5s", 1, 500_000_000),
            ("-1.5s", -1, -500_000_000),
            ("-0.5s", 0, -500_000_000),
            ("1.000340012s", 1, 340_012),
            ("315576000000.999999999s", DURATION_MAX, 999_999_999),
            ("-315576000000.999999999s", -DURATION_MAX, -999_999_999),
        ];
        for (text, seconds, nanos) in cases {
            assert_eq!(duration(text), Ok(Seconds { seconds: *seconds, nanos: *nanos }), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        let cases = [
            "",
            "s",
            "-s",
            "1",
            "1h",
            "1S",
            "1.s",
            ".5s",
            "+1s",
            "--1s",
            "1.0000000000s",
            "1 s",
            " 1s",
            "1s ",
            "1e3s",
            "315576000001s",
            "-315576000001s",
            "99999999999999999999999s",
            "1.5.5s",
            "1,5s",
        ];
        for text in cases {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
