//! The sample backend of `transom demo`: a lending library in memory, served by tonic on a socket of its own.
//!
//! It is an ordinary gRPC server that knows nothing of the gateway, with reflection (v1 and v1alpha)
//! and health, and it is bounded: see the limits in [`store`] and [`MESSAGE_BYTES_MAX`].

mod cover;
mod deadline;
mod fault;
mod inspect;
mod layer;
mod mask;
mod names;
mod seed;
mod service;
mod streams;

pub mod hints;
pub mod page;
pub mod store;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;

use crate::demo::layer::Watched;
use crate::demo::pb::library_server::LibraryServer;
use crate::demo::service::Desk;
use crate::demo::store::Store;

pub use crate::demo::generated::transom::demo::v1 as pb;

#[expect(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/demo/mod.rs"));
}

/// The library's files and their imports: a serialized `google.protobuf.FileDescriptorSet` with comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo.binpb"));
/// The longest message that is taken or sent, in bytes, before compression.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// How long calls may go on after `shutdown`; then they are left behind.
pub const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Serves the library, reflection and health over HTTP/2 without TLS until `shutdown` is ready, and then
/// until the last call has ended or [`DRAIN_MAX`] has passed. Watchers of shelves and of health are ended
/// at once. Fails where the descriptors or the listener can't be used.
pub async fn serve(
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let closing = CancellationToken::new();
    let desk = Desk::new(Arc::new(Store::seeded()?), closing.clone());
    let library = LibraryServer::new(desk)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let (mut reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<LibraryServer<Desk>>().await;

    let served = Server::builder()
        .max_concurrent_streams(1000)
        .http2_max_header_list_size(64 << 10)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .layer(tower::layer::layer_fn(Watched::new))
        .add_service(library)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            closing.clone().cancelled_owned(),
        );
    let drained = async {
        shutdown.await;
        for service in ["", <LibraryServer<Desk> as tonic::server::NamedService>::NAME] {
            reporter.set_service_status(service, ServingStatus::NotServing).await;
            reporter.clear_service_status(service).await; // ends the streams of Health.Watch
        }
        closing.cancel();
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        served = served => Ok(served?),
        () = drained => Ok(()),
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::pb::library_client::LibraryClient;
    use tokio::sync::oneshot;
    use tokio::task::JoinSet;
    use tokio_stream::StreamExt;
    use tonic::Code;
    use tonic::Request;
    use tonic::transport::Channel;
    use tonic_types::StatusExt;

    /// A running library; dropping `close` shuts it down.
    struct Library {
        client: LibraryClient<Channel>,
        channel: Channel,
        close: oneshot::Sender<()>,
        tasks: JoinSet<()>,
    }

    async fn open() -> Library {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let (close, closed) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serve(listener, async { drop(closed.await) }).await.unwrap() });
        let channel = Channel::from_shared(uri).unwrap().connect().await.unwrap();
        Library { client: LibraryClient::new(channel.clone()), channel, close, tasks }
    }

    fn named(name: &str) -> pb::GetBookRequest {
        pb::GetBookRequest { name: name.into() }
    }

    #[tokio::test]
    async fn calls_carry_metadata_and_details() {
        let mut library = open().await;
        let mut request = Request::new(pb::InspectRequest { text: "hello".into(), ..Default::default() });
        for value in ["1", "2"] {
            request.metadata_mut().append("x-echo-n", value.parse().unwrap());
        }
        request
            .metadata_mut()
            .append_bin("x-trail-bin", tonic::metadata::MetadataValue::from_bytes(b"\0\xff"));
        request.set_timeout(Duration::from_secs(30));
        let reply = library.client.inspect(request).await.unwrap();
        assert_eq!(reply.metadata().get_all("x-echo-n").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(reply.metadata().get("x-library").unwrap(), "open");
        assert_eq!(reply.metadata().get_bin("x-trail-bin").unwrap().to_bytes().unwrap(), &b"\0\xff"[..]);
        let reply = reply.into_inner();
        assert!((29_000..=30_000).contains(&reply.deadline_ms.unwrap()));
        assert_eq!(
            (reply.running, reply.text.as_str(), reply.path.as_str()),
            (1, "hello", "/transom.demo.v1.Library/Inspect")
        );
        assert!(!reply.peer.is_empty() && reply.local == reply.authority);

        let status = library.client.get_book(named("shelves/harbour/books/nope")).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(
            status.get_error_details().resource_info().unwrap().resource_name,
            "shelves/harbour/books/nope"
        );
        assert_eq!(status.metadata().get("x-library-trailer").unwrap(), "mind the step");
    }

    #[tokio::test]
    async fn every_kind_of_call_works() {
        let mut library = open().await;
        let lamp = "shelves/harbour/books/the-lamp".to_owned();
        assert_eq!(library.client.get_book(named(&lamp)).await.unwrap().into_inner().author, "Ines Halloran");

        let read = pb::ReadBookRequest { name: lamp.clone(), ..Default::default() };
        let mut pages = library.client.read_book(read).await.unwrap().into_inner();
        let mut numbers = Vec::new();
        while let Some(page) = pages.message().await.unwrap() {
            numbers.push(page.number);
        }
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
        assert_eq!(
            pages.trailers().await.unwrap().unwrap().get("x-library-trailer").unwrap(),
            "mind the step"
        );

        let titled = |title: &str| pb::Book { title: title.into(), ..Default::default() };
        let import = |title: &str| pb::ImportBooksRequest {
            parent: "shelves/weather".into(),
            book: Some(titled(title)),
        };
        let books = tokio_stream::iter(vec![import("Sleet"), import("Hail"), import("Sleet"), import("")]);
        let done = library.client.import_books(books).await.unwrap().into_inner();
        assert_eq!((done.imported, done.rejected, done.problems.len()), (2, 2, 2));

        let remark = |id: &str, times| pb::Remark { id: id.into(), text: "so?".into(), times, fail_with: 0 };
        let remarks = tokio_stream::iter(vec![
            remark("a", 2),
            remark("b", 0),
            pb::Remark { fail_with: 10, ..remark("c", 0) },
        ]);
        let answers = library.client.discuss(remarks).await.unwrap().into_inner();
        let answers: Vec<_> =
            answers.map(|a| a.map(|a| (a.id, a.number)).map_err(|s| s.code())).collect().await;
        let answer = |id: &str, number| Ok((id.to_owned(), number));
        assert_eq!(answers, [answer("a", 1), answer("a", 2), answer("b", 3), Err(Code::Aborted)]);

        let file =
            library.client.download_book(pb::DownloadBookRequest { name: lamp.clone() }).await.unwrap();
        let pieces: Vec<_> = file.into_inner().collect::<Result<Vec<_>, _>>().await.unwrap();
        assert_eq!((pieces.len(), pieces[0].content_type.as_str()), (13, "text/plain; charset=utf-8"));
        let cover = library.client.get_cover(pb::GetCoverRequest { name: lamp }).await.unwrap().into_inner();
        assert!(cover.data.starts_with(b"<svg "));
    }

    #[tokio::test]
    async fn lists_come_in_pages() {
        let mut library = open().await;
        let (mut names, mut page_token) = (Vec::new(), String::new());
        loop {
            let asked = pb::ListShelvesRequest { page_size: 3, page_token };
            let page = library.client.list_shelves(asked).await.unwrap().into_inner();
            names.extend(page.shelves.into_iter().map(|shelf| shelf.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, ["shelves/harbour", "shelves/kitchen", "shelves/night-trains", "shelves/weather"]);
        let genres = vec![pb::Genre::Poetry.into()];
        let asked = pb::ListBooksRequest { parent: "shelves/harbour".into(), genres, ..Default::default() };
        let page = library.client.list_books(asked).await.unwrap().into_inner();
        assert_eq!(
            page.books.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(),
            ["shelves/harbour/books/tide-tables"]
        );
    }

    #[tokio::test]
    async fn shutting_down_ends_watchers_and_the_server() {
        let mut library = open().await;
        let asked =
            pb::WatchShelfRequest { name: "shelves/harbour".into(), include_present: true, events: 0 };
        let mut events = library.client.watch_shelf(asked).await.unwrap().into_inner();
        let mut health = tonic_health::pb::health_client::HealthClient::new(library.channel.clone());
        let mut states =
            health.watch(tonic_health::pb::HealthCheckRequest::default()).await.unwrap().into_inner();
        assert!(states.message().await.unwrap().is_some());
        for number in 1..=3 {
            assert_eq!(events.message().await.unwrap().unwrap().number, number);
        }
        drop(library.close);
        assert_eq!(events.message().await.unwrap_err().code(), Code::Unavailable);
        while states.message().await.unwrap().is_some() {}
        library.tasks.join_next().await.unwrap().unwrap(); // the connection still stands; the server ends anyway
    }

    #[tokio::test]
    async fn a_cancelled_call_is_counted() {
        let mut library = open().await;
        let name = "shelves/harbour/books/the-lamp".to_owned();
        let read = pb::ReadBookRequest {
            name,
            pause: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..Default::default()
        };
        let mut pages = library.client.read_book(read).await.unwrap().into_inner();
        assert!(pages.message().await.unwrap().is_some());
        drop(pages);
        loop {
            let seen = library.client.inspect(pb::InspectRequest::default()).await.unwrap().into_inner();
            if (seen.running, seen.cancelled) == (1, 1) {
                break;
            }
        }
    }
}
