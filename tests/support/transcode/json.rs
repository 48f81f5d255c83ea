//! Makes ProtoJSON text at random, in every form that it allows, and reads it back as it stands.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_reflect::EnumDescriptor;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;

use super::script::Script;
use super::wire::Declared;

/// Writes messages; `odd` is how rarely it writes what ProtoJSON doesn't have (0 is never).
pub(crate) struct JsonMaker<'m, 's> {
    pub(crate) script: &'m mut Script<'s>,
    pub(crate) odd: usize,
    pub(crate) out: String,
}

impl JsonMaker<'_, '_> {
    fn space(&mut self) {
        let space = if self.script.one_in(8) { self.script.pick(&[" ", "\n", "\t \r\n"]) } else { "" };
        self.out.push_str(space);
    }

    fn quoted(&mut self, text: &str) {
        let escape_all = self.script.one_in(8);
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' | '\\' => {
                    self.out.push('\\');
                    self.out.push(character);
                }
                '\n' if self.script.one_in(2) => self.out.push_str("\\n"),
                '/' if self.script.one_in(4) => self.out.push_str("\\/"),
                _ if character < ' ' || escape_all => {
                    let upper = self.script.one_in(2);
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        let unit = *unit;
                        let _ = if upper {
                            write!(self.out, "\\u{unit:04X}")
                        } else {
                            write!(self.out, "\\u{unit:04x}")
                        };
                    }
                }
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
    }

    pub(crate) fn message(&mut self, of: &MessageDescriptor, depth: usize) {
        self.space();
        match of.full_name() {
            "google.protobuf.Timestamp" => self.timestamp(),
            "google.protobuf.Duration" => self.duration(),
            "google.protobuf.FieldMask" => {
                let some = ["", "a", "fooBar", "a.bC.d,x1", "w,w", "Aa"];
                let odd = ["a_b", "a,", ",a", "a..b", "a b", "ä", "1a", "*", "a.*.b", ".", "aB_"];
                let text = if self.script.one_in(self.odd) {
                    self.script.pick(&odd)
                } else {
                    self.script.pick(&some)
                };
                self.quoted(text);
            }
            "google.protobuf.Any" => self.any(of, depth),
            "google.protobuf.Struct" => self.dynamic(depth, Some('{')),
            "google.protobuf.ListValue" => self.dynamic(depth, Some('[')),
            "google.protobuf.Value" => self.dynamic(depth, None),
            "google.protobuf.Empty" => self.out.push_str("{}"),
            name if name.starts_with("google.protobuf.") => match of.get_field(1) {
                Some(field) => self.value(&field.kind(), depth),
                None => self.out.push_str("{}"),
            },
            _ => {
                self.out.push('{');
                self.members(of, depth, true);
                self.out.push('}');
            }
        }
        self.space();
    }

    fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(',');
        }
        self.space();
    }

    fn members(&mut self, of: &MessageDescriptor, depth: usize, mut first: bool) {
        let mut fields = Declared::all(of);
        if self.script.one_in(3) {
            self.script.shuffle(&mut fields);
        }
        let rare = if depth == 0 { 2 } else { 1 + fields.len() / 2 };
        let mut oneofs: Vec<String> = Vec::new();
        for field in &fields {
            if !self.script.one_in(rare) || (depth > 3 && matches!(field.kind(), Kind::Message(_))) {
                continue;
            }
            if let Some(oneof) = field.oneof() {
                if oneofs.contains(&oneof) && !self.script.one_in(self.odd) {
                    continue;
                }
                oneofs.push(oneof);
            }
            let times = if self.script.one_in(self.odd) { 2 } else { 1 };
            for _ in 0..times {
                self.comma(&mut first);
                let name = field.names()[self.script.below(2)].clone();
                self.quoted(&name);
                self.space();
                self.out.push(':');
                self.field(field, depth);
            }
        }
        if self.script.one_in(self.odd) {
            self.comma(&mut first);
            self.out.push_str("\"unknown\":[1,{}]");
        }
    }

    fn field(&mut self, field: &Declared, depth: usize) {
        let kind = field.kind();
        let nullable = super::schema::is_nullable(&kind);
        if self.script.one_in(12) && !(nullable && field.is_list()) && !(nullable && field.oneof().is_some())
        {
            self.out.push_str("null");
            return;
        }
        let count = self.script.below(4);
        if field.is_map()
            && let Kind::Message(entry) = &kind
        {
            let (key, value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
            let mut first = true;
            self.out.push('{');
            for at in 0..count {
                self.comma(&mut first);
                self.key(&key, at);
                self.out.push(':');
                self.value(&value, depth + 1);
            }
            self.out.push('}');
        } else if field.is_list() {
            let mut first = true;
            self.out.push('[');
            for _ in 0..count {
                self.comma(&mut first);
                self.value(&kind, depth + 1);
            }
            self.out.push(']');
        } else {
            self.value(&kind, depth + 1);
        }
    }

    /// Keys differ by `at`, unless they are to be odd.
    fn key(&mut self, kind: &Kind, at: usize) {
        let at = if self.script.one_in(self.odd) { 0 } else { at };
        match kind {
            Kind::Bool => {
                let text =
                    if self.script.one_in(self.odd) { "1" } else { ["true", "false", "true", "false"][at] };
                if at > 1 && self.odd == 0 {
                    // No third key is left: close with one that isn't there.
                    self.out.push_str(["\"true\"", "\"false\""][at % 2]);
                } else {
                    self.quoted(text);
                }
            }
            Kind::String => {
                let text = format!("{}{at}", self.script.text());
                self.quoted(&text);
            }
            _ if self.script.one_in(self.odd) => {
                let text = self.script.pick(&["+1", "01", "1.0", "1e2", "-0", "0.5", "", "1e99", " 1"]);
                self.quoted(text);
            }
            _ => {
                let number = self.integer(kind);
                // Those of one kind that differ in the last digit differ.
                let digits = number.len();
                let number =
                    if digits > 1 { format!("{}{at}", &number[..digits - 1]) } else { at.to_string() };
                let number = if number == "-0" { "0".to_owned() } else { number };
                self.quoted(&number);
            }
        }
    }

    fn integer(&mut self, kind: &Kind) -> String {
        let bits = self.script.bits();
        let low = u32::try_from(bits & 0xffff_ffff).unwrap_or(0);
        match kind {
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => low.cast_signed().to_string(),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => bits.cast_signed().to_string(),
            Kind::Uint32 | Kind::Fixed32 => low.to_string(),
            _ => bits.to_string(),
        }
    }

    fn value(&mut self, kind: &Kind, depth: usize) {
        if self.script.one_in(self.odd) && self.script.one_in(2) {
            let some = [
                "null",
                "1",
                "\"x\"",
                "{}",
                "[]",
                "true",
                "1.5",
                "-",
                "\"1\"",
                "\"\\ud800\"",
                "{\"@type\":1}",
            ];
            let text = self.script.pick(&some);
            self.out.push_str(text);
            return;
        }
        self.space();
        match kind {
            Kind::Bool => {
                let text = self.script.pick(&["true", "false"]);
                self.out.push_str(text);
            }
            Kind::String => {
                let text = self.script.text();
                self.quoted(&text);
            }
            Kind::Bytes => self.bytes(),
            Kind::Double | Kind::Float => self.float(kind),
            Kind::Enum(declared) => self.enumeration(declared),
            Kind::Message(inner) => self.message(inner, depth),
            _ => self.whole(kind),
        }
        self.space();
    }

    fn whole(&mut self, kind: &Kind) {
        if self.script.one_in(self.odd) {
            let some = [
                "\"+1\"",
                "\"01\"",
                "01",
                "+1",
                "1.5",
                "0.5e1",
                "5e-1",
                "1e400",
                "\"1e400\"",
                "\" 1\"",
                "\"\"",
                "9223372036854775808",
                "9223372036854775808.0",
                "18446744073709551616",
                "18446744073709551616.0",
                "9007199254740993.0",
                "9007199254740993.5",
                "4294967296",
                "-1",
                "-0",
                "\"-0\"",
                "-0.0",
                "0x1",
                "1.",
                "\"1.\"",
                "2147483648",
                "99999999999999999999999999e-6",
                "NaN",
                "\"NaN\"",
                "-9223372036854775809",
                "9223372036854775807.0",
                "0e0",
                "0E-999999999999999999999",
                "1e99999999999999999999",
                "\"1_0\"",
            ];
            let text = self.script.pick(&some);
            self.out.push_str(text);
            return;
        }
        let number = self.integer(kind);
        match self.script.below(8) {
            0 | 1 => self.quoted(&number),
            2 if number.len() < 10 => {
                let _ = write!(self.out, "{number}.0");
            }
            3 => {
                let number = self.script.pick(&["1e2", "1.5e1", "10e-1", "0.0", "2E+1", "120.0e-1"]);
                self.out.push_str(number);
            }
            4 => {
                let number = self.script.pick(&["\"1e2\"", "\"1.0\"", "\"100E-2\""]);
                self.out.push_str(number);
            }
            _ => self.out.push_str(&number),
        }
    }

    fn float(&mut self, kind: &Kind) {
        if self.script.one_in(self.odd) {
            let some = [
                "\"+1\"",
                "\"01\"",
                "\".5\"",
                "\"5.\"",
                "\"inf\"",
                "\"nan\"",
                "\"-NaN\"",
                "\"+Infinity\"",
                "1e400",
                "\"1e400\"",
                "\"1e39\"",
                "1e39",
                "-1e39",
                "Infinity",
                "-Infinity",
                "\"infinity\"",
                "\"\"",
                "3.4028235e38",
                "3.4028236e38",
                "\"3.4028235e38\"",
                "\"3.4028236e38\"",
                "-0",
                "1e-400",
                "\"1 \"",
                "01.5",
            ];
            let text = self.script.pick(&some);
            self.out.push_str(text);
            return;
        }
        let (double, float) = (self.script.double(), self.script.float());
        let is_float = *kind == Kind::Float;
        let finite = if is_float { float.is_finite() } else { double.is_finite() };
        if !finite {
            let text = self.script.pick(&["\"NaN\"", "\"Infinity\"", "\"-Infinity\""]);
            self.out.push_str(text);
            return;
        }
        let text = match (is_float, self.script.one_in(2)) {
            (true, true) => format!("{float:e}"),
            (true, false) => format!("{float}"),
            (false, true) => format!("{double:e}"),
            (false, false) => format!("{double}"),
        };
        if self.script.one_in(4) { self.quoted(&text) } else { self.out.push_str(&text) }
    }

    fn enumeration(&mut self, declared: &EnumDescriptor) {
        if declared.full_name() == "google.protobuf.NullValue" {
            let text = self.script.pick(&["null", "\"NULL_VALUE\"", "0"]);
            self.out.push_str(text);
            return;
        }
        if self.script.one_in(self.odd) {
            let text = self.script.pick(&[
                "\"NOPE\"",
                "\"0\"",
                "99",
                "1.0",
                "1e0",
                "-0",
                "2147483648",
                "0.5",
                "true",
            ]);
            self.out.push_str(text);
            return;
        }
        let values: Vec<_> = declared.values().collect();
        let value = &values[self.script.below(values.len())];
        if self.script.one_in(3) {
            let _ = write!(self.out, "{}", value.number());
        } else {
            self.quoted(value.name());
        }
    }

    fn bytes(&mut self) {
        if self.script.one_in(self.odd) {
            let some =
                ["A", "AQ=", "AQ===", "A+_=", "AQI=AQ==", "AR", "AR==", "A-", "*", "AQ\n==", "=", "=="];
            let text = self.script.pick(&some);
            self.quoted(text);
            return;
        }
        let bytes = self.script.some_bytes();
        let text = match self.script.below(4) {
            0 => URL_SAFE_NO_PAD.encode(bytes),
            1 => STANDARD.encode(bytes).trim_end_matches('=').to_owned(),
            _ => STANDARD.encode(bytes),
        };
        self.quoted(&text);
    }

    fn timestamp(&mut self) {
        let some = [
            "1970-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
            "2024-02-29T12:30:00.5+01:00",
            "1969-12-31T16:00:01.000001-08:00",
            "2000-02-29T23:59:59.12Z",
            "2023-12-31T23:59:59-23:59",
        ];
        let odd = [
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00.1234567891Z",
            "2024-01-01t00:00:00Z",
            "2024-01-01T00:00:00z",
            "2024-01-01T00:00:00",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+00:60",
            "2023-02-29T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "0000-01-01T00:00:00Z",
            "2024-00-10T00:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00-00:00",
        ];
        let text =
            if self.script.one_in(self.odd) { self.script.pick(&odd) } else { self.script.pick(&some) };
        self.quoted(text);
    }

    fn duration(&mut self) {
        let some = [
            "0s",
            "1s",
            "-1.5s",
            "-0.5s",
            "1.000340012s",
            "315576000000.999999999s",
            "-315576000000s",
            "3.1s",
        ];
        let odd = [
            "1",
            "s",
            "1.s",
            ".5s",
            "+1s",
            "1.0000000000s",
            "1 s",
            "1e3s",
            "315576000001s",
            "-0s",
            "--1s",
            "-s",
            "1.12345678912s",
        ];
        let text =
            if self.script.one_in(self.odd) { self.script.pick(&odd) } else { self.script.pick(&some) };
        self.quoted(text);
    }

    fn any(&mut self, of: &MessageDescriptor, depth: usize) {
        if self.script.one_in(self.odd) {
            let some = [
                "{}",
                "{\"@type\":\"three.M0\"}",
                "{\"@type\":\"x/nope\"}",
                "{\"@type\":\"x/google.protobuf.Empty\"}",
                "{\"@type\":\"x/google.protobuf.Duration\"}",
                "{\"value\":\"1s\",\"@type\":\"x/google.protobuf.Duration\"}",
                "{\"@type\":\"x/google.protobuf.Duration\",\"value\":\"1s\",\"more\":1}",
                "{\"@type\":\"x/google.protobuf.Duration\",\"value\":\"1s\",\"value\":\"2s\"}",
                "{\"@type\":\"x/three.M0\",\"@type\":\"x/three.M0\"}",
                "{\"@type\":\"\"}",
                "{\"@type\":\"/three.M0\"}",
                "{\"@type\":\"/\"}",
            ];
            let text = self.script.pick(&some);
            self.out.push_str(text);
            return;
        }
        let special = [
            ("Duration", "\"1.5s\""),
            ("Struct", "{\"a\":[1]}"),
            ("Value", "null"),
            ("Int64Value", "\"5\""),
            ("Empty", "{}"),
            ("FieldMask", "\"a.bC\""),
        ];
        let (name, value) = self.script.pick(&special);
        let held = of.parent_pool().get_message_by_name(["three.M0", "two.M0"][self.script.below(2)]);
        match held.filter(|_| depth < 4 && self.script.below(3) > 0) {
            Some(held) => {
                let at_end = self.script.one_in(4);
                let tag = format!("\"@type\":\"type.googleapis.com/{}\"", held.full_name());
                self.out.push('{');
                if !at_end {
                    self.out.push_str(&tag);
                    self.members(&held, depth + 1, false);
                } else {
                    let before = self.out.len();
                    self.members(&held, depth + 1, true);
                    if self.out.len() > before && self.out[before..].contains(':') {
                        self.out.push(',');
                    }
                    self.out.push_str(&tag);
                }
                self.out.push('}');
            }
            None if self.script.one_in(3) => {
                let _ = write!(self.out, "{{\"value\":{value},\"@type\":\"x/google.protobuf.{name}\"}}");
            }
            None => {
                let _ = write!(self.out, "{{\"@type\":\"x/google.protobuf.{name}\",\"value\":{value}}}");
            }
        }
    }

    fn dynamic(&mut self, depth: usize, shape: Option<char>) {
        let shape = shape.unwrap_or_else(|| self.script.pick(&['0', '"', 'n', 't', '{', '[', '1']));
        let count = if depth > 4 { 0 } else { self.script.below(4) };
        let mut first = true;
        match shape {
            '{' => {
                self.out.push('{');
                for at in 0..count {
                    self.comma(&mut first);
                    let at = if self.script.one_in(self.odd) { 0 } else { at };
                    let key = format!("{at}{}", self.script.text());
                    self.quoted(&key);
                    self.out.push(':');
                    self.dynamic(depth + 1, None);
                }
                self.out.push('}');
            }
            '[' => {
                self.out.push('[');
                for _ in 0..count {
                    self.comma(&mut first);
                    self.dynamic(depth + 1, None);
                }
                self.out.push(']');
            }
            '"' => {
                let text = self.script.text();
                self.quoted(&text);
            }
            'n' => self.out.push_str("null"),
            't' => self.out.push_str("true"),
            '1' => {
                let text = self.script.pick(&[
                    "1e300",
                    "-0.5",
                    "18446744073709551615",
                    "-9223372036854775808",
                    "1e2",
                ]);
                self.out.push_str(text);
            }
            _ => self.out.push('0'),
        }
    }
}

