//! Writes one call as one line of JSON, whatever bytes a client sent.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::SystemTime;

use http::Version;

use crate::call::Code;
use crate::call::Dialect;
use crate::call::Scheme;

/// What the access log says about a call. What is empty, zero or `None` where that means nothing is left out.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// When the head of the request came.
    pub time: SystemTime,
    /// The API, empty if none was found.
    pub api: &'a str,
    /// The method, or for what found none the raw path.
    pub method: &'a [u8],
    /// The path that the client asked for without its query, empty where it is the method's.
    pub path: &'a [u8],
    /// What the client spoke.
    pub dialect: Dialect,
    /// The HTTP version the client spoke.
    pub version: Version,
    /// The host or authority the client named.
    pub host: &'a [u8],
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
    /// The client, where trusted proxies named one that is not the peer.
    pub client: Option<IpAddr>,
    /// Whether the client spoke TLS, to the gateway or to a trusted proxy.
    pub scheme: Scheme,
    /// How the call ended.
    pub code: Code,
    /// The HTTP status, where the client saw one that tells more than the code.
    pub http_status: Option<u16>,
    /// From the head of the request to the end of the reply.
    pub duration: Duration,
    /// Bytes of the request body, as the client sent it.
    pub request_bytes: u64,
    /// Bytes of the reply body, as the client got it.
    pub reply_bytes: u64,
    /// Messages of the client.
    pub request_messages: u64,
    /// Messages to the client.
    pub reply_messages: u64,
    /// The endpoint of the last attempt, empty if there was none.
    pub endpoint: &'a str,
    /// Attempts at endpoints.
    pub attempts: u32,
    /// Why the gateway refused the call, empty if it did not.
    pub reason: &'a str,
    /// What the operator should know about it, empty if nothing.
    pub logged: &'a str,
    /// The client's `user-agent`.
    pub user_agent: &'a [u8],
    /// The trace the call is part of.
    pub trace_id: Option<[u8; 16]>,
    /// The subject of the client's certificate, empty if there was none.
    pub client_subject: &'a str,
    /// SHA-256 of the client's certificate in hex, empty if there was none.
    pub client_fingerprint: &'a str,
}

/// No line is longer, with its line feed.
pub const LINE_BYTES_MAX: usize = 20 * 1024;

/// Appends the line of `entry`, with its line feed. It keeps what is there.
pub(super) fn write(to: &mut Vec<u8>, entry: &Entry<'_>) {
    to.extend_from_slice(b"{\"time\":\"");
    write_time(to, entry.time);
    to.push(b'"');
    text(to, b",\"api\":", entry.api.as_bytes(), NAME_BYTES_MAX);
    text(to, b",\"method\":", entry.method, METHOD_BYTES_MAX);
    text(to, b",\"path\":", entry.path, METHOD_BYTES_MAX);
    word(to, b",\"dialect\":", entry.dialect.name());
    word(to, b",\"http\":", version(entry.version));
    text(to, b",\"host\":", entry.host, NAME_BYTES_MAX);
    if let Some(peer) = entry.peer {
        to.extend_from_slice(b",\"peer\":\"");
        write_peer(to, peer);
        to.push(b'"');
    }
    if let Some(client) = entry.client {
        to.extend_from_slice(b",\"client\":\"");
        write_address(to, client);
        to.push(b'"');
    }
    word(to, b",\"scheme\":", entry.scheme.name());
    word(to, b",\"code\":", entry.code.name());
    if let Some(status) = entry.http_status {
        number(to, b",\"http_status\":", u64::from(status));
    }
    write_duration(to, entry.duration);
    number(to, b",\"request_bytes\":", entry.request_bytes);
    number(to, b",\"reply_bytes\":", entry.reply_bytes);
    number(to, b",\"request_messages\":", entry.request_messages);
    number(to, b",\"reply_messages\":", entry.reply_messages);
    text(to, b",\"endpoint\":", entry.endpoint.as_bytes(), NAME_BYTES_MAX);
    if entry.attempts != 0 {
        number(to, b",\"attempts\":", u64::from(entry.attempts));
    }
    text(to, b",\"reason\":", entry.reason.as_bytes(), NAME_BYTES_MAX);
    text(to, b",\"logged\":", entry.logged.as_bytes(), LOGGED_BYTES_MAX);
    text(to, b",\"user_agent\":", entry.user_agent, NAME_BYTES_MAX);
    if let Some(id) = entry.trace_id {
        to.extend_from_slice(b",\"trace_id\":\"");
        for byte in id {
            to.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
        }
        to.push(b'"');
    }
    text(to, b",\"client_subject\":", entry.client_subject.as_bytes(), NAME_BYTES_MAX);
    text(to, b",\"client_fingerprint\":", entry.client_fingerprint.as_bytes(), NAME_BYTES_MAX);
    to.extend_from_slice(b"}\n");
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "unknown",
    }
}

