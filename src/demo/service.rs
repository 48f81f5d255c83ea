//! The desk: answers each method of the library from its store.

use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;

use crate::demo::cover;
use crate::demo::fault;
use crate::demo::generated::google::api::HttpBody;
use crate::demo::inspect;
use crate::demo::names;
use crate::demo::pb;
use crate::demo::pb::library_server::Library;
use crate::demo::seed;
use crate::demo::store::Store;
use crate::demo::streams;
use crate::demo::streams::Replies;

/// The library's service.
pub(crate) struct Desk {
    store: Arc<Store>,
    closing: CancellationToken,
}

const PAGE_SIZE: usize = 50;
const PAGE_SIZE_MAX: usize = 100;
const PROBLEMS_TOLD_MAX: usize = 10;

impl Desk {
    /// `closing` ends the watchers.
    pub(crate) fn new(store: Arc<Store>, closing: CancellationToken) -> Self {
        Self { store, closing }
    }

    fn import(&self, request: pb::ImportBooksRequest) -> Result<(), Status> {
        let shelf = names::shelf("parent", &request.parent)?;
        let book = request.book.ok_or_else(|| fault::bad("book", "send the book to shelve"))?;
        let id = names::book_id("", &book.title)?;
        self.store.create_book(shelf, &id, book, SystemTime::now()).map(drop)
    }
}

#[tonic::async_trait]
impl Library for Desk {
    type ReadBookStream = Replies<pb::Page>;
    type WatchShelfStream = Replies<pb::ShelfEvent>;
    type DiscussStream = Replies<pb::Answer>;
    type DownloadBookStream = Replies<HttpBody>;

