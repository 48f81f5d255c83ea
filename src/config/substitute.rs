//! Replaces `${NAME}`, `${NAME:-default}` and `${file:PATH}` in values; `$$` is a dollar.

use std::fs::File;
use std::io::Error;
use std::io::ErrorKind;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use crate::config::fault::Diag;
use crate::config::raw::Raw;
use crate::config::raw::Value;
use crate::config::raw::beside;
use crate::config::raw::clip;

/// Where values come from.
pub(super) struct Values<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Files that were asked for, whether they could be read or not.
    pub(super) read: Vec<PathBuf>,
    bytes_left: usize,
}

impl<'a> Values<'a> {
    pub(super) fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { env, read: Vec::new(), bytes_left: VALUES_BYTES_MAX }
    }

    /// Replaces in every scalar value of the tree; what can't be replaced becomes a fault.
    pub(super) fn replace(&mut self, raw: &mut Raw, diag: &mut Diag) {
        let at = match &mut raw.value {
            Value::List(items) => return items.iter_mut().for_each(|item| self.replace(item, diag)),
            Value::Map(entries) => {
                return entries.iter_mut().for_each(|entry| self.replace(&mut entry.value, diag));
            }
            Value::Scalar(scalar) if scalar.text.contains('$') => raw.place.at(),
            Value::Scalar(_) | Value::Faulty => return,
        };
        let Value::Scalar(scalar) = &mut raw.value else { return };
        match self.replaced(&scalar.text, &raw.place.file) {
            Ok((text, true)) => {
                scalar.source = Some(std::mem::replace(&mut scalar.text, text).into());
                scalar.quoted = false;
            }
            Ok((text, false)) => scalar.text = text,
            Err((problem, help)) => {
                diag.fault(&at, problem, help);
                raw.value = Value::Faulty;
            }
        }
    }

    /// The new text, and whether more than `$$` was replaced.
    fn replaced(&mut self, text: &str, file: &Path) -> Result<(String, bool), Wrong> {
        let mut out = String::with_capacity(text.len());
        let mut any = false;
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let inner = after.strip_prefix('{').and_then(|after| after.split_once('}'));
            let Some((inner, after)) = inner else {
                return wrong(
                    format!("a lone `$` in `{}`", clip(text)),
                    "write `$$` for a dollar, `${NAME}` for a variable",
                );
            };
            let value = self.value(inner, file)?;
            self.bytes_left = match self.bytes_left.checked_sub(value.len()) {
                Some(left) => left,
                None => {
                    return wrong("too much is put in for `${...}` in this file", "write long values out");
                }
            };
            out.push_str(&value);
            any = true;
            rest = after;
        }
        out.push_str(rest);
        Ok((out, any))
    }

    fn value(&mut self, inner: &str, file: &Path) -> Result<String, Wrong> {
        if let Some(path) = inner.strip_prefix("file:") {
            return self.file(path, file);
        }
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            let problem = format!("`${{{}}}` names no variable", clip(inner));
            return wrong(
                problem,
                "write `${NAME}`, `${NAME:-default}` or `${file:/path}`; `$$` for a dollar",
            );
        }
        match ((self.env)(name), default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(default)) => Ok(if value.is_empty() { default.into() } else { value }),
            (None, Some(default)) => Ok(default.into()),
            (None, None) => wrong(
                format!("the environment has no `{}`", clip(name)),
                format!("set it, or give a default: `${{{}:-default}}`", clip(name)),
            ),
        }
    }

    fn file(&mut self, path: &str, file: &Path) -> Result<String, Wrong> {
        if path.is_empty() {
            return wrong("`${file:}` names no file", "write `${file:/run/secrets/name}`");
        }
        if FILES_MAX <= self.read.len() {
            return wrong(
                format!("more than {FILES_MAX} files in `${{file:...}}`"),
                "write some of them out",
            );
        }
        let path = beside(file, path);
        self.read.push(path.clone());
        match text_of(&path) {
            Ok(text) => Ok(text),
            Err(why) => wrong(
                format!("`{}` can't be read: {why}", clip(&path.display().to_string())),
                "a text file of at most 64KiB is needed there",
            ),
        }
    }
}

/// A problem and its help.
type Wrong = (String, String);

fn wrong<T>(problem: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err((problem.into(), help.into()))
}

/// Why a file can't be read, in the same words on every system.
pub(super) fn reason(error: &Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        kind => kind.to_string(),
    }
}

/// A small text file without its final line end. Pipes and devices are refused: they may never end.
fn text_of(path: &Path) -> Result<String, String> {
    let metadata = path.metadata().map_err(|error| reason(&error))?;
    if !metadata.is_file() {
        return Err("not a file".into());
    }
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(|error| reason(&error))?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| reason(&error))?;
    if FILE_BYTES_MAX < bytes.len() as u64 {
        return Err("it is too large".into());
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(text.into())
}

/// One `${file:...}`.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// `${file:...}` of one configuration.
const FILES_MAX: usize = 1000;
/// All that is put in: one variable named a million times must not fill the memory.
const VALUES_BYTES_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str) -> Result<String, String> {
        let env = |name: &str| match name {
            "PORT" => Some("8080".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("${PORT}".to_owned()),
            _ => None,
        };
        Values::new(&env)
            .replaced(text, Path::new("t.yaml"))
            .map(|(text, _)| text)
            .map_err(|(problem, _)| problem)
    }

    #[test]
    fn variables_are_replaced_once() {
        for (text, out) in [
            ("127.0.0.1:${PORT}", "127.0.0.1:8080"),
            ("${PORT}${PORT}", "80808080"),
            ("${NONE:-a:-b}", "a:-b"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NONE:-}", ""),
            ("$${PORT} $$$$", "${PORT} $$"),
            ("${DOLLAR}", "${PORT}"),
        ] {
            assert_eq!(replaced(text).as_deref(), Ok(out), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_a_fault() {
        for text in [
            "${NONE}",
            "$",
            "a$b",
            "${",
            "${PORT",
            "${}",
            "${A-B}",
            "${file:}",
            "${file:/no/such/file}",
            "${file:/}",
        ] {
            assert!(replaced(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_sum_of_replacements_is_bounded() {
        let env = |_: &str| Some("x".repeat(1 << 20));
        let mut values = Values::new(&env);
        let text = "${A}".repeat(40);
        assert!(values.replaced(&text, Path::new("t.yaml")).is_err());
    }
}
