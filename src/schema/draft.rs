//! One file before it is linked: from text or from a serialized descriptor, bounded and decoded.

use std::sync::Arc;

use bytes::Bytes;
use miette::Diagnostic;
use prost::Message;
use prost_types::FileDescriptorProto;
use prost_types::SourceCodeInfo;

use crate::schema::Fault;
use crate::schema::Limits;
use crate::schema::comments;
use crate::schema::editions;
use crate::schema::features::Unreadable;
use crate::schema::lines::Lines;
use crate::schema::options;
use crate::schema::ranges;
use crate::schema::scan;
use crate::schema::scan::Measure;
use crate::schema::scan::Unfit;
use crate::schema::scan::Value;
use crate::schema::traits::Editions;

/// A file that is well-formed by itself.
pub(super) struct Draft {
    /// Import name.
    pub(super) name: Arc<str>,
    /// Without source info.
    pub(super) proto: FileDescriptorProto,
    /// What `proto` was decoded from: it has the options that `proto` does not know.
    pub(super) bytes: Bytes,
    /// Of a file with an edition, which `proto` and `bytes` are not.
    pub(super) edition: Option<InEdition>,
    /// The comments.
    pub(super) info: SourceCodeInfo,
    /// Whether the module supplied it.
    pub(super) own: bool,
    pub(super) declarations: usize,
    /// Where everything stands.
    pub(super) lines: Lines,
    /// Of a file that was parsed.
    text: Option<Box<str>>,
}

/// A file as its author's compiler wrote it, before it was rewritten in the words of proto2.
pub(super) struct InEdition {
    /// Without source info.
    pub(super) bytes: Bytes,
    /// What the rewritten file does not say.
    pub(super) traits: Editions,
}

impl InEdition {
    /// Files that are imported for their options alone, and need not be there.
    pub(super) fn option_imports(&self) -> Vec<String> {
        let names = scan::fields(&self.bytes).map_while(Result::ok).filter_map(|field| match field.value {
            Value::Bytes(name) if field.number == scan::file::OPTION_DEPENDENCY => Some(name),
            _ => None,
        });
        names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }
}

impl Draft {
    /// Parses `.proto` text. Reports every syntax error.
    pub(super) fn from_text(name: &str, text: Vec<u8>, limits: &Limits) -> Result<Self, Vec<Fault>> {
        check_name(name).map_err(|fault| vec![fault])?;
        let text = decode_text(name, text, limits).map_err(|fault| vec![fault])?;
        let (parsed, text) = parse(name, text, limits)?;
        let mut proto = parsed.file_descriptor_proto().clone();
        drop(parsed);
        let info = proto.source_code_info.take().unwrap_or_default();
        let lines = Lines::of(&info, |path| options::number_at(&proto, path));
        options::set_packed(&mut proto);
        let bytes: Bytes = proto.encode_to_vec().into();
        let measure = scan::measure(&bytes, limits).map_err(|unfit| vec![refuse(name, &unfit, limits)])?;
        options::check(&proto, limits)
            .map_err(|problem| vec![Fault::new(name, problem, "write it with fewer levels")])?;
        let draft = Self::new(name.into(), proto, bytes, info, lines, &measure);
        Ok(Self { text: Some(text.into()), ..draft })
    }