fn number(to: &mut Vec<u8>, key: &[u8], value: u64) {
    to.extend_from_slice(key);
    to.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A value of the program's own, in which nothing needs escaping.
fn word(to: &mut Vec<u8>, key: &[u8], value: &'static str) {
    to.extend_from_slice(key);
    to.push(b'"');
    to.extend_from_slice(value.as_bytes());
    to.push(b'"');
}

/// A value of anybody's, cut to `bytes_max` at the end of a character; nothing if it is empty.
fn text(to: &mut Vec<u8>, key: &[u8], value: &[u8], bytes_max: usize) {
    if value.is_empty() {
        return;
    }
    to.extend_from_slice(key);
    to.push(b'"');
    let kept = &value[..cut(value, bytes_max)];
    if kept.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        to.extend_from_slice(kept);
    } else {
        escape(to, kept);
    }
    if kept.len() < value.len() {
        to.extend_from_slice("…".as_bytes());
    }
    to.push(b'"');
}

/// Where to cut so that no character is split. Bytes that are no UTF-8 are cut anywhere.
fn cut(value: &[u8], bytes_max: usize) -> usize {
    if value.len() <= bytes_max {
        return value.len();
    }
    let continues = |at: usize| value[at] & 0b1100_0000 == 0b1000_0000;
    (bytes_max.saturating_sub(3)..=bytes_max).rev().find(|at| !continues(*at)).unwrap_or(bytes_max)
}

#[cold]
fn escape(to: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' => to.extend_from_slice(b"\\\""),
                '\\' => to.extend_from_slice(b"\\\\"),
                '\n' => to.extend_from_slice(b"\\n"),
                '\r' => to.extend_from_slice(b"\\r"),
                '\t' => to.extend_from_slice(b"\\t"),
                letter if misleads(letter) => {
                    // All of them are below U+10000: one unit of UTF-16.
                    let mut units = [0; 2];
                    for unit in letter.encode_utf16(&mut units) {
                        let [high, low] = unit.to_be_bytes();
                        to.extend_from_slice(b"\\u");
                        to.extend_from_slice(&[hex(high >> 4), hex(high & 15), hex(low >> 4), hex(low & 15)]);
                    }
                }
                letter => to.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            to.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// What JSON does not allow as it is, and what a terminal obeys, breaks lines at or writes backwards.
fn misleads(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn hex(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
}

fn write_peer(to: &mut Vec<u8>, peer: SocketAddr) {
    if peer.is_ipv6() {
        to.push(b'[');
        write_address(to, peer.ip());
        to.push(b']');
    } else {
        write_address(to, peer.ip());
    }
    number(to, b":", u64::from(peer.port()));
}

fn write_address(to: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets().map(u64::from);
            number(to, b"", a);
            number(to, b".", b);
            number(to, b".", c);
            number(to, b".", d);
        }
        IpAddr::V6(address) => {
            let text = address.to_string();
            to.extend_from_slice(text.as_bytes());
        }
    }
}

/// Milliseconds, rounded to three decimals.
fn write_duration(to: &mut Vec<u8>, duration: Duration) {
    let micros = duration.as_nanos().saturating_add(500) / 1_000;
    let micros = u64::try_from(micros).unwrap_or(u64::MAX);
    number(to, b",\"duration_ms\":", micros / 1_000);
    to.push(b'.');
    digits::<3>(to, micros % 1_000);
}

