//! Policies that only tests need: they wait, count, refuse and panic.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Semaphore;
use transom::call::Call;
use transom::call::Code;
use transom::call::Reason;
use transom::call::Refusal;
use transom::policy::Check;
use transom::policy::End;
use transom::policy::Hold;
use transom::policy::Message;
use transom::policy::Needs;
use transom::policy::Policy;
use transom::policy::Step;
use transom::policy::Waiting;

/// What the doubles saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Heads that were checked.
    pub(crate) heads: AtomicUsize,
    /// Request messages, in order.
    pub(crate) requests: Mutex<Vec<Message>>,
    /// Reply messages, in order.
    pub(crate) replies: Mutex<Vec<Message>>,
    /// Codes of calls that ended.
    pub(crate) ends: Mutex<Vec<Code>>,
    /// Holds that were dropped.
    pub(crate) dropped: AtomicUsize,
}

impl Seen {
    /// Heads that were checked.
    pub(crate) fn heads(&self) -> usize {
        self.heads.load(Ordering::SeqCst)
    }

    /// Messages both ways.
    pub(crate) fn messages(&self) -> (usize, usize) {
        (lock(&self.requests).len(), lock(&self.replies).len())
    }

    /// Codes of calls that ended.
    pub(crate) fn ends(&self) -> Vec<Code> {
        lock(&self.ends).clone()
    }

    /// Holds that were dropped.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }
}

/// Locks, also after a test thread panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts messages both ways, and sees the end.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    /// What it saw.
    pub(crate) seen: Arc<Seen>,
}

impl Policy for Counting {
    fn slot(&self) -> &'static str {
        "test_counting"
    }

    fn needs(&self) -> Needs {
        Needs::Messages
    }

    fn check(&self, _: &mut Call) -> Check {
        self.seen.heads.fetch_add(1, Ordering::SeqCst);
        Check::Hold(Box::new(Counted { seen: self.seen.clone(), refuse_request: None }))
    }
}

/// Refuses the request message of that number of a call, counted from 1.
#[derive(Debug)]
pub(crate) struct RefusingMessage {
    /// Which one.
    pub(crate) number: usize,
    /// What it saw.
    pub(crate) seen: Arc<Seen>,
}

impl Policy for RefusingMessage {
    fn slot(&self) -> &'static str {
        "test_refusing_message"
    }

    fn needs(&self) -> Needs {
        Needs::Messages
    }

    fn check(&self, _: &mut Call) -> Check {
        Check::Hold(Box::new(Counted { seen: self.seen.clone(), refuse_request: Some(self.number) }))
    }
}

struct Counted {
    seen: Arc<Seen>,
    refuse_request: Option<usize>,
}

impl Hold for Counted {
    fn on_request(&mut self, message: &Message) -> Step {
        let mut requests = lock(&self.seen.requests);
        requests.push(message.clone());
        if Some(requests.len()) == self.refuse_request {
            return Step::Refuse(Box::new(denied("that is one message too many")));
        }
        Step::Pass
    }

    fn on_reply(&mut self, message: &Message) -> Step {
        lock(&self.seen.replies).push(message.clone());
        Step::Pass
    }

    fn on_end(&mut self, end: &End) {
        lock(&self.seen.ends).push(end.code);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.seen.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits for a permit before it lets a head or a message pass; each permit lets one pass.
#[derive(Debug)]
pub(crate) struct Gated {
    /// Permits for heads.
    pub(crate) heads: Arc<Semaphore>,
    /// Permits for request messages.
    pub(crate) requests: Arc<Semaphore>,
    /// Permits for reply messages.
    pub(crate) replies: Arc<Semaphore>,
    /// What came to the gates.
    pub(crate) seen: Arc<Seen>,
}

impl Gated {
    /// All gates closed.
    pub(crate) fn closed() -> Self {
        let gate = || Arc::new(Semaphore::new(0));
        Self { heads: gate(), requests: gate(), replies: gate(), seen: Arc::default() }
    }
}

impl Policy for Gated {
    fn slot(&self) -> &'static str {
        "test_gated"
    }

    fn needs(&self) -> Needs {
        Needs::Messages
    }

    fn check(&self, _: &mut Call) -> Check {
        self.seen.heads.fetch_add(1, Ordering::SeqCst);
        let passing = through(self.heads.clone());
        let hold = Gates {
            requests: self.requests.clone(),
            replies: self.replies.clone(),
            counted: Counted { seen: self.seen.clone(), refuse_request: None },
        };
        Check::Wait(Box::pin(async move {
            passing.await?;
            let hold: Box<dyn Hold> = Box::new(hold);
            Ok(Some(hold))
        }))
    }
}

struct Gates {
    requests: Arc<Semaphore>,
    replies: Arc<Semaphore>,
    counted: Counted,
}

impl Hold for Gates {
    fn on_request(&mut self, message: &Message) -> Step {
        drop(self.counted.on_request(message));
        Step::Wait(through(self.requests.clone()))
    }

    fn on_reply(&mut self, message: &Message) -> Step {
        drop(self.counted.on_reply(message));
        Step::Wait(through(self.replies.clone()))
    }

    fn on_end(&mut self, end: &End) {
        self.counted.on_end(end);
    }
}

fn through(gate: Arc<Semaphore>) -> Waiting<()> {
    Box::pin(async move {
        match gate.acquire_owned().await {
            Ok(permit) => {
                permit.forget();
                Ok(())
            }
            Err(_) => Err(denied("the gate is closed for good")),
        }
    })
}

/// Refuses a call by its first message, before anything goes upstream.
#[derive(Debug)]
pub(crate) struct RefusingFirst {
    /// Text whose appearance in the message is refused.
    pub(crate) text: &'static str,
}

impl Policy for RefusingFirst {
    fn slot(&self) -> &'static str {
        "test_refusing_first"
    }

    fn needs(&self) -> Needs {
        Needs::FirstMessage
    }

    fn check(&self, _: &mut Call) -> Check {
        Check::Hold(Box::new(First { text: self.text }))
    }
}

struct First {
    text: &'static str,
}

impl Hold for First {
    fn on_request(&mut self, message: &Message) -> Step {
        let found = message.payload.windows(self.text.len()).any(|part| part == self.text.as_bytes());
        if found { Step::Refuse(Box::new(denied("that word is not said here"))) } else { Step::Pass }
    }
}

/// Panics for calls with the header `x-panic`: in the check, or (`message`) at their first message.
#[derive(Debug)]
pub(crate) struct Panicking;

impl Policy for Panicking {
    fn slot(&self) -> &'static str {
        "test_panicking"
    }

    fn needs(&self) -> Needs {
        Needs::Messages
    }

    fn check(&self, call: &mut Call) -> Check {
        match call.metadata.get("x-panic") {
            None => Check::Pass,
            Some(when) if when == "message" => Check::Hold(Box::new(PanicsLater)),
            Some(_) => panic!("a policy of the test panics, as it was told to"),
        }
    }
}

struct PanicsLater;

impl Hold for PanicsLater {
    fn on_reply(&mut self, _: &Message) -> Step {
        panic!("a policy of the test panics at a message, as it was told to")
    }
}

fn denied(told: &'static str) -> Refusal {
    Refusal::new(Reason::AccessDenied, told)
}
