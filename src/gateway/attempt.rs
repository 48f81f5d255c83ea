//! Sends an admitted call, again where it provably didn't run, until a reply begins.

use std::future::Future;
use std::task::Context;
use std::task::Poll;
use std::time::Instant;

use http::HeaderMap;
use http::Request;
use http::Response;
use http::Uri;
use http::Version;
use http::uri::Authority;
use http::uri::PathAndQuery;
use http::uri::Scheme;

use crate::bridge::Event;
use crate::call::BodyFault;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::Retry;
use crate::call::deadline::format_timeout;
use crate::config::types::Authority as AuthorityRule;
use crate::gateway::Gateway;
use crate::gateway::MESSAGE_BYTES_DEFAULT;
use crate::gateway::downlink::Downlink;
use crate::gateway::downlink::Head;
use crate::gateway::downlink::broken;
use crate::gateway::downlink::read_head;
use crate::gateway::exchange::Exchange;
use crate::gateway::lane::Lane;
use crate::gateway::lane::Way;
use crate::gateway::timers::Blocked;
use crate::policy::Admitted;
use crate::policy::Needs;
use crate::snapshot::MethodPlan;
use crate::upstream::Spec;
use crate::upstream::Tried;
use crate::upstream::Upstream;
use crate::upstream::stream;
use crate::upstream::stream::Heading;
use crate::upstream::stream::Receiving;
use crate::wire::frame::Rules;
use crate::wire::send::Last;

impl Gateway {
    /// Runs a call until its reply, or its refusal, begins.
    pub(super) async fn run(&self, plan: &MethodPlan, admitted: &Admitted, exchange: &mut Exchange) {
        match self.begin(plan, admitted, exchange).await {
            Ok(response) => answered(plan, exchange, response),
            Err(refusal) => exchange.refuse(&refusal),
        }
    }

    async fn begin(
        &self,
        plan: &MethodPlan,
        admitted: &Admitted,
        exchange: &mut Exchange,
    ) -> Result<Response<Receiving>, Refusal> {
        if plan.needs == Needs::FirstMessage {
            std::future::poll_fn(|cx| exchange.poll_first(cx)).await?;
        }
        match &plan.upstream {
            Upstream::InProcess(service) => {
                let authority = admitted.call().authority.clone();
                let metadata = admitted.call().metadata.clone();
                let head = self.head(plan, metadata, (Scheme::HTTP, authority), exchange);
                let (mut heading, sending) = stream::open_in_process(admitted, &**service, head);
                exchange.uplink.attach(sending);
                exchange.tally.attempts = 1;
                let reply = std::future::poll_fn(|cx| await_head(exchange, &mut heading, cx)).await?;
                reply.map_err(|fault| broken(&fault))
            }
            Upstream::Network(spec) => self.attempts(plan, spec, admitted, exchange).await,
        }
    }

    async fn attempts(
        &self,
        plan: &MethodPlan,
        spec: &Spec,
        admitted: &Admitted,
        exchange: &mut Exchange,
    ) -> Result<Response<Receiving>, Refusal> {
        let pool = spec.pool(self.worker);
        let mut tried = Tried::default();
        let mut before = None;
        loop {
            let refusal = match self.attempt(plan, spec, admitted, &mut tried, exchange).await? {
                Ok(response) => return Ok(response),
                // No endpoint is left: what the last one did says more.
                Err(refusal) if refusal.reason == Reason::NoHealthyUpstream => {
                    return Err(before.unwrap_or(refusal));
                }
                Err(refusal) => refusal,
            };
            let again = refusal.retry == Retry::IfUnsent && exchange.uplink.can_repeat();
            if !again || exchange.tally.attempts >= attempts_max(pool.len()) {
                return Err(refusal);
            }
            spec.retries.increment(refusal.reason.name());
            exchange.lease = None;
            before = Some(refusal);
        }
    }