/// RFC 3339 with milliseconds, in UTC; what four digits of a year can't say becomes the nearest they can.
fn write_time(to: &mut Vec<u8>, time: SystemTime) {
    let millis = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i128::try_from(since.as_millis()).unwrap_or(i128::MAX),
        // Rounded down, as after 1970.
        Err(until) => {
            let nanos = i128::try_from(until.duration().as_nanos()).unwrap_or(i128::MAX);
            (-nanos).div_euclid(1_000_000)
        }
    };
    let millis =
        i64::try_from(millis.clamp(MILLIS_MIN.into(), MILLIS_MAX.into())).expect("clamped to two i64");
    let (days, millis) =
        (millis.div_euclid(MILLIS_PER_DAY), millis.rem_euclid(MILLIS_PER_DAY).unsigned_abs());
    let (year, month, day) = civil(days);
    digits::<4>(to, year);
    to.push(b'-');
    digits::<2>(to, month);
    to.push(b'-');
    digits::<2>(to, day);
    to.push(b'T');
    digits::<2>(to, millis / 3_600_000);
    to.push(b':');
    digits::<2>(to, millis / 60_000 % 60);
    to.push(b':');
    digits::<2>(to, millis / 1_000 % 60);
    to.push(b'.');
    digits::<3>(to, millis % 1_000);
    to.push(b'Z');
}

/// Year, month and day of the Gregorian calendar, of a day counted from 1970-01-01 within the years 0 to 9999.
///
/// A year that starts in March has its leap day last, so that the months before it have fixed lengths: five
/// of them always take 153 days.
fn civil(days: i64) -> (u64, u64, u64) {
    let days = (days + DAYS_TO_1970).unsigned_abs(); // from 1 March of the year -400, 400 years are one cycle
    let (cycle, day) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
    // Take off one day for each leap day that has passed, and what is left is whole years of 365.
    let year = (day - day / 1_460 + day / 36_524 - day / (DAYS_PER_400_YEARS - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * cycle + year + next - 400, month, day)
}

/// The last `N` decimal digits.
fn digits<const N: usize>(to: &mut Vec<u8>, mut number: u64) {
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
    }
    to.extend_from_slice(&text);
}

/// Each byte of a value takes at most six in a line, so these bound `LINE_BYTES_MAX`.
const NAME_BYTES_MAX: usize = 256;
const METHOD_BYTES_MAX: usize = 384;
const LOGGED_BYTES_MAX: usize = 640;