    /// Takes a serialized `google.protobuf.FileDescriptorProto`, whose fields that are not known to this
    /// program are kept in options and passed over elsewhere.
    pub(super) fn from_descriptor(bytes: &Bytes, limits: &Limits) -> Result<Self, Vec<Fault>> {
        let name = scan::last(bytes, scan::file::NAME).map(|name| String::from_utf8_lossy(name).into_owned());
        let name = name.unwrap_or_default();
        check_name(&name).map_err(|fault| vec![fault])?;
        let malformed = |_| vec![refuse(&name, &Unfit::Malformed, limits)];
        if limits.file_bytes_max < bytes.len() {
            return Err(vec![too_long(&name, bytes.len(), limits)]);
        }
        let measure = scan::measure(bytes, limits).map_err(|unfit| vec![refuse(&name, &unfit, limits)])?;
        if limits.declarations_max < measure.declarations {
            return Err(vec![too_many(&name, limits)]);
        }
        if 0 < measure.uninterpreted {
            let problem = "it has options that no compiler has resolved";
            return Err(vec![Fault::new(
                &name,
                problem,
                "write the set with protoc or buf build, or upload .proto files",
            )]);
        }
        let mut bare = scan::without(bytes, &[scan::file::SOURCE_CODE_INFO]).map_err(malformed)?;
        let mut in_edition = None;
        if let Some(edition) = measure.edition {
            let rewritten = editions::rewrite(&bare, edition)
                .map_err(|unreadable| vec![refuse_features(&name, &unreadable, limits)])?;
            let original = std::mem::replace(&mut bare, rewritten.bytes);
            in_edition = Some(InEdition { bytes: original.into(), traits: rewritten.traits });
        }
        let proto = FileDescriptorProto::decode(bare.as_slice()).map_err(|error| {
            let problem = format!("it is not a FileDescriptorProto: {error}");
            vec![Fault::new(&name, problem, "write the set anew with protoc or buf build")]
        })?;
        let info = match scan::last(bytes, scan::file::SOURCE_CODE_INFO) {
            // Past this many they would cost more than all else.
            Some(info) if measure.locations <= LOCATIONS_MAX => info,
            _ => &[],
        };
        let info = SourceCodeInfo::decode(info).map_err(|_| malformed(scan::Malformed))?;
        let lines = Lines::of(&info, |_| None);
        let draft = Self::new(name.as_str().into(), proto, bare.into(), info, lines, &measure);
        Ok(Self { edition: in_edition, ..draft })
    }

    fn new(
        name: Arc<str>,
        proto: FileDescriptorProto,
        bytes: Bytes,
        info: SourceCodeInfo,
        lines: Lines,
        measure: &Measure,
    ) -> Self {
        Self {
            name,
            proto,
            bytes,
            edition: None,
            info: comments::keep_comments(info),
            own: true,
            declarations: measure.declarations,
            lines,
            text: None,
        }
    }

    /// The same file, supplied by someone else.
    pub(super) fn borrowed(mut self) -> Self {
        self.own = false;
        self
    }

    /// The line, counted from 1, of what a descriptor path points at, or of what surrounds it.
    pub(super) fn line(&self, path: &[i32]) -> Option<u32> {
        self.lines.at(path)
    }

    /// The text that it was parsed from, and where in it everything is.
    pub(super) fn places(&self) -> Option<(&str, SourceCodeInfo)> {
        let text = self.text.as_deref()?;
        let parsed = protox::file::File::from_source(&self.name, text).ok()?;
        let info = parsed.file_descriptor_proto().source_code_info.clone()?;
        Some((text, info))
    }

    /// The line, counted from 1, of a byte of its text.
    pub(super) fn line_of_offset(&self, offset: usize) -> Option<u32> {
        self.text.as_deref()?.as_bytes().get(..offset).map(line_at)
    }

    /// A fault at a descriptor path.
    pub(super) fn fault(&self, path: &[i32], problem: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault::new(&*self.name, problem, help).at(self.line(path))
    }
}

/// Parses the text, or else the text with its extension ranges spelled out, and gives what was parsed.
fn parse(name: &str, text: String, limits: &Limits) -> Result<(protox::file::File, String), Vec<Fault>> {
    let error = match protox::file::File::from_source(name, &text) {
        Ok(parsed) => return Ok((parsed, text)),
        Err(error) => error,
    };
    let Some(text) = ranges::spelled_out(&text) else {
        return Err(syntax_faults(name, &text, &error, limits.faults_max));
    };
    match protox::file::File::from_source(name, &text) {
        Ok(parsed) => Ok((parsed, text)),
        Err(error) => Err(syntax_faults(name, &text, &error, limits.faults_max)),
    }
}

