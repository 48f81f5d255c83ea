//! Field masks of UpdateBook.

use tonic::Status;

use crate::demo::fault;
use crate::demo::pb::Book;
use crate::demo::pb::book::LentTo;

/// The fields of a book that a caller may change.
const FIELDS: &[&str] = &[
    "title",
    "author",
    "subtitle",
    "year",
    "genre",
    "tags",
    "labels",
    "copies_sold",
    "rating",
    "reading_time",
    "reader",
    "reading_room",
];

/// Copies the fields that `paths` names from one book to the other; without paths, those that have a value.
pub(crate) fn apply(paths: Option<&[String]>, from: &Book, to: &mut Book) -> Result<(), Status> {
    match paths {
        Some(paths) if paths == ["*"] => FIELDS.iter().for_each(|path| copy(path, from, to)),
        Some(paths) if !paths.is_empty() => {
            if let Some(unknown) = paths.iter().find(|path| !FIELDS.contains(&path.as_str())) {
                return Err(fault::bad(
                    "update_mask",
                    &format!("no field {unknown:.64}: write some of {}", FIELDS.join(",")),
                ));
            }
            paths.iter().for_each(|path| copy(path, from, to));
        }
        _ => FIELDS.iter().filter(|path| has_value(path, from)).for_each(|path| copy(path, from, to)),
    }
    Ok(())
}

fn has_value(path: &str, book: &Book) -> bool {
    let mut probe = Book::default();
    copy(path, book, &mut probe);
    probe != Book::default()
}

/// A path that is not in [`FIELDS`] copies nothing.
fn copy(path: &str, from: &Book, to: &mut Book) {
    match path {
        "title" => to.title.clone_from(&from.title),
        "author" => to.author.clone_from(&from.author),
        "subtitle" => to.subtitle.clone_from(&from.subtitle),
        "year" => to.year = from.year,
        "genre" => to.genre = from.genre,
        "tags" => to.tags.clone_from(&from.tags),
        "labels" => to.labels.clone_from(&from.labels),
        "copies_sold" => to.copies_sold = from.copies_sold,
        "rating" => to.rating = from.rating,
        "reading_time" => to.reading_time = from.reading_time,
        "reader" => copy_lent(matches!(from.lent_to, Some(LentTo::Reader(_))), is_reader, from, to),
        "reading_room" => copy_lent(matches!(from.lent_to, Some(LentTo::ReadingRoom(_))), is_room, from, to),
        _ => (),
    }
}

/// Sets a member of the oneof, or clears it where it was that member which was set.
fn copy_lent(set: bool, same: fn(&LentTo) -> bool, from: &Book, to: &mut Book) {
    if set || to.lent_to.as_ref().is_some_and(same) {
        to.lent_to.clone_from(&if set { from.lent_to.clone() } else { None });
    }
}

fn is_reader(lent: &LentTo) -> bool {
    matches!(lent, LentTo::Reader(_))
}

fn is_room(lent: &LentTo) -> bool {
    matches!(lent, LentTo::ReadingRoom(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> Book {
        Book {
            title: "Old".into(),
            year: 1900,
            lent_to: Some(LentTo::Reader("Ada".into())),
            ..Default::default()
        }
    }

    fn masked(paths: Option<&[&str]>, from: &Book) -> Result<Book, Status> {
        let mut to = old();
        let paths = paths.map(|paths| paths.iter().map(|path| path.to_string()).collect::<Vec<_>>());
        apply(paths.as_deref(), from, &mut to).map(|()| to)
    }

    #[test]
    fn only_named_fields_change() {
        let from = Book { title: "New".into(), rating: 4.5, ..Default::default() };
        let got = masked(Some(&["rating", "year"]), &from).unwrap();
        assert_eq!((got.title.as_str(), got.year, got.rating), ("Old", 0, 4.5));
        let got = masked(None, &from).unwrap();
        assert_eq!((got.title.as_str(), got.year, got.rating), ("New", 1900, 4.5));
        let got = masked(Some(&["*"]), &from).unwrap();
        assert_eq!((got.title.as_str(), got.year, got.lent_to), ("New", 0, None));
    }

    #[test]
    fn oneof_members_are_apart() {
        let room = Book { lent_to: Some(LentTo::ReadingRoom("North".into())), ..Default::default() };
        assert_eq!(masked(Some(&["reading_room"]), &room).unwrap().lent_to, room.lent_to);
        assert_eq!(masked(Some(&["reading_room"]), &Book::default()).unwrap().lent_to, old().lent_to);
        assert_eq!(masked(Some(&["reader"]), &Book::default()).unwrap().lent_to, None);
    }

    #[test]
    fn unknown_fields_are_refused() {
        for path in ["nope", "name", "create_time", "labels.x", ""] {
            assert_eq!(
                masked(Some(&[path]), &old()).unwrap_err().code(),
                tonic::Code::InvalidArgument,
                "{path}"
            );
        }
    }

    #[test]
    fn every_field_can_be_named() {
        let full = Book {
            title: "t".into(),
            author: "a".into(),
            subtitle: Some("s".into()),
            year: 1,
            genre: 1,
            tags: vec!["x".into()],
            labels: [("k".to_owned(), "v".to_owned())].into(),
            copies_sold: 1,
            rating: 1.0,
            reading_time: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..Default::default()
        };
        for field in FIELDS.iter().filter(|field| !field.starts_with("read") || **field == "reading_time") {
            assert!(has_value(field, &full), "{field}");
        }
    }
}
