//! Shelves and books in memory, under limits, and the events of what changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::broadcast;
use tonic::Status;

use crate::demo::fault;
use crate::demo::fault::Kind;
use crate::demo::mask;
use crate::demo::pb::Book;
use crate::demo::pb::Shelf;
use crate::demo::pb::shelf_event;
use crate::demo::seed;

/// The most shelves.
pub const SHELVES_MAX: usize = 100;
/// The most books, on all shelves together.
pub const BOOKS_MAX: usize = 2_000;
/// The longest book, in bytes of protobuf.
pub const BOOK_BYTES_MAX: usize = 16 << 10;
/// The longest title, author, theme, tag, and the like, in bytes.
pub const TEXT_BYTES_MAX: usize = 200;
/// The most tags of a book, and the most labels.
pub const TAGS_MAX: usize = 32;
/// The most callers that may watch at one time.
pub const WATCHERS_MAX: usize = 100;
/// How many events a watcher may fall behind before it is ended.
pub const EVENTS_BEHIND_MAX: usize = 256;

/// Everything the library keeps.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
    watchers: Arc<Semaphore>,
}

/// A change of one book.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) shelf: Arc<str>,
    pub(crate) kind: shelf_event::Kind,
    pub(crate) book: Arc<Book>,
}

/// The right to watch, and what there is to see; all books as they were when the watch began.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) present: Vec<Book>,
    pub(crate) events: broadcast::Receiver<Event>,
    /// Frees the place when the watch is dropped.
    pub(crate) _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct State {
    shelves: BTreeMap<String, Entry>,
    books: usize,
}

#[derive(Debug)]
struct Entry {
    theme: String,
    created: SystemTime,
    books: BTreeMap<String, Book>,
}

impl Store {
    /// A store with the books of [`seed`]. Fails where they don't keep the limits, which a test rules out.
    pub(crate) fn seeded() -> Result<Self, Status> {
        let store = Self {
            state: Mutex::default(),
            events: broadcast::channel(EVENTS_BEHIND_MAX).0,
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        };
        let opened = SystemTime::UNIX_EPOCH + seed::OPENED;
        for (shelf, theme, books) in seed::shelves() {
            store.create_shelf(shelf, theme, opened)?;
            for (book, record) in books {
                store.create_book(shelf, book, record, opened)?;
            }
        }
        Ok(store)
    }

    /// Up to `max` shelves whose last name part is after `after`.
    pub(crate) fn shelves(&self, after: &str, max: usize) -> Vec<Shelf> {
        let state = self.state();
        state
            .shelves
            .iter()
            .filter(|(name, _)| name.as_str() > after)
            .take(max)
            .map(|(n, e)| e.shelf(n))
            .collect()
    }

    pub(crate) fn shelf(&self, shelf: &str) -> Result<Shelf, Status> {
        Ok(self.state().entry(shelf)?.shelf(shelf))
    }

    pub(crate) fn create_shelf(&self, shelf: &str, theme: &str, now: SystemTime) -> Result<Shelf, Status> {
        if theme.is_empty() {
            return Err(fault::bad("shelf.theme", "say what the books have in common"));
        }
        short("shelf.theme", theme)?;
        let mut state = self.state();
        if state.shelves.contains_key(shelf) {
            return Err(fault::taken(Kind::Shelf, &format!("shelves/{shelf}")));
        }
        if state.shelves.len() >= SHELVES_MAX {
            return Err(fault::full("shelves", SHELVES_MAX));
        }
        let entry = Entry { theme: theme.to_owned(), created: now, books: BTreeMap::new() };
        let made = entry.shelf(shelf);
        state.shelves.insert(shelf.to_owned(), entry);
        Ok(made)
    }

    /// Up to `max` books of a shelf whose last name part is after `after` and that `fits` accepts.
    pub(crate) fn books(
        &self,
        shelf: &str,
        after: &str,
        max: usize,
        fits: impl Fn(&Book) -> bool,
    ) -> Result<Vec<Book>, Status> {
        let state = self.state();
        let books = state.entry(shelf)?.books.iter();
        Ok(books
            .filter(|(id, book)| id.as_str() > after && fits(book))
            .take(max)
            .map(|(_, b)| b.clone())
            .collect())
    }

    pub(crate) fn book(&self, shelf: &str, book: &str) -> Result<Book, Status> {
        self.state().entry(shelf)?.books.get(book).cloned().ok_or_else(|| missing_book(shelf, book))
    }