/// The import name of a serialized `google.protobuf.FileDescriptorProto`, and the names that it imports.
///
/// # Errors
///
/// Names that could mean another file, and bytes that are no such message.
pub fn name_and_imports(bytes: &[u8]) -> Result<(String, Vec<String>), Fault> {
    let mut name = String::new();
    let mut imports = Vec::new();
    for field in scan::fields(bytes) {
        let Ok(field) = field else {
            let shown = if name.is_empty() { "(a file without a name)" } else { &name };
            return Err(refuse(shown, &Unfit::Malformed, &Limits::default()));
        };
        match (field.number, field.value) {
            (scan::file::NAME, Value::Bytes(value)) => name = String::from_utf8_lossy(value).into_owned(),
            (scan::file::DEPENDENCY, Value::Bytes(value)) => {
                imports.push(String::from_utf8_lossy(value).into_owned())
            }
            _ => (),
        }
    }
    check_name(&name)?;
    Ok((name, imports))
}

/// Refuses import names that would not mean the same file to every reader.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    let shown: String = name.chars().take(200).flat_map(char::escape_debug).collect();
    let fault = |problem: &str| {
        let help = "name files relative to the root that imports start from, such as pets/v1/pets.proto";
        Err(Fault::new(if shown.is_empty() { "(a file without a name)" } else { &shown }, problem, help))
    };
    if name.is_empty() {
        return fault("it has no name");
    }
    if NAME_BYTES_MAX < name.len() {
        return fault(&format!("its name is longer than {NAME_BYTES_MAX} bytes"));
    }
    if name.starts_with('/') || name.get(1..2) == Some(":") {
        return fault("its name is an absolute path");
    }
    if name.contains('\\') || name.chars().any(char::is_control) {
        return fault("its name has a backslash or a control character");
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return fault("its name has an empty part, \".\" or \"..\"");
    }
    Ok(())
}

fn decode_text(name: &str, text: Vec<u8>, limits: &Limits) -> Result<String, Fault> {
    if limits.file_bytes_max < text.len() {
        return Err(too_long(name, text.len(), limits));
    }
    let text = String::from_utf8(text).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Fault::new(name, "it is not UTF-8 text", "save it as UTF-8").at(Some(line_at(valid)))
    })?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    // Each statement of a file, and each option in a list, ends in one of these: what the parser builds
    // is bounded by their number.
    let ends = memchr::memchr2_iter(b';', b'{', text.as_bytes()).take(limits.declarations_max + 1).count();
    let commas = memchr::memchr_iter(b',', text.as_bytes()).take(4 * limits.declarations_max + 1).count();
    if limits.declarations_max < ends || 4 * limits.declarations_max < commas {
        return Err(too_many(name, limits));
    }
    if let Some((line, edition)) = edition(&text) {
        return Err(text_edition_fault(name, edition).at(Some(line)));
    }
    Ok(text)
}

/// The line and name of the edition that a file starts with.
fn edition(text: &str) -> Option<(u32, &str)> {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.starts_with("//") {
            rest = rest.split_once('\n')?.1;
        } else if rest.starts_with("/*") {
            rest = rest[2..].split_once("*/")?.1;
        } else {
            break;
        }
    }
    let line = line_at(&text.as_bytes()[..text.len() - rest.len()]);
    let keyword = if rest.starts_with("edition") { "edition" } else { "syntax" };
    let value = rest.strip_prefix(keyword)?.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let value = value[1..].split(quote).next()?;
    (keyword == "edition" || value == "editions").then_some((line, value))
}

