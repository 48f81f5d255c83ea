//! As whom the Admin API is asked: a token that is never an argument, which everybody on the machine could read.

use std::ffi::OsString;
use std::path::Path;

use http::HeaderValue;

use crate::cli::address::read;
use crate::cli::failure::Failure;

/// The variable that has the token.
pub(super) const VARIABLE: &str = "TRANSOM_ADMIN_TOKEN";

/// What `authorization` says: the token of the file, else of the variable; none where there is neither.
pub(super) fn authorization(
    file: Option<&Path>,
    variable: Option<OsString>,
) -> Result<Option<HeaderValue>, Failure> {
    let (token, source) = match file {
        Some(file) => (read(file)?, file.display().to_string()),
        None => match variable.filter(|value| !value.is_empty()) {
            Some(value) => (value.into_encoded_bytes(), VARIABLE.to_owned()),
            None => return Ok(None),
        },
    };
    let token = token.trim_ascii();
    let is_token = (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
    // What is wrong with it isn't shown: it may be most of a secret.
    let wrong = || {
        Failure::unasked(format_args!(
            "{source} has no token: it is one word of at most {TOKEN_BYTES_MAX} characters"
        ))
    };
    if !is_token {
        return Err(wrong());
    }
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

const TOKEN_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word() {
        let of = |value: &str| authorization(None, Some(value.into()));
        assert_eq!(of("abc\n").unwrap().unwrap(), "Bearer abc");
        assert!(of("abc").unwrap().unwrap().is_sensitive());
        assert_eq!(of("").unwrap(), None);
        assert_eq!(authorization(None, None).unwrap(), None);
        for bad in [" ", "a b", "a\nb", "ä", "a\u{0}", &"x".repeat(4097)] {
            let Err(Failure::Unasked(why)) = of(bad) else { panic!("{bad:?} is no token") };
            assert_eq!(why, "TRANSOM_ADMIN_TOKEN has no token: it is one word of at most 4096 characters");
        }
    }

    #[test]
    fn the_file_comes_before_the_variable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-file\n").unwrap();
        let value = authorization(Some(file.path()), Some("from-variable".into())).unwrap();
        assert_eq!(value.unwrap(), "Bearer from-file");
        let missing = authorization(Some(Path::new("/nonexistent/token")), Some("x".into())).unwrap_err();
        assert!(matches!(missing, Failure::Unasked(why) if why.contains("/nonexistent/token can't be read")));
    }
}