    /// One attempt. The outer refusal ends the call, the inner one only the attempt.
    async fn attempt(
        &self,
        plan: &MethodPlan,
        spec: &Spec,
        admitted: &Admitted,
        tried: &mut Tried,
        exchange: &mut Exchange,
    ) -> Result<Result<Response<Receiving>, Refusal>, Refusal> {
        exchange.tally.attempts += 1;
        let pool = spec.pool(self.worker);
        let leased = {
            let mut leasing = std::pin::pin!(pool.lease(admitted, tried, admitted.call().started));
            std::future::poll_fn(|cx| match leasing.as_mut().poll(cx) {
                Poll::Ready(leased) => Poll::Ready(Ok(leased)),
                Poll::Pending => exchange.poll_drive(cx, Blocked::No).map(Err),
            })
            .await?
        };
        let mut lease = match leased {
            Ok(lease) => lease,
            Err(refusal) => return Ok(Err(refusal)),
        };
        exchange.tally.endpoint = Some(lease.endpoint().address.clone());
        let authority = match &spec.authority {
            AuthorityRule::Endpoint => lease.endpoint().authority.clone(),
            AuthorityRule::Client => admitted.call().authority.clone(),
            AuthorityRule::Name(name) => name.parse().ok(),
        };
        let head = self.head(plan, admitted.call().metadata.clone(), (spec.scheme(), authority), exchange);
        let (mut heading, sending) = match stream::open(admitted, &mut lease, head, Last::No) {
            Ok(halves) => halves,
            Err(fault) => {
                // The connection is no good any more; the endpoint may be.
                tried.clear();
                return Ok(Err(broken(&fault).with_retry(Retry::IfUnsent)));
            }
        };
        exchange.uplink.attach(sending);
        exchange.lease = Some(lease);
        let reply = std::future::poll_fn(|cx| await_head(exchange, &mut heading, cx)).await?;
        Ok(reply.map_err(|fault| {
            if matches!(fault, BodyFault::Unprocessed(_)) {
                if let Some(lease) = &exchange.lease {
                    lease.retire();
                }
                tried.clear();
            }
            broken(&fault)
        }))
    }

    /// The head that goes upstream.
    fn head(
        &self,
        plan: &MethodPlan,
        mut metadata: HeaderMap,
        (scheme, authority): (Scheme, Option<Authority>),
        exchange: &Exchange,
    ) -> Request<()> {
        if let Some(left) = exchange.timers.asked_left(now) {
            metadata.insert("grpc-timeout", format_timeout(left));
        }
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = metadata;
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(scheme);
        uri.authority = Some(authority.unwrap_or_else(|| Authority::from_static("localhost")));
        uri.path_and_query = PathAndQuery::try_from(&*plan.method.path).ok();
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        request
    }
}

/// What the reply begins with is known: tells the client.
fn answered(plan: &MethodPlan, exchange: &mut Exchange, response: Response<Receiving>) {
    match read_head(response) {
        Ok(Head::Leading(headers, receiving)) => {
            let rules = Rules {
                compressed: crate::bridge::is_compressed(&headers),
                message_bytes_max: exchange.timers.message_bytes_max(),
            };
            let lane = Lane::new(Way::Reply, rules, plan, MESSAGE_BYTES_DEFAULT);
            exchange.uplink.settle();
            exchange.downlink = Some(Downlink::new(receiving, lane));
            exchange.push(Event::Head(headers));
        }
        Ok(Head::Only(headers)) => exchange.only(headers),
        Err(refusal) => exchange.refuse(&refusal),
    }
}

/// Waits for the reply's head while the request goes on.
fn await_head(
    exchange: &mut Exchange,
    heading: &mut Heading,
    cx: &mut Context<'_>,
) -> Poll<Result<Result<Response<Receiving>, BodyFault>, Refusal>> {
    if let Poll::Ready(refusal) = exchange.poll_drive(cx, Blocked::No) {
        return Poll::Ready(Err(refusal));
    }
    heading.poll(cx).map(Ok)
}

/// Each endpoint once, and one more for a connection that was going away; at least three.
fn attempts_max(endpoints: usize) -> u32 {
    u32::try_from(endpoints).unwrap_or(u32::MAX).saturating_add(1).clamp(3, 6)
}

#[expect(clippy::disallowed_methods, reason = "what is left of a deadline is read off the clock")]
fn now() -> Instant {
    Instant::now()
}
