//! What all services of the Admin API share: the process, who asks, and the pages of lists.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::Semaphore;
use tonic::Code;
use tonic::Request;
use tonic::Status;

use crate::admin::access::Current;
use crate::admin::audit::Asker;
use crate::admin::faults;
use crate::admin::faults::Reason;
use crate::admin::plane::Plane;
use crate::admin::plane::Refused;
pub(super) use crate::snapshot::LIVE;
use crate::store::Store;

/// The services' common ground.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) plane: Arc<dyn Plane>,
    pub(super) access: Arc<Current>,
    /// Compilations under way: each may take a core.
    pub(super) compiling: Arc<Semaphore>,
    /// Versions of the store that are read, and for that compiled.
    pub(super) reading: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn new(plane: Arc<dyn Plane>, access: Arc<Current>) -> Self {
        let places = || Arc::new(Semaphore::new(COMPILING_MAX));
        Self { plane, access, compiling: places(), reading: places() }
    }

    /// Who sent a request.
    pub(super) fn asker<T>(&self, request: &Request<T>) -> Result<Asker, Status> {
        let headers = request.metadata().clone().into_headers();
        let told = self.access.load().told(&headers);
        // The gate told who it is; a token that was taken away meanwhile is nobody's any more.
        let actor = told.ok_or_else(|| {
            faults::status(Code::Unauthenticated, Reason::CredentialInvalid, "the token is no longer taken")
        })?;
        let peer = headers.get("x-forwarded-for").and_then(|peer| peer.to_str().ok()).unwrap_or_default();
        Ok(Asker { actor, peer: peer.to_owned(), now_ms: now_ms() })
    }

    /// Where resources live.
    pub(super) fn store(&self) -> Result<Arc<dyn Store>, Status> {
        self.plane.store().ok_or_else(|| {
            let told = "this gateway has no store: write `store: { embedded: { path: data/transom.redb } }` in its \
                        configuration and start it again";
            faults::status(Code::FailedPrecondition, Reason::NoStore, told)
        })
    }

    /// Runs what blocks beside the runtime.
    pub(super) async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Status> {
        let desk = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&desk).map_err(faults::of_refused)).await;
        done.unwrap_or_else(|_| {
            Err(faults::status(Code::Internal, Reason::Internal, "the gateway failed: this is logged"))
        })
    }

    /// Compiles an upload beside the runtime, one of few, and waits no longer than [`COMPILE_TIME_MAX`]. One that
    /// takes longer keeps its place until it ends, so that they don't pile up. It changes nothing.
    pub(super) async fn compile<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Status> {
        self.within(&self.compiling, work).await
    }

    /// Reads a version of the store, as [`Desk::compile`] does it, without taking a place from uploads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Status> {
        self.within(&self.reading, work).await
    }

    async fn within<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        work: impl FnOnce(&Self) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Status> {
        let busy = || {
            let told = "others are being compiled: try again in a moment";
            faults::status(Code::Unavailable, Reason::Overloaded, told)
        };
        let waiting = tokio::time::timeout(COMPILE_WAIT_MAX, places.clone().acquire_owned());
        let place = waiting.await.map_err(|_| busy())?.map_err(|_| busy())?;
        let work = self.beside(move |desk| {
            let _place = place;
            work(desk)
        });
        tokio::time::timeout(COMPILE_TIME_MAX, work).await.unwrap_or_else(|_| {
            let told =
                format!("compiling it took more than {COMPILE_TIME_MAX:?}: upload it as several modules");
            Err(faults::status(Code::DeadlineExceeded, Reason::RequestInvalid, told))
        })
    }
}

/// Checks the name of a module, a label or a resource, as the configuration has them.
pub(super) fn name<'n>(field: &str, name: &'n str) -> Result<&'n str, Status> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_BYTES_MAX && name.bytes().all(fits) {
        return Ok(name);
    }
    let told = format!("names have letters, digits, `-`, `_` and `.`, and at most {NAME_BYTES_MAX} of them");
    Err(faults::invalid(field, told))
}

/// The label that is asked for; `live` where none is.
pub(super) fn label(label: &str) -> Result<&str, Status> {
    if label.is_empty() { Ok(LIVE) } else { name("label", label) }
}

/// How many a page of a list has.
pub(super) fn page_size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_DEFAULT),
        Ok(asked) => Ok(asked.min(PAGE_MAX)),
        Err(_) => Err(faults::invalid("page_size", "it is negative: leave it out, or write up to 1000")),
    }
}

/// A token of the next page: the last name of this one, so that a list may change between its pages.
pub(super) fn page_token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// What a page comes after.
pub(super) fn after(page_token: &str) -> Result<Option<String>, Status> {
    if page_token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(page_token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Some).ok_or_else(unknown_page)
}

/// The number that a page comes before.
pub(super) fn before(page_token: &str) -> Result<Option<u64>, Status> {
    after(page_token)?.map(|text| text.parse().map_err(|_| unknown_page())).transpose()
}

fn unknown_page() -> Status {
    faults::invalid("page_token", "no page said this: begin again without one")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 128;
const COMPILING_MAX: usize = 2;
const COMPILE_TIME_MAX: Duration = Duration::from_secs(30);
const COMPILE_WAIT_MAX: Duration = Duration::from_secs(20);
