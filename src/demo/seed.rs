//! What stands on the shelves when the library opens.

use std::time::Duration;

use crate::demo::pb::Book;
use crate::demo::pb::Genre;
use crate::demo::pb::book::LentTo;

/// When the library opened, after the Unix epoch: a Tuesday morning in spring 2026.
pub(crate) const OPENED: Duration = Duration::from_secs(1_774_341_000);
/// The lines every book of this library is made of, one a page.
pub(crate) const PAGES: [&str; 12] = [
    "In which a window is left open, and nobody owns up to it.",
    "In which the wind turns, and with it the conversation.",
    "In which a letter arrives that was never sent.",
    "In which we learn what the cook knew all along.",
    "In which a door is found to be a cupboard.",
    "In which there is rain, and then a good deal more of it.",
    "In which two people agree, for different reasons.",
    "In which the lamp goes out, and is missed.",
    "In which the map turns out to be of somewhere else.",
    "In which a debt is paid in plums.",
    "In which everybody is on the stairs at once.",
    "In which the window is shut, and it is morning.",
];

/// A shelf: its name, its theme, and its books by name.
type SeedShelf = (&'static str, &'static str, Vec<(&'static str, Book)>);

/// The shelves.
pub(crate) fn shelves() -> [SeedShelf; 4] {
    [
        ("harbour", "Harbours, and the people who wait in them", harbour()),
        ("kitchen", "Cooking for one, for many, and for ghosts", kitchen()),
        ("night-trains", "Journeys that end before breakfast", night_trains()),
        ("weather", "Weather, mostly bad", weather()),
    ]
}

fn harbour() -> Vec<(&'static str, Book)> {
    let mut lamp =
        book("The Lamp at Transom Point", "Ines Halloran", 1931, Genre::Novel, &["lighthouse", "letters"]);
    lamp.subtitle = Some("A keeper's year".into());
    lamp.labels.insert("edition".into(), "third, with the missing chapter".into());
    lamp.copies_sold = 9_007_199_254_740_993; // one more than a JSON number can tell apart
    lamp.rating = 4.75;
    lamp.reading_time = Some(prost_types::Duration { seconds: 5 * 3600 + 20 * 60, nanos: 0 });
    let mut knots =
        book("Forty Knots for Idle Hands", "P. van der Zee", 1904, Genre::Manual, &["rope", "patience"]);
    knots.lent_to = Some(LentTo::Reader("the harbour master, again".into()));
    knots.copies_sold = 1_212;
    vec![
        ("forty-knots", knots),
        ("the-lamp", lamp),
        (
            "tide-tables",
            book("Tide Tables, with Remarks", "Anonymous", 1887, Genre::Poetry, &["moon", "mud"]),
        ),
    ]
}

fn kitchen() -> Vec<(&'static str, Book)> {
    let mut soup =
        book("Soup Is a Question", "Marguerite Oyelaran", 1998, Genre::Manual, &["soup", "philosophy"]);
    soup.rating = 4.5;
    soup.copies_sold = 48_000;
    soup.lent_to = Some(LentTo::ReadingRoom("the one that smells of onions".into()));
    vec![
        ("plums", book("Plums, and Other Currencies", "Teodor Blum", 1962, Genre::Novel, &["plums", "debt"])),
        ("soup", soup),
    ]
}

fn night_trains() -> Vec<(&'static str, Book)> {
    let mut upper = book("The Upper Berth", "Sunniva Brandt", 1977, Genre::Travel, &["trains", "strangers"]);
    upper.reading_time = Some(prost_types::Duration { seconds: 0, nanos: 500_000_000 });
    vec![
        (
            "change-at-crewe",
            book("Change at Crewe", "D. Pennington", 1954, Genre::Poetry, &["trains", "tea"]),
        ),
        ("upper-berth", upper),
    ]
}

fn weather() -> Vec<(&'static str, Book)> {
    vec![
        ("fog", book("Notes Toward a Theory of Fog", "Ada Lindqvist", 2011, Genre::Unspecified, &["fog"])),
        ("ploughing", book("When to Plough", "A farmer of Boeotia", -700, Genre::Manual, &["stars", "oxen"])),
    ]
}

fn book(title: &str, author: &str, year: i32, genre: Genre, tags: &[&str]) -> Book {
    Book {
        title: title.into(),
        author: author.into(),
        year,
        genre: genre.into(),
        tags: tags.iter().map(|&tag| tag.into()).collect(),
        ..Default::default()
    }
}