/// Breaks text in a few places.
pub(crate) fn mutate_text(text: &mut Vec<u8>, script: &mut Script<'_>) {
    let splices: &[&str] = &[
        "null",
        "true",
        "0",
        "-",
        "1.0",
        "1e5",
        "0.5",
        "\"",
        "\\",
        ",",
        ":",
        "{}",
        "[]",
        "{",
        "]",
        " ",
        "+",
        "\"1\"",
        "\"NaN\"",
        "NaN",
        "\"x\"",
        "99999999999999999999",
        "e",
        ".",
        "\n",
        "_",
        "A",
        "Z",
        "s",
        "\\u0031",
        "\\",
        "\u{feff}",
        "}",
        "\u{1}",
    ];
    for _ in 0..=script.below(3) {
        let at = script.below(text.len() + 1);
        let end = (at + script.below(4)).min(text.len());
        let splice = match script.below(5) {
            0 => Vec::new(),
            1 => vec![script.byte()],
            2 | 3 => script.pick(splices).as_bytes().to_vec(),
            _ => {
                let from = script.below(text.len() + 1);
                text[from..(from + script.below(30)).min(text.len())].to_vec()
            }
        };
        text.splice(at..end, splice);
    }
}

/// JSON text as it stands: members that come again and the digits of numbers are kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Object(Vec<(String, Self)>),
    Array(Vec<Self>),
    String(String),
    /// A number, true, false or null.
    Bare(String),
}