fn syntax_faults(name: &str, text: &str, error: &protox::Error, faults_max: usize) -> Vec<Fault> {
    let related = error.related().into_iter().flatten();
    let all = std::iter::once(error as &dyn Diagnostic).chain(related).take(faults_max.saturating_add(1));
    all.map(|error| {
        let start = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
        // What has no place of its own is missing at the end.
        let before = text.as_bytes().get(..start.unwrap_or(text.len())).unwrap_or(text.as_bytes());
        let help = error.help().map_or_else(|| "mend the syntax".to_owned(), |help| plain(&help.to_string()));
        Fault::new(name, plain(&error.to_string()), help).at(Some(line_at(before)))
    })
    .collect()
}

/// The parser's sentence in the manner of this program, without what could break a line.
pub(super) fn plain(sentence: &str) -> String {
    let mut chars = sentence.chars().take(SENTENCE_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c });
    // A first word in capitals is a name.
    let lower = sentence.chars().nth(1).is_none_or(|second| !second.is_uppercase());
    let first = chars.next().map(|first| if lower { first.to_ascii_lowercase() } else { first });
    first.into_iter().chain(chars).collect::<String>().trim_end_matches('.').to_owned()
}

fn line_at(before: &[u8]) -> u32 {
    u32::try_from(memchr::memchr_iter(b'\n', before).count()).unwrap_or(u32::MAX).saturating_add(1)
}

fn refuse(name: &str, unfit: &Unfit, limits: &Limits) -> Fault {
    match unfit {
        Unfit::Malformed => {
            let help = "upload what protoc --descriptor_set_out or buf build -o wrote";
            Fault::new(name, "it is not a serialized FileDescriptorProto", help)
        }
        Unfit::Edition(edition) => edition_fault(name, edition),
        Unfit::TooDeep => {
            let problem = format!("its messages are nested more than {} levels deep", limits.depth_max);
            Fault::new(name, problem, "declare them side by side")
        }
        Unfit::TooManyMembers => {
            let problem = format!("one of its types declares more than {} members", limits.members_max);
            Fault::new(name, problem, "split the type")
        }
    }
}

/// Editions are compiled by others, for there is no parser of their text here.
fn text_edition_fault(name: &str, edition: &str) -> Fault {
    let problem = format!("it uses {}, and the text of editions can't be compiled here", shown(edition));
    let help = format!(
        "make a descriptor set with buf build -o set.binpb, or protoc --include_imports \
         --descriptor_set_out=set.binpb {}, and load that",
        shell_word(name)
    );
    Fault::new(name, problem, help)
}

fn edition_fault(name: &str, edition: &str) -> Fault {
    let problem = format!("it uses {}, and only 2023 and 2024 are supported", shown(edition));
    let help = "write it with edition = \"2023\" or \"2024\", and the set with a current protoc or buf";
    Fault::new(name, problem, help)
}

fn shown(edition: &str) -> String {
    let year = !edition.is_empty() && edition.bytes().all(|byte| byte.is_ascii_digit());
    if year { format!("edition {}", plain(edition)) } else { "an edition".to_owned() }
}

/// A name that is pasted into a shell is quoted unless it plainly needs no quotes.
fn shell_word(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if plain { name.to_owned() } else { format!("'{}'", name.replace('\'', "'\\''")) }
}

fn refuse_features(name: &str, unreadable: &Unreadable, limits: &Limits) -> Fault {
    match unreadable {
        Unreadable::Malformed => refuse(name, &Unfit::Malformed, limits),
        Unreadable::Value(feature, value) => {
            let problem = format!("its feature {feature} is set to {value}, which has no meaning");
            Fault::new(name, problem, "write the set anew with protoc or buf build")
        }
        Unreadable::FirstValue(declared) => {
            let declared: String = declared.chars().take(200).flat_map(char::escape_debug).collect();
            let problem = format!("the first value of the open enum \"{declared}\" is not zero");
            let help = "start it with a value of 0, or set features.enum_type = CLOSED";
            Fault::new(name, problem, help)
        }
    }
}

fn too_long(name: &str, bytes: usize, limits: &Limits) -> Fault {
    let problem = format!("it has {bytes} bytes, and a file may have {}", limits.file_bytes_max);
    Fault::new(name, problem, "split it")
}