    pub(crate) fn create_book(
        &self,
        shelf: &str,
        id: &str,
        book: Book,
        now: SystemTime,
    ) -> Result<Book, Status> {
        let name = format!("shelves/{shelf}/books/{id}");
        let stamp = Some(now.into());
        let book = Book { name, create_time: stamp, update_time: stamp, ..book };
        check(&book)?;
        let mut state = self.state();
        if state.entry(shelf)?.books.contains_key(id) {
            return Err(fault::taken(Kind::Book, &book.name));
        }
        if state.books >= BOOKS_MAX {
            return Err(fault::full("books", BOOKS_MAX));
        }
        state.entry_mut(shelf)?.books.insert(id.to_owned(), book.clone());
        state.books += 1;
        self.tell(shelf, shelf_event::Kind::Added, &book);
        Ok(book)
    }

    /// Changes what `paths` names (see [`mask::apply`]) to what it is in `change`.
    pub(crate) fn update_book(
        &self,
        (shelf, id): (&str, &str),
        change: &Book,
        paths: Option<&[String]>,
        now: SystemTime,
    ) -> Result<Book, Status> {
        let mut state = self.state();
        let place = state.entry_mut(shelf)?.books.get_mut(id).ok_or_else(|| missing_book(shelf, id))?;
        let mut next = place.clone();
        mask::apply(paths, change, &mut next)?;
        next.update_time = Some(now.into());
        check(&next)?;
        place.clone_from(&next);
        self.tell(shelf, shelf_event::Kind::Changed, &next);
        Ok(next)
    }

    pub(crate) fn delete_book(&self, shelf: &str, id: &str) -> Result<(), Status> {
        let mut state = self.state();
        let book = state.entry_mut(shelf)?.books.remove(id).ok_or_else(|| missing_book(shelf, id))?;
        state.books -= 1;
        self.tell(shelf, shelf_event::Kind::Removed, &book);
        Ok(())
    }

    /// Begins to watch a shelf: no change falls between `present` and the first event.
    pub(crate) fn watch(&self, shelf: &str) -> Result<Watch, Status> {
        let permit = Arc::clone(&self.watchers).try_acquire_owned();
        let permit = permit.map_err(|_| fault::full("watchers", WATCHERS_MAX))?;
        let state = self.state();
        let present = state.entry(shelf)?.books.values().cloned().collect();
        Ok(Watch { present, events: self.events.subscribe(), _permit: permit })
    }

