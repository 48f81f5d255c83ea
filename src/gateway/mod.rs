//! The story of one call. If you read one function in Transom, read [`Gateway::handle`].

mod apart;
mod attempt;
mod buffers;
mod cors;
mod downlink;
mod early;
mod exchange;
mod label;
mod lane;
mod source;
mod tally;
mod tap;
mod target;
mod timers;
mod uplink;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::request::Parts;
use http_body::Frame;

use crate::bridge;
use crate::bridge::Bridge;
use crate::bridge::Opened;
use crate::bridge::rest::websocket::Allowed;
use crate::call::Abort;
use crate::call::Body;
use crate::call::Bounds;
use crate::call::Call;
use crate::call::Code;
use crate::call::Connection;
use crate::call::Dialect;
use crate::call::Onward;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::Reply;
use crate::call::Service;
use crate::call::metadata::CLIENT_CERTIFICATE;
pub use crate::gateway::buffers::Buffers;
use crate::gateway::cors::Page;
use crate::gateway::early::Early;
use crate::gateway::exchange::Exchange;
use crate::gateway::lane::Lane;
use crate::gateway::lane::Way;
use crate::gateway::source::Source;
use crate::gateway::tally::Tally;
use crate::gateway::target::Outcome;
use crate::gateway::target::Target;
use crate::gateway::timers::Timers;
use crate::gateway::uplink::Uplink;
use crate::observe::Observe;
use crate::outbound::acme::Challenges;
use crate::policy::Admitted;
use crate::policy::Holds;
use crate::policy::admit;
use crate::snapshot::Current;
use crate::snapshot::MethodPlan;
use crate::wire::frame::Rules;

/// One worker's gateway.
#[derive(Clone)]
pub struct Gateway {
    worker: usize,
    current: Arc<Current>,
    observe: Arc<Observe>,
    buffers: Arc<Buffers>,
    challenges: Arc<Challenges>,
}

impl Gateway {
    /// The gateway of the worker of that index; all workers share `buffers` and `challenges`.
    pub fn new(
        worker: usize,
        current: Arc<Current>,
        observe: Arc<Observe>,
        buffers: Arc<Buffers>,
        challenges: Arc<Challenges>,
    ) -> Self {
        Self { worker, current, observe, buffers, challenges }
    }