impl Node {
    /// The value that text begins with; of broken text what stands before the break.
    pub(crate) fn read(text: &str) -> Self {
        Reader { text, at: 0 }.value(0)
    }

    /// Whether any node is such a one.
    pub(crate) fn any(&self, is: &dyn Fn(&Self) -> bool) -> bool {
        is(self)
            || match self {
                Self::Object(members) => members.iter().any(|(_, value)| value.any(is)),
                Self::Array(elements) => elements.iter().any(|element| element.any(is)),
                _ => false,
            }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> u8 {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn value(&mut self, depth: usize) -> Node {
        match self.peek() {
            b'"' => Node::String(self.string()),
            open @ (b'{' | b'[') if depth < 150 => {
                self.at += 1;
                let (mut members, mut elements) = (Vec::new(), Vec::new());
                while !matches!(self.peek(), b'}' | b']' | 0) {
                    let before = self.at;
                    if open == b'{' {
                        let name = if self.peek() == b'"' { self.string() } else { String::new() };
                        if self.peek() == b':' {
                            self.at += 1;
                        }
                        let value = self.value(depth + 1);
                        members.push((name, value));
                    } else {
                        elements.push(self.value(depth + 1));
                    }
                    if self.peek() == b',' {
                        self.at += 1;
                    }
                    if self.at == before {
                        break;
                    }
                }
                self.at = (self.at + 1).min(self.text.len());
                if open == b'{' { Node::Object(members) } else { Node::Array(elements) }
            }
            _ => {
                let rest = &self.text[self.at..];
                let len = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)))
                    .unwrap_or(rest.len());
                let bare = Node::Bare(rest[..len].to_owned());
                // What isn't JSON is stepped over by whole characters.
                let odd = rest.chars().next().filter(|_| len == 0).map_or(0, char::len_utf8);
                self.at += len + odd;
                bare
            }
        }
    }

    fn string(&mut self) -> String {
        let mut stream = serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter::<String>();
        match stream.next() {
            Some(Ok(text)) => {
                self.at += stream.byte_offset();
                text
            }
            _ => {
                self.at = self.text.len();
                String::new()
            }
        }
    }
}