    /// Called with the state locked, so that events have the order of the changes.
    fn tell(&self, shelf: &str, kind: shelf_event::Kind, book: &Book) {
        // An error says that nobody watches.
        let _ = self.events.send(Event { shelf: shelf.into(), kind, book: Arc::new(book.clone()) });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn entry(&self, shelf: &str) -> Result<&Entry, Status> {
        self.shelves.get(shelf).ok_or_else(|| fault::missing(Kind::Shelf, &format!("shelves/{shelf}")))
    }

    fn entry_mut(&mut self, shelf: &str) -> Result<&mut Entry, Status> {
        self.shelves.get_mut(shelf).ok_or_else(|| fault::missing(Kind::Shelf, &format!("shelves/{shelf}")))
    }
}

impl Entry {
    fn shelf(&self, shelf: &str) -> Shelf {
        Shelf {
            name: format!("shelves/{shelf}"),
            theme: self.theme.clone(),
            book_count: i32::try_from(self.books.len()).unwrap_or(i32::MAX),
            create_time: Some(self.created.into()),
        }
    }
}

fn missing_book(shelf: &str, book: &str) -> Status {
    fault::missing(Kind::Book, &format!("shelves/{shelf}/books/{book}"))
}

fn check(book: &Book) -> Result<(), Status> {
    if book.title.is_empty() {
        return Err(fault::bad("book.title", "give the book a title"));
    }
    short("book.title", &book.title)?;
    short("book.author", &book.author)?;
    short("book.subtitle", book.subtitle())?;
    if book.tags.len() > TAGS_MAX || book.labels.len() > TAGS_MAX {
        return Err(fault::bad("book", &format!("give it at most {TAGS_MAX} tags and as many labels")));
    }
    book.tags.iter().try_for_each(|tag| short("book.tags", tag))?;
    if !(0.0..=5.0).contains(&book.rating) {
        return Err(fault::bad("book.rating", "write a number from 0 to 5"));
    }
    if book.encoded_len() > BOOK_BYTES_MAX {
        return Err(fault::bad("book", &format!("keep it under {BOOK_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn short(field: &str, text: &str) -> Result<(), Status> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(fault::bad(field, &format!("write at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;
    use tonic_types::StatusExt;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn titled(title: &str) -> Book {
        Book { title: title.into(), ..Default::default() }
    }

    #[test]
    fn the_seed_keeps_the_limits_and_has_books() {
        let store = Store::seeded().unwrap();
        assert!(store.shelves("", SHELVES_MAX).len() >= 3);
        assert!(store.shelves("", SHELVES_MAX).iter().all(|shelf| shelf.book_count > 0));
    }

    #[test]
    fn missing_things_say_what_is_missing() {
        let store = Store::seeded().unwrap();
        let status = store.book("harbour", "nope").unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "BOOK_NOT_FOUND");
        assert_eq!(details.resource_info().unwrap().resource_name, "shelves/harbour/books/nope");
        assert_eq!(
            store.shelf("nope").unwrap_err().get_error_details().error_info().unwrap().reason,
            "SHELF_NOT_FOUND"
        );
        assert_eq!(store.delete_book("harbour", "nope").unwrap_err().code(), Code::NotFound);
        assert_eq!(store.watch("nope").unwrap_err().code(), Code::NotFound);
    }

    #[test]
    fn shelves_books_and_watchers_are_bounded() {
        let store = Store::seeded().unwrap();
        let shelves = store.shelves("", SHELVES_MAX).len();
        for n in shelves..SHELVES_MAX {
            store.create_shelf(&format!("s{n}"), "more", NOW).unwrap();
        }
        assert_eq!(store.create_shelf("over", "more", NOW).unwrap_err().code(), Code::ResourceExhausted);
        let mut added = 0;
        let refused = loop {
            match store.create_book("harbour", &format!("b{added}"), titled("more"), NOW) {
                Ok(_) => added += 1,
                Err(status) => break status,
            }
        };
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(added < BOOKS_MAX);
        store.delete_book("harbour", "b0").unwrap();
        store.create_book("harbour", "b0", titled("again"), NOW).unwrap();

        let mut watches: Vec<_> = (0..WATCHERS_MAX).map(|_| store.watch("harbour").unwrap()).collect();
        assert_eq!(store.watch("harbour").unwrap_err().code(), Code::ResourceExhausted);
        watches.pop();
        store.watch("harbour").unwrap();
    }

    #[test]
    fn oversize_books_are_refused() {
        let store = Store::seeded().unwrap();
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let labels = |n: usize| (0..n).map(|i| (format!("k{i}"), "v".repeat(1000))).collect();
        for book in [
            titled(""),
            titled(&long),
            Book { author: long.clone(), ..titled("t") },
            Book { tags: vec![String::new(); TAGS_MAX + 1], ..titled("t") },
            Book { labels: labels(TAGS_MAX), ..titled("t") },
            Book { rating: f64::NAN, ..titled("t") },
        ] {
            let status = store.create_book("harbour", "big", book, NOW).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(!status.get_error_details().bad_request().unwrap().field_violations.is_empty());
        }
    }

    #[test]
    fn watchers_see_changes_in_order() {
        let store = Store::seeded().unwrap();
        let mut watch = store.watch("harbour").unwrap();
        assert!(!watch.present.is_empty());
        store.create_book("harbour", "new", titled("New"), NOW).unwrap();
        let newer = titled("Newer");
        store.update_book(("harbour", "new"), &newer, Some(&["title".into()]), NOW).unwrap();
        store.delete_book("harbour", "new").unwrap();
        let seen: Vec<_> = std::iter::from_fn(|| watch.events.try_recv().ok())
            .map(|e| (e.kind, e.book.title.clone()))
            .collect();
        let want = [
            (shelf_event::Kind::Added, "New".to_owned()),
            (shelf_event::Kind::Changed, "Newer".to_owned()),
            (shelf_event::Kind::Removed, "Newer".to_owned()),
        ];
        assert_eq!(seen, want);
    }

    #[test]
    fn a_failed_update_changes_nothing() {
        let store = Store::seeded().unwrap();
        store.create_book("harbour", "new", titled("New"), NOW).unwrap();
        let bad = Book { rating: 9.0, title: "Other".into(), ..Default::default() };
        assert!(store.update_book(("harbour", "new"), &bad, None, NOW).is_err());
        assert_eq!(store.book("harbour", "new").unwrap().title, "New");
    }
}
