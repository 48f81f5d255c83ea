//! Resource names of the library: `shelves/SHELF` and `shelves/SHELF/books/BOOK`.

use tonic::Status;

use crate::demo::fault;

/// The longest part of a name, in bytes.
const PART_BYTES_MAX: usize = 63;

/// Splits `shelves/SHELF`; `field` is named in the error.
pub(crate) fn shelf<'n>(field: &str, name: &'n str) -> Result<&'n str, Status> {
    let shelf = name.strip_prefix("shelves/").filter(|shelf| is_part(shelf));
    shelf.ok_or_else(|| fault::bad(field, "write shelves/SHELF, with letters, digits and -"))
}

/// Splits `shelves/SHELF/books/BOOK`; `field` is named in the error.
pub(crate) fn book<'n>(field: &str, name: &'n str) -> Result<(&'n str, &'n str), Status> {
    let parts = name.strip_prefix("shelves/").and_then(|rest| rest.split_once("/books/"));
    let parts = parts.filter(|(shelf, book)| is_part(shelf) && is_part(book));
    parts.ok_or_else(|| fault::bad(field, "write shelves/SHELF/books/BOOK, with letters, digits and -"))
}

/// The last part of a book's name: the one that was asked for, or one made of the title.
pub(crate) fn book_id(asked: &str, title: &str) -> Result<String, Status> {
    if is_part(asked) {
        return Ok(asked.to_owned());
    }
    if !asked.is_empty() {
        return Err(fault::bad("book_id", "write letters, digits and -, at most 63"));
    }
    let made = made_of(title);
    if made.is_empty() {
        Err(fault::bad("book_id", "give one: the title has no letters a to z"))
    } else {
        Ok(made)
    }
}

fn made_of(title: &str) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut made = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    made.truncate(PART_BYTES_MAX);
    made
}

fn is_part(text: &str) -> bool {
    (1..=PART_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_or_refused() {
        assert_eq!(shelf("name", "shelves/harbour").unwrap(), "harbour");
        assert_eq!(book("name", "shelves/a/books/b-2").unwrap(), ("a", "b-2"));
        for bad in ["", "shelves/", "shelves/a/b", "shelf/a", "shelves/a b", "shelves/ä"] {
            assert_eq!(shelf("name", bad).unwrap_err().code(), tonic::Code::InvalidArgument, "{bad}");
        }
        for bad in ["shelves/a", "shelves/a/books/", "shelves//books/b", "shelves/a/books/b/books/c"] {
            assert!(book("name", bad).is_err(), "{bad}");
        }
        assert!(shelf("name", &format!("shelves/{}", "a".repeat(64))).is_err());
    }

    #[test]
    fn ids_are_made_of_titles() {
        assert_eq!(book_id("", "The Lamp, at \"Transom\" Point!").unwrap(), "the-lamp-at-transom-point");
        assert_eq!(book_id("own", "x").unwrap(), "own");
        assert_eq!(book_id("", &"ab ".repeat(50)).unwrap().len(), 63);
        assert!(book_id("", "…").is_err());
        assert!(book_id("a/b", "x").is_err());
    }
}