pub(super) fn too_many(name: &str, limits: &Limits) -> Fault {
    let problem = format!("there are more than {} declarations", limits.declarations_max);
    Fault::new(name, problem, "upload it as several modules")
}

/// Bytes of an import name.
const NAME_BYTES_MAX: usize = 1_024;
/// Locations of one file's source info.
const LOCATIONS_MAX: usize = 1_000_000;
/// Characters of a parser's sentence, which quotes what it read.
const SENTENCE_CHARS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let draft = Draft::from_text("a.proto", text.into(), &Limits::default());
        draft.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_that_mean_another_file_are_refused() {
        for name in
            ["", "/etc/a.proto", "../a.proto", "a/../b.proto", "a//b.proto", "./a.proto", "a\\b.proto"]
        {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("c:/a.proto").is_err());
        assert!(check_name("a\u{0}.proto").is_err());
        assert!(check_name(&"a".repeat(2000)).is_err());
        assert!(check_name("pets/v1/pets.proto").is_ok());
    }

    #[test]
    fn every_syntax_error_is_reported_with_its_line() {
        let found =
            faults("syntax = \"proto3\";\nmessage A {\n  string = 1;\n}\nmessage B {\n  int32 b 2;\n}\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a.proto:3: expected"), "{found:?}");
        assert!(found[1].starts_with("a.proto:6: expected"), "{found:?}");
    }

    #[test]
    fn an_edition_is_named_and_refused() {
        for text in [
            "edition = \"2023\";",
            "// a\n/* b\n */ edition='2024';",
            "syntax = \"editions\";",
            "\u{feff}edition \n = \"2023\" ;",
        ] {
            let found = faults(text);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].contains("buf build -o set.binpb"), "{found:?}");
            assert!(found[0].contains("set.binpb a.proto, and load that"), "{found:?}");
        }
        assert!(faults("// edition = \"2023\"\nsyntax = \"proto3\";").is_empty());
        assert_eq!(edition("\n// a\n/* b\n */ edition='2024';"), Some((4, "2024")));
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_at_its_line() {
        let draft =
            Draft::from_text("a.proto", b"syntax = \"proto3\";\n// \xff\n".to_vec(), &Limits::default());
        assert_eq!(draft.err().unwrap()[0].line, Some(2));
    }

    #[test]
    fn nesting_is_bounded_before_it_can_take_the_stack() {
        let messages = "message A {".repeat(100_000);
        assert!(!faults(&messages).is_empty());
        let options = format!("message A {{ option (a) = {{ {} }}; }}", "a {".repeat(100_000));
        assert!(!faults(&options).is_empty());
        let closed = format!("option (a) = {{ {} {} }};", "a {".repeat(100_000), "}".repeat(100_000));
        assert!(faults(&closed)[0].contains("nested more than"));
        let dotted = format!("option (a){} = 1;", ".a".repeat(100_000));
        assert!(faults(&dotted)[0].contains("nested more than"));
        for hostile in
            ["{", "[", "(", "<", "option", "\"", "/*", "message A{oneof b{", "extend a{optional group A=1{"]
        {
            assert!(!faults(&hostile.repeat(100_000)).is_empty(), "{hostile}");
        }
    }

    #[test]
    fn lines_of_a_descriptor_come_from_its_source_info() {
        let file = protox::file::File::from_source(
            "a.proto",
            "syntax = \"proto3\";\n\nmessage A {\n  B b = 1;\n}\n",
        );
        let bytes: Bytes = file.unwrap().file_descriptor_proto().encode_to_vec().into();
        let draft = Draft::from_descriptor(&bytes, &Limits::default()).ok().unwrap();
        assert_eq!(draft.line(&[4, 0]), Some(3));
        assert_eq!(draft.line(&[4, 0, 2, 0, 6, 77]), Some(4));
        assert_eq!(draft.line(&[5, 0]), None);
    }
}