    /// One request, top to bottom, until the head of its response is known. The rest goes
    /// on in the [`Exchange`]. What the answer says to a web page, whatever it is, is left in `page`.
    async fn handle(
        &self,
        connection: &Arc<Connection>,
        request: Request<Body>,
        content_type: Option<&HeaderValue>,
        page: &mut Page,
        now: Instant,
    ) -> Response<Answer> {
        let (mut head, body) = request.into_parts();
        let (origin, onward) = Onward::read(connection, &head.headers);
        let mut tally = Tally::open(&self.observe, self.worker, connection, origin, &head, now);
        let target = self.target(connection, &head, page);
        if matches!(page, Page::Open(..)) {
            head.extensions.insert(Allowed);
        }
        tally.dialect = target.speaker.bridge().dialect();
        tally.begin(target.plan.as_deref());
        let outcome = misdirected(connection, &head).map_or(target.outcome, Outcome::Refuse);
        let opened = match outcome {
            Outcome::Serve => check_count(&head, connection)
                .and_then(|()| open(target.speaker.bridge(), target.plan.as_deref(), &mut head)),
            Outcome::Answer(response) => return answer(tally, response),
            Outcome::Refuse(refusal) => Err(refusal),
        };
        let bridge = target.speaker.bridge();
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(refusal) => return refuse(bridge, tally, &refusal, content_type),
        };
        // `open` refuses what has no plan.
        let Some(plan) = target.plan else {
            let refusal = Refusal::new(Reason::Internal, "the gateway failed");
            return refuse(bridge, tally, &refusal, content_type);
        };
        let call = Call {
            method: plan.method.clone(),
            dialect: bridge.dialect(),
            authority: head.uri.authority().cloned(),
            connection: connection.clone(),
            origin,
            metadata: told_of_client(head.headers, onward, connection),
            started: now,
            bounds: opened.bounds,
        };
        let (admitted, holds) = match bounded(&plan, call).await {
            Ok(admitted) => admitted,
            Err(refusal) => return refuse(bridge, tally, &refusal, content_type),
        };
        let bounds = admitted.call().bounds;
        let rules = match rules(&mut opened, bridge.dialect(), bounds) {
            Ok(rules) => rules,
            Err(refusal) => return refuse(bridge, tally, &refusal, content_type),
        };
        let lane = Lane::new(Way::Request, rules, &plan, MESSAGE_BYTES_DEFAULT);
        let body = opened.early.as_mut().and_then(|early| early.body.take()).unwrap_or(body);
        let exchange = Box::new(Exchange::new(
            connection.clone(),
            Uplink::new(Source::new(body, opened.decoder), lane, plan.method.kind),
            Timers::new(now, bounds),
            holds,
            tally,
            opened.encoder,
            self.buffers.clone(),
        ));
        match opened.early {
            Some(early) => self.begin_early(early, plan, admitted, exchange),
            None => self.begin_late(&plan, &admitted, exchange).await,
        }
    }

    /// What a request asks for: a proof for an authority, or what is published.
    fn target(&self, connection: &Connection, head: &Parts, page: &mut Page) -> Target {
        match self.proof(connection, head) {
            Some(proof) => Target::answered(proof),
            None => cors::find(&self.current.load(), head, page),
        }
    }

    /// The answer to an authority that asks, in the clear, whether a domain is served here (RFC 8555, section
    /// 8.3): an order of this gateway is under way, and any other path or token is a request like all others.
    fn proof(&self, connection: &Connection, head: &Parts) -> Option<Response<Bytes>> {
        let may_ask = connection.secured.is_none() && matches!(head.method, Method::GET | Method::HEAD);
        let proof = may_ask.then(|| self.challenges.http(head.uri.path())).flatten()?;
        let mut response = Response::new(proof);
        let kind = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        Some(response)
    }

    /// Waits with the response until the dialect lets its head go.
    async fn begin_late(
        &self,
        plan: &MethodPlan,
        admitted: &Admitted,
        mut exchange: Box<Exchange>,
    ) -> Response<Answer> {
        self.run(plan, admitted, &mut exchange).await;
        let head = std::future::poll_fn(|cx| exchange.poll_head(cx)).await;
        exchange.tally.http_status(head.status());
        head.map(|()| Answer::Running(exchange))
    }

    /// Begins the response, and leaves the call to its body.
    fn begin_early(
        &self,
        early: bridge::Early,
        plan: Arc<MethodPlan>,
        admitted: Admitted,
        mut exchange: Box<Exchange>,
    ) -> Response<Answer> {
        exchange.tally.http_status(early.head.status());
        let (gateway, observe) = (self.clone(), self.observe.clone());
        let run = async move {
            gateway.run(&plan, &admitted, &mut exchange).await;
            exchange
        };
        let beginning = AssertUnwindSafe(run).catch_unwind().map(move |run| {
            if run.is_err() {
                observe.metrics.panics.increment();
            }
            run.ok()
        });
        early.head.map(|()| Answer::Early(Box::new(Early::new(Box::pin(beginning), early.aside))))
    }
}

/// Refuses a host that has a certificate of its own on a connection under another one.
fn misdirected(connection: &Connection, head: &Parts) -> Option<Refusal> {
    let secured = connection.secured.as_ref()?;
    let host = without_port(host(head));
    secured.is_misdirected(host).then(|| {
        let told =
            format!("\"{}\" has a certificate of its own: ask for it on a new connection", shown(host));
        Refusal::new(Reason::Misdirected, told)
    })
}

/// Adds what the upstream is told of the client and its certificate; what the client said of them is gone.
fn told_of_client(mut metadata: HeaderMap, onward: Onward, connection: &Connection) -> HeaderMap {
    onward.tell(connection, &mut metadata);
    if let Some(value) = connection.secured.as_ref().and_then(|secured| secured.forwarded.clone()) {
        metadata.insert(CLIENT_CERTIFICATE, value);
    }
    metadata
}

/// HTTP/2 bounds the bytes of a head; fields, cookie crumbs among them, are counted here.
fn check_count(head: &Parts, connection: &Connection) -> Result<(), Refusal> {
    let (count, max) = (head.headers.len(), connection.header_count_max);
    if count <= max {
        return Ok(());
    }
    Err(Refusal::new(Reason::HeadersTooLarge, format!("{count} header fields came: send at most {max}")))
}

/// Reads the client's head, once the method is known.
fn open(bridge: &dyn Bridge, plan: Option<&MethodPlan>, head: &mut Parts) -> Result<Opened, Refusal> {
    let Some(plan) = plan else {
        return Err(Refusal::new(
            Reason::MethodUnknown,
            format!("no method {} on host \"{}\"", shown(head.uri.path()), shown(host(head))),
        ));
    };
    let dialect = bridge.dialect();
    if dialect != Dialect::Plain && !plan.api.dialects.contains(&dialect) {
        return Err(Refusal::new(
            Reason::MethodUnknown,
            format!("{} is not published for {} clients", plan.method.path, dialect.name()),
        ));
    }
    bridge.open(head, plan.messages.as_ref())
}

