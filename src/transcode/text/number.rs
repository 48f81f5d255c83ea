//! Reads JSON numbers: exact integers of any notation, and floats.

use crate::transcode::text::Problem;

/// A whole number: its sign and its magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Whether a minus stands before it; a negative zero is zero.
    pub(crate) negative: bool,
    /// The digits.
    pub(crate) magnitude: u64,
}

impl Whole {
    /// The number, if it is in the range of `int32`.
    #[inline]
    pub(crate) fn to_i32(self) -> Result<i32, Problem> {
        self.signed().and_then(|value| i32::try_from(value).ok()).ok_or(INT32)
    }

    /// The number, if it is in the range of `int64`.
    #[inline]
    pub(crate) fn to_i64(self) -> Result<i64, Problem> {
        self.signed().ok_or(INT64)
    }

    /// The number, if it is in the range of `uint32`.
    #[inline]
    pub(crate) fn to_u32(self) -> Result<u32, Problem> {
        self.unsigned().and_then(|value| u32::try_from(value).ok()).ok_or(UINT32)
    }

    /// The number, if it is in the range of `uint64`.
    #[inline]
    pub(crate) fn to_u64(self) -> Result<u64, Problem> {
        self.unsigned().ok_or(UINT64)
    }

    #[inline]
    fn signed(self) -> Option<i64> {
        if self.negative {
            0_i64.checked_sub_unsigned(self.magnitude)
        } else {
            i64::try_from(self.magnitude).ok()
        }
    }

    #[inline]
    fn unsigned(self) -> Option<u64> {
        (!self.negative || self.magnitude == 0).then_some(self.magnitude)
    }
}

/// Bytes of the JSON number at the begin of `text`; `None` where there is none.
///
/// The number ends where its grammar does: the caller looks at what comes after it.
pub(crate) fn number_len(text: &[u8]) -> Option<usize> {
    let mut at = usize::from(text.first() == Some(&b'-'));
    match text.get(at)? {
        b'0' => at += 1,
        b'1'..=b'9' => at += digits(text, at),
        _ => return None,
    }
    if text.get(at) == Some(&b'.') {
        let fraction = digits(text, at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(text, at);
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    Some(at)
}

/// The whole number that `text` is, written as `15`, `15.0` or `1.5e1`.
///
/// # Errors
/// What is no JSON number, has a fraction, or is beyond 64 bits.
pub(crate) fn whole(text: &[u8]) -> Result<Whole, Problem> {
    if number_len(text) != Some(text.len()) {
        return Err(INTEGER);
    }
    let negative = text[0] == b'-';
    let text = &text[usize::from(negative)..];
    let mantissa_len = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let (mantissa, exponent) = text.split_at(mantissa_len);
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let fraction = mantissa.len().saturating_sub(point + 1);
    // The number is `digits` times ten to the power of `scale`.
    let significant = mantissa.iter().rposition(|byte| matches!(byte, b'1'..=b'9'));
    let Some(last) = significant else { return Ok(Whole { negative: false, magnitude: 0 }) };
    let places = if last > point { fraction - (mantissa.len() - 1 - last) } else { 0 };
    let trailing = if last < point { point - 1 - last } else { 0 };
    let scale = scale(exponent)
        .saturating_add(i64::try_from(trailing).unwrap_or(i64::MAX))
        .saturating_sub(i64::try_from(places).unwrap_or(i64::MAX));
    if scale < 0 {
        return Err(FRACTION);
    }
    let mut magnitude = 0_u64;
    for digit in mantissa[..=last].iter().filter(|byte| byte.is_ascii_digit()) {
        let grown = magnitude.checked_mul(10).and_then(|value| value.checked_add(u64::from(digit - b'0')));
        magnitude = grown.ok_or(TOO_LARGE)?;
    }
    let power = u32::try_from(scale).ok().and_then(|scale| 10_u64.checked_pow(scale)).ok_or(TOO_LARGE)?;
    Ok(Whole { negative, magnitude: magnitude.checked_mul(power).ok_or(TOO_LARGE)? })
}

/// The `double` that the JSON number `text` is.
///
/// # Errors
/// What is no JSON number, or beyond the range.
pub(crate) fn double(text: &str) -> Result<f64, Problem> {
    if number_len(text.as_bytes()) != Some(text.len()) {
        return Err(FLOAT);
    }
    double_of(text)
}

/// The same of a text that is known to be a JSON number.
///
/// # Errors
/// What is beyond the range.
pub(crate) fn double_of(text: &str) -> Result<f64, Problem> {
    text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or(DOUBLE_RANGE)
}

/// The `float` that the JSON number `text` is.
///
/// # Errors
/// What is no JSON number, or beyond the range.
pub(crate) fn float(text: &str) -> Result<f32, Problem> {
    if number_len(text.as_bytes()) != Some(text.len()) {
        return Err(FLOAT);
    }
    float_of(text)
}

/// The same of a text that is known to be a JSON number.
///
/// # Errors
/// What is beyond the range.
pub(crate) fn float_of(text: &str) -> Result<f32, Problem> {
    text.parse().ok().filter(|value: &f32| value.is_finite()).ok_or(FLOAT_RANGE)
}

/// The `double` that `text` is: a JSON number, `NaN`, `Infinity` or `-Infinity`.
///
/// # Errors
/// Every other text.
pub(crate) fn double_text(text: &str) -> Result<f64, Problem> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => double(text),
    }
}