const MILLIS_PER_DAY: i64 = 86_400_000;
/// 0000-01-01T00:00:00.000Z.
const MILLIS_MIN: i64 = -719_528 * MILLIS_PER_DAY;
/// 9999-12-31T23:59:59.999Z.
const MILLIS_MAX: i64 = 2_932_897 * MILLIS_PER_DAY - 1;
const DAYS_PER_400_YEARS: u64 = 146_097;
/// From 1 March of the year -400.
const DAYS_TO_1970: i64 = 719_468 + 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry<'static> = Entry {
        time: SystemTime::UNIX_EPOCH,
        api: "",
        method: b"",
        path: b"",
        dialect: Dialect::Grpc,
        version: Version::HTTP_2,
        host: b"",
        peer: None,
        client: None,
        scheme: Scheme::Http,
        code: Code::Ok,
        http_status: None,
        duration: Duration::ZERO,
        request_bytes: 0,
        reply_bytes: 0,
        request_messages: 0,
        reply_messages: 0,
        endpoint: "",
        attempts: 0,
        reason: "",
        logged: "",
        user_agent: b"",
        trace_id: None,
        client_subject: "",
        client_fingerprint: "",
    };

    fn line(entry: &Entry<'_>) -> String {
        let mut line = Vec::new();
        write(&mut line, entry);
        String::from_utf8(line).unwrap()
    }

    fn time(time: SystemTime) -> String {
        let mut text = Vec::new();
        write_time(&mut text, time);
        String::from_utf8(text).unwrap()
    }

    fn host(bytes: &[u8]) -> String {
        let line = line(&Entry { host: bytes, ..ENTRY });
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        value["host"].as_str().unwrap().to_owned()
    }

    #[test]
    fn says_everything_about_a_call() {
        let entry = Entry {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_007),
            api: "pets",
            method: b"/pets.v1.PetStore/GetPet",
            path: b"/v1/pets/7",
            dialect: Dialect::Rest,
            version: Version::HTTP_11,
            host: b"api.example.com",
            peer: Some("10.0.0.255:65535".parse().unwrap()),
            client: Some("2001:db8::1".parse().unwrap()),
            scheme: Scheme::Https,
            code: Code::NotFound,
            http_status: Some(404),
            duration: Duration::from_nanos(12_345_678_900),
            request_bytes: 1,
            reply_bytes: u64::MAX,
            request_messages: 2,
            reply_messages: 3,
            endpoint: "[::1]:50051",
            attempts: 2,
            reason: "no_route",
            logged: "said \"no\"",
            user_agent: b"curl/8",
            trace_id: Some(*b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\xaa\xbb\xcc\xdd\xee\xff"),
            client_subject: "CN=a\\,b",
            client_fingerprint: "00ff",
        };
        let expected = concat!(
            r#"{"time":"2023-11-14T22:13:20.007Z","api":"pets","method":"/pets.v1.PetStore/GetPet","#,
            r#""path":"/v1/pets/7","dialect":"rest","http":"1.1","host":"api.example.com","peer":"10.0.0.255:65535","#,
            r#""client":"2001:db8::1","scheme":"https","code":"NOT_FOUND","http_status":404,"duration_ms":12345.679,"#,
            r#""request_bytes":1,"reply_bytes":18446744073709551615,"request_messages":2,"#,
            r#""reply_messages":3,"endpoint":"[::1]:50051","attempts":2,"reason":"no_route","#,
            r#""logged":"said \"no\"","user_agent":"curl/8","trace_id":"0001020304050607080 9aabbccddeeff","#,
            r#""client_subject":"CN=a\\,b","client_fingerprint":"00ff"}"#,
            "\n"
        );
        assert_eq!(line(&entry), expected.replace("080 9", "0809"));
    }

    #[test]
    fn leaves_out_what_says_nothing() {
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:00.000Z","dialect":"grpc","http":"2","scheme":"http","code":"OK","duration_ms":0.000,"#,
            r#""request_bytes":0,"reply_bytes":0,"request_messages":0,"reply_messages":0}"#,
            "\n"
        );
        assert_eq!(line(&ENTRY), expected);
    }

    #[test]
    fn a_peer_has_its_brackets() {
        let peer = |text: &str| line(&Entry { peer: Some(text.parse().unwrap()), ..ENTRY });
        assert!(peer("[2001:db8::1]:443").contains(r#""peer":"[2001:db8::1]:443""#));
        assert!(peer("1.2.3.4:0").contains(r#""peer":"1.2.3.4:0""#));
    }

    #[test]
    fn hostile_bytes_stay_in_their_value() {
        for byte in 0..=u8::MAX {
            let expected = String::from_utf8_lossy(&[b'a', byte, b'b']).into_owned();
            assert_eq!(host(&[b'a', byte, b'b']), expected, "{byte:#x}");
        }
        let attack = "\",\"code\":\"OK\"}\n{\"\\";
        assert_eq!(host(attack.as_bytes()), attack);
        assert_eq!(host(b"\xf0\x9f\x98\x80 \xf0\x9f\x98"), "\u{1f600} \u{fffd}");
        assert_eq!(host(b"\xed\xa0\x80"), "\u{fffd}\u{fffd}\u{fffd}", "a surrogate");
        for letter in ['\u{1b}', '\u{7f}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{2066}'] {
            let text = letter.to_string();
            assert!(
                !line(&Entry { host: text.as_bytes(), ..ENTRY }).contains(letter),
                "{letter:?} is escaped"
            );
            assert_eq!(host(text.as_bytes()), text);
        }
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        for (letter, before) in
            ["x", "é", "€", "😀"].iter().flat_map(|letter| (0..5).map(move |n| (letter, n)))
        {
            let text = "a".repeat(before) + &letter.repeat(300);
            let kept = host(text.as_bytes());
            let kept = kept.strip_suffix('…').unwrap();
            assert!(text.starts_with(kept));
            assert!((NAME_BYTES_MAX - 3..=NAME_BYTES_MAX).contains(&kept.len()), "{}", kept.len());
        }
        assert_eq!(host(&[b'x'; NAME_BYTES_MAX]).len(), NAME_BYTES_MAX);
        assert_eq!(host(&[0x80; 1000]).chars().count(), NAME_BYTES_MAX + 1);
    }

    #[test]
    fn the_longest_line_is_bounded() {
        for hostile in [&b"\x00"[..], b"\x7f", b"\"", b"\x80", "\u{9b}".as_bytes(), "\u{202e}".as_bytes()] {
            let bytes = hostile.repeat(100_000);
            let text = str::from_utf8(&bytes).unwrap_or("\0");
            let text = if text.len() == 1 { "\0".repeat(100_000) } else { text.to_owned() };
            let entry = Entry {
                api: &text,
                method: &bytes,
                path: &bytes,
                host: &bytes,
                peer: Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap()),
                client: Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()),
                scheme: Scheme::Https,
                code: Code::FailedPrecondition,
                http_status: Some(u16::MAX),
                duration: Duration::MAX,
                request_bytes: u64::MAX,
                reply_bytes: u64::MAX,
                request_messages: u64::MAX,
                reply_messages: u64::MAX,
                endpoint: &text,
                attempts: u32::MAX,
                reason: &text,
                logged: &text,
                user_agent: &bytes,
                trace_id: Some([0xff; 16]),
                client_subject: &text,
                client_fingerprint: &text,
                ..ENTRY
            };
            let line = line(&entry);
            assert!(line.len() <= LINE_BYTES_MAX, "{}", line.len());
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    }

    #[test]
    fn times_at_the_edges() {
        let epoch = SystemTime::UNIX_EPOCH;
        let after = |seconds: u64, millis: u64| time(epoch + Duration::from_millis(seconds * 1_000 + millis));
        assert_eq!(after(951_782_399, 999), "2000-02-28T23:59:59.999Z");
        assert_eq!(after(951_782_400, 0), "2000-02-29T00:00:00.000Z");
        assert_eq!(after(951_868_800, 1), "2000-03-01T00:00:00.001Z");
        assert_eq!(after(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
        assert_eq!(after(4_107_542_400 - 1, 0), "2100-02-28T23:59:59.000Z");
        assert_eq!(after(1_709_164_800, 0), "2024-02-29T00:00:00.000Z");
        assert_eq!(after(1_735_689_599, 0), "2024-12-31T23:59:59.000Z");
        assert_eq!(after(253_402_300_799, 999), "9999-12-31T23:59:59.999Z");
        assert_eq!(after(253_402_300_800, 0), "9999-12-31T23:59:59.999Z", "no year has five digits");
        assert_eq!(
            time(epoch + Duration::from_secs(i64::MAX.unsigned_abs() / 2)),
            "9999-12-31T23:59:59.999Z"
        );
        assert_eq!(time(epoch - Duration::from_nanos(1)), "1969-12-31T23:59:59.999Z");
        assert_eq!(time(epoch - Duration::from_secs(62_167_219_200)), "0000-01-01T00:00:00.000Z");
        assert_eq!(time(epoch - Duration::from_secs(62_167_219_201)), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (0_u64, 1_u64, 1_u64);
        for days in -719_528..2_932_897_i64 {
            assert_eq!(civil(days), (year, month, day), "{days}");
            let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if length < day {
                (day, month) = (1, month + 1);
            }
            if 12 < month {
                (month, year) = (1, year + 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }
}
