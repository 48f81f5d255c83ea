//! The library's streams: reading aloud, watching, talking, downloading.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::Streaming;

use crate::demo::fault;
use crate::demo::generated::google::api::HttpBody;
use crate::demo::pb::Answer;
use crate::demo::pb::Book;
use crate::demo::pb::Page;
use crate::demo::pb::Remark;
use crate::demo::pb::ShelfEvent;
use crate::demo::pb::shelf_event;
use crate::demo::seed;
use crate::demo::store::Event;
use crate::demo::store::Watch;

/// Replies of a streaming method.
pub(crate) type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The most pages of one reading.
pub(crate) const PAGES_MAX: i32 = 1_000_000;
/// The longest page, in bytes.
pub(crate) const PAGE_BYTES_MAX: usize = 1 << 20;
const ANSWERS_MAX: i32 = 1_000;

/// Pages 1 to `pages`, with a pause after each but the last.
pub(crate) fn read(book: Book, pages: i32, pause: Option<Duration>, bytes: usize) -> Replies<Page> {
    let next = move |number: i32| {
        let text = page_text(&book.title, number, bytes);
        async move {
            if pages < number {
                return None;
            }
            if let Some(pause) = pause.filter(|_| 1 < number) {
                tokio::time::sleep(pause).await;
            }
            Some((Ok(Page { number, text }), number + 1))
        }
    };
    Box::pin(stream::unfold(1, next))
}

fn page_text(title: &str, number: i32, bytes: usize) -> String {
    let line = seed::PAGES[usize::try_from(number - 1).unwrap_or(0) % seed::PAGES.len()];
    if bytes == 0 {
        return format!("{title}, page {number}. {line}");
    }
    line.bytes().cycle().take(bytes).map(char::from).collect() // the lines are ASCII
}

/// A watch being told.
struct Telling {
    watch: Watch,
    shelf: String,
    closing: CancellationToken,
    present: std::vec::IntoIter<Book>,
    number: i64,
    /// 0: without end.
    events_max: i64,
    over: bool,
}

/// Tells the events of a shelf, after those books that are there if `present`; `events_max` of 0 is no end.
pub(crate) fn watch(
    shelf: &str,
    mut watch: Watch,
    present: bool,
    events_max: i32,
    closing: CancellationToken,
) -> Replies<ShelfEvent> {
    let there = std::mem::take(&mut watch.present);
    let telling = Telling {
        watch,
        shelf: shelf.to_owned(),
        closing,
        present: if present { there } else { Vec::new() }.into_iter(),
        number: 0,
        events_max: events_max.into(),
        over: false,
    };
    Box::pin(stream::unfold(telling, |mut telling| async move {
        let told = telling.next().await?;
        telling.over = told.is_err();
        Some((told, telling))
    }))
}

impl Telling {
    async fn next(&mut self) -> Option<Result<ShelfEvent, Status>> {
        if self.over || (0 < self.events_max && self.events_max <= self.number) {
            return None;
        }
        if let Some(book) = self.present.next() {
            return Some(Ok(self.numbered(shelf_event::Kind::Present, book)));
        }
        let event = tokio::select! {
            event = event_of(&mut self.watch, &self.shelf) => event,
            () = self.closing.cancelled() => Err(Status::unavailable("the library is closing: watch again")),
        };
        Some(event.map(|event| self.numbered(event.kind, (*event.book).clone())))
    }

    fn numbered(&mut self, kind: shelf_event::Kind, book: Book) -> ShelfEvent {
        self.number += 1;
        ShelfEvent { number: self.number, kind: kind.into(), book: Some(book) }
    }
}

async fn event_of(watch: &mut Watch, shelf: &str) -> Result<Event, Status> {
    loop {
        match watch.events.recv().await {
            Ok(event) if *event.shelf == *shelf => return Ok(event),
            Ok(_) => (),
            Err(RecvError::Lagged(missed)) => {
                return Err(Status::data_loss(format!(
                    "{missed} events were missed: read faster, and watch again"
                )));
            }
            Err(RecvError::Closed) => return Err(Status::unavailable("the library is closing: watch again")),
        }
    }
}

/// A discussion: the remark that is being answered, and how many of its answers are still to come.
struct Discussion {
    remarks: Streaming<Remark>,
    answering: Option<(Remark, i32)>,
    number: i64,
    over: bool,
}

/// Answers remarks as they come.
pub(crate) fn discuss(remarks: Streaming<Remark>) -> Replies<Answer> {
    let discussion = Discussion { remarks, answering: None, number: 0, over: false };
    Box::pin(stream::unfold(discussion, |mut discussion| async move {
        let answer = discussion.next().await?;
        discussion.over = answer.is_err();
        Some((answer, discussion))
    }))
}

impl Discussion {
    async fn next(&mut self) -> Option<Result<Answer, Status>> {
        if self.over {
            return None;
        }
        let (remark, left) = match self.answering.take() {
            Some(answering) => answering,
            None => match self.remarks.next().await?.and_then(wanted_answers) {
                Ok(asked) => asked,
                Err(status) => return Some(Err(status)),
            },
        };
        self.number += 1;
        let answer = Answer { id: remark.id.clone(), text: answer_to(&remark.text), number: self.number };
        self.answering = (1 < left).then_some((remark, left - 1));
        Some(Ok(answer))
    }
}

fn wanted_answers(remark: Remark) -> Result<(Remark, i32), Status> {
    if let Some(status) = fault::wanted("fail_with", remark.fail_with, &remark.text) {
        return Err(status);
    }
    match remark.times {
        0 => Ok((remark, 1)),
        times @ 1..=ANSWERS_MAX => Ok((remark, times)),
        _ => Err(fault::bad("times", "write 0 to 1000")),
    }
}

fn answer_to(text: &str) -> String {
    if text.trim_end().ends_with('?') { format!("Who can say? {text}") } else { format!("Indeed: {text}") }
}

/// The whole text of a book as one file, in pieces of a page.
pub(crate) fn download(book: &Book) -> Replies<HttpBody> {
    let head = format!("{}\n{}\n\n", book.title, book.author);
    let pages = (1..).zip(seed::PAGES).map(|(number, line)| format!("{number:>2}  {line}\n"));
    let pieces: Vec<_> = std::iter::once(head).chain(pages).collect();
    let body = |piece: String| HttpBody {
        content_type: "text/plain; charset=utf-8".into(),
        data: piece.into_bytes(),
        extensions: Vec::new(),
    };
    Box::pin(stream::iter(pieces).map(move |piece| Ok(body(piece))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_line_is_ascii() {
        assert!(seed::PAGES.iter().all(|line| line.is_ascii()));
        assert_eq!(page_text("T", 1, 1000).len(), 1000);
        assert_eq!(page_text("T", 13, 0), format!("T, page 13. {}", seed::PAGES[0]));
    }

    #[tokio::test]
    async fn a_reading_pauses_between_pages_and_ends() {
        let started = tokio::time::Instant::now();
        let pages: Vec<_> = read(Book::default(), 3, Some(Duration::from_millis(10)), 4).collect().await;
        let numbers: Vec<_> = pages.into_iter().map(|page| page.unwrap().number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert!(started.elapsed() >= Duration::from_millis(20)); // two pauses for three pages
    }

    #[test]
    fn remarks_ask_for_a_bounded_number_of_answers() {
        let of = |times| wanted_answers(Remark { times, ..Default::default() });
        assert_eq!(of(0).unwrap().1, 1);
        assert_eq!(of(1000).unwrap().1, 1000);
        assert!(of(1001).is_err());
        assert!(of(-1).is_err());
    }
}