    async fn list_shelves(
        &self,
        request: Request<pb::ListShelvesRequest>,
    ) -> Result<Response<pb::ListShelvesResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let mut shelves = self.store.shelves(&request.page_token, size + 1);
        let next_page_token = cut(&mut shelves, size, |shelf| &shelf.name);
        Ok(Response::new(pb::ListShelvesResponse { shelves, next_page_token }))
    }

    async fn get_shelf(&self, request: Request<pb::GetShelfRequest>) -> Result<Response<pb::Shelf>, Status> {
        let shelf = names::shelf("name", &request.get_ref().name)?;
        self.store.shelf(shelf).map(Response::new)
    }

    async fn create_shelf(
        &self,
        request: Request<pb::CreateShelfRequest>,
    ) -> Result<Response<pb::Shelf>, Status> {
        let shelf =
            request.into_inner().shelf.ok_or_else(|| fault::bad("shelf", "send the shelf to put up"))?;
        let name = names::shelf("shelf.name", &shelf.name)?;
        self.store.create_shelf(name, &shelf.theme, SystemTime::now()).map(Response::new)
    }

    async fn list_books(
        &self,
        request: Request<pb::ListBooksRequest>,
    ) -> Result<Response<pb::ListBooksResponse>, Status> {
        let request = request.into_inner();
        let shelf = names::shelf("parent", &request.parent)?;
        let size = page_size(request.page_size)?;
        let fits = |book: &pb::Book| {
            (request.author.is_empty() || book.author == request.author)
                && (request.genres.is_empty() || request.genres.contains(&book.genre))
                && request.tags.iter().all(|tag| book.tags.contains(tag))
        };
        let mut books = self.store.books(shelf, &request.page_token, size + 1, fits)?;
        let next_page_token = cut(&mut books, size, |book| &book.name);
        Ok(Response::new(pb::ListBooksResponse { books, next_page_token }))
    }

    async fn get_book(&self, request: Request<pb::GetBookRequest>) -> Result<Response<pb::Book>, Status> {
        let (shelf, book) = names::book("name", &request.get_ref().name)?;
        self.store.book(shelf, book).map(Response::new)
    }

    async fn create_book(
        &self,
        request: Request<pb::CreateBookRequest>,
    ) -> Result<Response<pb::Book>, Status> {
        let request = request.into_inner();
        let shelf = names::shelf("parent", &request.parent)?;
        let book = request.book.ok_or_else(|| fault::bad("book", "send the book to add"))?;
        let id = names::book_id(&request.book_id, &book.title)?;
        self.store.create_book(shelf, &id, book, SystemTime::now()).map(Response::new)
    }

    async fn update_book(
        &self,
        request: Request<pb::UpdateBookRequest>,
    ) -> Result<Response<pb::Book>, Status> {
        let request = request.into_inner();
        let change = request.book.ok_or_else(|| fault::bad("book", "send the book with its new values"))?;
        let place = names::book("book.name", &change.name)?;
        let paths = request.update_mask.as_ref().map(|mask| mask.paths.as_slice());
        self.store.update_book(place, &change, paths, SystemTime::now()).map(Response::new)
    }

    async fn delete_book(&self, request: Request<pb::DeleteBookRequest>) -> Result<Response<()>, Status> {
        let (shelf, book) = names::book("name", &request.get_ref().name)?;
        self.store.delete_book(shelf, book).map(Response::new)
    }

    async fn read_book(
        &self,
        request: Request<pb::ReadBookRequest>,
    ) -> Result<Response<Self::ReadBookStream>, Status> {
        let request = request.into_inner();
        let (shelf, book) = names::book("name", &request.name)?;
        let book = self.store.book(shelf, book)?;
        let pages = match request.pages {
            0 => i32::try_from(seed::PAGES.len()).unwrap_or(i32::MAX),
            pages @ 1..=streams::PAGES_MAX => pages,
            _ => return Err(fault::bad("pages", "write 0 to 1000000")),
        };
        let bytes =
            usize::try_from(request.page_bytes).ok().filter(|&bytes| bytes <= streams::PAGE_BYTES_MAX);
        let bytes = bytes.ok_or_else(|| fault::bad("page_bytes", "write 0 to 1048576"))?;
        let pause = inspect::pause("pause", request.pause.as_ref())?;
        Ok(Response::new(streams::read(book, pages, pause, bytes)))
    }

    async fn watch_shelf(
        &self,
        request: Request<pb::WatchShelfRequest>,
    ) -> Result<Response<Self::WatchShelfStream>, Status> {
        let request = request.into_inner();
        let shelf = names::shelf("name", &request.name)?;
        if request.events < 0 {
            return Err(fault::bad("events", "write 0 for no end, or how many events"));
        }
        let watch = self.store.watch(shelf)?;
        let closing = self.closing.clone();
        Ok(Response::new(streams::watch(shelf, watch, request.include_present, request.events, closing)))
    }

    async fn import_books(
        &self,
        request: Request<Streaming<pb::ImportBooksRequest>>,
    ) -> Result<Response<pb::ImportBooksResponse>, Status> {
        let mut books = request.into_inner();
        let mut reply = pb::ImportBooksResponse::default();
        while let Some(book) = books.message().await? {
            match self.import(book) {
                Ok(()) => reply.imported = reply.imported.saturating_add(1),
                Err(status) => {
                    reply.rejected = reply.rejected.saturating_add(1);
                    if reply.problems.len() < PROBLEMS_TOLD_MAX {
                        reply.problems.push(status.message().to_owned());
                    }
                }
            }
        }
        Ok(Response::new(reply))
    }

    async fn discuss(
        &self,
        request: Request<Streaming<pb::Remark>>,
    ) -> Result<Response<Self::DiscussStream>, Status> {
        Ok(Response::new(streams::discuss(request.into_inner())))
    }

    async fn download_book(
        &self,
        request: Request<pb::DownloadBookRequest>,
    ) -> Result<Response<Self::DownloadBookStream>, Status> {
        let (shelf, book) = names::book("name", &request.get_ref().name)?;
        Ok(Response::new(streams::download(&self.store.book(shelf, book)?)))
    }

    async fn get_cover(&self, request: Request<pb::GetCoverRequest>) -> Result<Response<HttpBody>, Status> {
        let (shelf, book) = names::book("name", &request.get_ref().name)?;
        let data = cover::svg(&self.store.book(shelf, book)?).into_bytes();
        Ok(Response::new(HttpBody { content_type: "image/svg+xml".into(), data, extensions: Vec::new() }))
    }

    async fn inspect(
        &self,
        request: Request<pb::InspectRequest>,
    ) -> Result<Response<pb::InspectResponse>, Status> {
        inspect::inspect(request).await
    }
}

fn page_size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_SIZE),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
        Err(_) => Err(fault::bad("page_size", "write 1 to 100, or 0 for the default")),
    }
}

/// Cuts a list to its page, and returns the token of the next one: the last part of the last name.
fn cut<T>(list: &mut Vec<T>, size: usize, name: impl Fn(&T) -> &String) -> String {
    if list.len() <= size {
        return String::new();
    }
    list.truncate(size);
    let last = list.last().and_then(|last| name(last).rsplit('/').next().map(str::to_owned));
    last.unwrap_or_default()
}