/// The `float` that `text` is: a JSON number, `NaN`, `Infinity` or `-Infinity`.
///
/// # Errors
/// Every other text.
pub(crate) fn float_text(text: &str) -> Result<f32, Problem> {
    match text {
        "NaN" => Ok(f32::NAN),
        "Infinity" => Ok(f32::INFINITY),
        "-Infinity" => Ok(f32::NEG_INFINITY),
        _ => float(text),
    }
}

fn digits(text: &[u8], from: usize) -> usize {
    text.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The value of `e+12`, as far as it matters; the empty text is 0.
fn scale(exponent: &[u8]) -> i64 {
    let negative = exponent.get(1) == Some(&b'-');
    let digits = exponent.iter().filter(|byte| byte.is_ascii_digit());
    let size =
        digits.fold(0_i64, |size, digit| size.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if negative { -size } else { size }
}

const INTEGER: Problem = Problem::fixed("is not an integer: write it as 12 or \"12\"");
const FRACTION: Problem = Problem::fixed("has a fraction, but the field is an integer");
const TOO_LARGE: Problem = Problem::fixed("is beyond 64 bits");
const INT32: Problem = Problem::fixed("is out of range for 32 bits (-2147483648 to 2147483647)");
const UINT32: Problem = Problem::fixed("is out of range for 32 unsigned bits (0 to 4294967295)");
const INT64: Problem = Problem::fixed("is out of range for 64 bits");
const UINT64: Problem = Problem::fixed("is out of range for 64 unsigned bits (0 to 18446744073709551615)");
const FLOAT: Problem = Problem::fixed("is not a number: write 1.5, \"NaN\", \"Infinity\" or \"-Infinity\"");
const DOUBLE_RANGE: Problem =
    Problem::fixed("is beyond the range of double: write \"Infinity\" if that is meant");
const FLOAT_RANGE: Problem =
    Problem::fixed("is beyond the range of float: write \"Infinity\" if that is meant");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whole_numbers_of_any_notation() {
        let cases: &[(&str, bool, u64)] = &[
            ("0", false, 0),
            ("-0", false, 0),
            ("0.000", false, 0),
            ("0e999999999999999999999", false, 0),
            ("-0e-999999999999999999999", false, 0),
            ("7", false, 7),
            ("-7", true, 7),
            ("100000.000", false, 100_000),
            ("1e5", false, 100_000),
            ("1E+5", false, 100_000),
            ("1.5e1", false, 15),
            ("1200e-2", false, 12),
            ("0.0012e4", false, 12),
            ("10.20e1", false, 102),
            ("18446744073709551615", false, u64::MAX),
            ("1844674407370955161500e-2", false, u64::MAX),
            ("-9223372036854775808", true, 1 << 63),
            ("1e19", false, 10_000_000_000_000_000_000),
        ];
        for (text, negative, magnitude) in cases {
            let expected = Whole { negative: *negative, magnitude: *magnitude };
            assert_eq!(whole(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_whole_number() {
        let cases = [
            "",
            " 1",
            "1 ",
            "+1",
            "01",
            "-",
            "--1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "0x1",
            "1_0",
            "NaN",
            "3x3",
            "0.5",
            "15e-1",
            "1.5",
            "1e-1",
            "1e20",
            "18446744073709551616",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "١",
        ];
        for text in cases {
            assert!(whole(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn checks_the_ranges() {
        let whole = |text: &str| whole(text.as_bytes()).unwrap();
        assert_eq!(whole("2147483647").to_i32(), Ok(i32::MAX));
        assert_eq!(whole("-2147483648").to_i32(), Ok(i32::MIN));
        assert!(whole("2147483648").to_i32().is_err());
        assert!(whole("-2147483649").to_i32().is_err());
        assert_eq!(whole("-9223372036854775808").to_i64(), Ok(i64::MIN));
        assert!(whole("9223372036854775808").to_i64().is_err());
        assert!(whole("-9223372036854775809").to_i64().is_err());
        assert_eq!(whole("4294967295").to_u32(), Ok(u32::MAX));
        assert!(whole("4294967296").to_u32().is_err());
        assert_eq!(whole("-0").to_u32(), Ok(0));
        assert!(whole("-1").to_u32().is_err());
        assert!(whole("-1").to_u64().is_err());
    }

    #[test]
    fn reads_floats_exactly() {
        assert_eq!(double("0.1").map(f64::to_bits), Ok(0.1_f64.to_bits()));
        assert_eq!(double("-0").map(f64::to_bits), Ok((-0.0_f64).to_bits()));
        assert_eq!(double("1.7976931348623157e308"), Ok(f64::MAX));
        assert_eq!(double("5e-324").map(f64::to_bits), Ok(1));
        assert_eq!(double("1e-400"), Ok(0.0));
        assert_eq!(float("3.4028235e38"), Ok(f32::MAX));
        // Through a double first it would be rounded twice, to 1.0.
        assert_eq!(float("1.00000005960464484"), Ok(1.000_000_1));
        assert!(double_text("NaN").unwrap().is_nan());
        assert_eq!(float_text("-Infinity"), Ok(f32::NEG_INFINITY));
    }

    #[test]
    fn refuses_what_is_no_float() {
        for text in
            ["", "1e309", "-1e309", "nan", "inf", "infinity", "+Infinity", "1.", ".1", "+1", "01", " 1", "1 "]
        {
            assert!(double_text(text).is_err(), "{text}");
            assert!(float_text(text).is_err(), "{text}");
        }
        for text in ["3.502823e+38", "3.4028236e38", "-3.502823e+38"] {
            assert!(float_text(text).is_err(), "{text}");
            assert!(double_text(text).is_ok(), "{text}");
        }
    }
}