/// Asks the policies, no longer than the client waits, and never longer than
/// [`ADMISSION_MAX`].
async fn bounded(plan: &MethodPlan, call: Call) -> Result<(Admitted, Holds), Refusal> {
    let time = call.bounds.asked.map_or(ADMISSION_MAX, |asked| asked.min(ADMISSION_MAX));
    let deadline = call.started + time;
    tokio::time::timeout_at(deadline.into(), admit(&plan.policies, call))
        .await
        .unwrap_or_else(|_| Err(Refusal::new(Reason::DeadlineExceeded, "the deadline is over")))
}

/// Tells the reader and the writer of a call how large its messages may be, and what request frames must keep.
fn rules(opened: &mut Opened, dialect: Dialect, bounds: Bounds) -> Result<Rules, Refusal> {
    let bytes_max = bounds.message_bytes_max.unwrap_or(MESSAGE_BYTES_DEFAULT);
    opened.encoder.limit(bytes_max as usize);
    if let Some(decoder) = &mut opened.decoder {
        decoder.limit(bytes_max as usize)?;
    }
    // What browsers send is bounded also where nothing sets a limit.
    let message_bytes_max = match dialect {
        Dialect::Grpc => bounds.message_bytes_max,
        _ => Some(bytes_max),
    };
    Ok(Rules { compressed: opened.compressed, message_bytes_max })
}

fn answer(mut tally: Tally, response: Response<Bytes>) -> Response<Answer> {
    tally.ended(Code::Ok);
    tally.http_status(response.status());
    response.map(Answer::Whole)
}

fn refuse(
    bridge: &dyn Bridge,
    mut tally: Tally,
    refusal: &Refusal,
    content_type: Option<&HeaderValue>,
) -> Response<Answer> {
    tally.refused(refusal);
    let response = bridge.refuse(refusal, content_type);
    tally.http_status(response.status());
    tally.reply.bytes = response.body().len() as u64;
    response.map(Answer::Whole)
}

/// The answer to HEAD: HTTP/2 would send a body after it.
fn without_body(mut response: Response<Answer>) -> Response<Answer> {
    if let Answer::Whole(body) = response.body_mut() {
        let len = std::mem::take(body).len();
        response.headers_mut().entry(http::header::CONTENT_LENGTH).or_insert_with(|| len.into());
    }
    response
}

/// The host that a request names, in its target or its `Host`; empty where it names none.
fn host(head: &Parts) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    }
}

/// A host as names of certificates have it.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// What a stranger sent, short enough to be said again.
fn shown(text: &str) -> &str {
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= SHOWN_BYTES).last();
    if text.len() <= SHOWN_BYTES { text } else { &text[..end.unwrap_or(0)] }
}

impl Service for Gateway {
    type Reply = Answer;

    async fn call(
        &self,
        connection: &Arc<Connection>,
        request: Request<Body>,
        now: Instant,
    ) -> Response<Answer> {
        let content_type = request.headers().get(http::header::CONTENT_TYPE).cloned();
        let content_type = content_type.as_ref();
        let is_head = request.method() == Method::HEAD;
        let mut page = Page::None;
        let handled = self.handle(connection, request, content_type, &mut page, now);
        let mut response = match AssertUnwindSafe(handled).catch_unwind().await {
            Ok(response) if is_head => without_body(response),
            Ok(response) => response,
            Err(_) => {
                self.observe.metrics.panics.increment();
                let bridge = bridge::of(bridge::dialect(content_type));
                let refusal = Refusal::new(Reason::Internal, "the gateway failed: this is logged");
                bridge.refuse(&refusal, content_type).map(Answer::Whole)
            }
        };
        if let Some(alt_svc) = &connection.alt_svc {
            response.headers_mut().insert(http::header::ALT_SVC, alt_svc.clone());
        }
        page.tell(response.headers_mut());
        response
    }
}

/// The body of the gateway's responses.
pub enum Answer {
    /// All of it is here.
    Whole(Bytes),
    /// A call that goes on.
    Running(Box<Exchange>),
    /// One whose response began before it.
    Early(Box<Early>),
}

impl Reply for Answer {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        match self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Running(exchange) => exchange.poll_frame(cx),
            Self::Early(early) => early.poll_frame(cx),
        }
    }

    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Whole(_) => Poll::Pending,
            Self::Running(exchange) => exchange.poll_blocked(cx),
            Self::Early(early) => early.poll_blocked(cx),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Running(exchange) => exchange.is_end(),
            Self::Early(early) => early.is_end(),
        }
    }

    fn size(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Running(exchange) => exchange.size(),
            Self::Early(early) => early.size(),
        }
    }
}

/// How long the policies may take to let a call pass.
const ADMISSION_MAX: Duration = Duration::from_secs(15);
/// The largest message that a policy reads where no limit is set.
const MESSAGE_BYTES_DEFAULT: u32 = 4 << 20;
/// How much of what a stranger sent is said again.
const SHOWN_BYTES: usize = 200;
