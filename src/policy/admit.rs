//! Takes a call past its policies; what comes out is the proof that all of them passed.

use std::sync::Arc;

use crate::call::Call;
use crate::call::Refusal;
use crate::policy::Check;
use crate::policy::End;
use crate::policy::Hold;
use crate::policy::Message;
use crate::policy::Policy;
use crate::policy::Step;
use crate::policy::Waiting;

/// A call that every policy let pass: only [`admit`] makes one, and upstream takes nothing
/// else.
pub struct Admitted(Call);

impl Admitted {
    /// The call, as the policies left it.
    pub fn call(&self) -> &Call {
        &self.0
    }
}

/// Asks each policy in turn; what they keep of the call goes with it to its end.
///
/// # Errors
/// The refusal of the first that refuses; what earlier ones took is given back.
pub async fn admit(policies: &[Arc<dyn Policy>], mut call: Call) -> Result<(Admitted, Holds), Refusal> {
    let mut holds = Holds::default();
    for policy in policies {
        match policy.check(&mut call) {
            Check::Pass => {}
            Check::Hold(hold) => holds.0.push(hold),
            Check::Refuse(refusal) => return Err(*refusal),
            Check::Wait(waiting) => holds.0.extend(waiting.await?),
        }
    }
    Ok((Admitted(call), holds))
}

/// What the policies keep of one call, in their order.
#[derive(Default)]
pub struct Holds(Vec<Box<dyn Hold>>);

/// One message on its way past the policies.
pub enum Passing {
    /// All let it pass.
    Through,
    /// One waits; those from `next` on are still to be asked.
    Waiting {
        /// What is waited for.
        until: Waiting<()>,
        /// The first policy still to be asked, counted in the order of asking.
        next: usize,
    },
}

impl Holds {
    /// Shows a request message to the policies from `from` on.
    ///
    /// # Errors
    /// The refusal of the first that refuses.
    pub fn on_request(&mut self, message: &Message, from: usize) -> Result<Passing, Refusal> {
        let asked = self.0.iter_mut().skip(from).map(|hold| hold.on_request(message));
        pass((from..).zip(asked))
    }

    /// Shows a reply message to the policies, in reverse order, from `from` on.
    ///
    /// # Errors
    /// The refusal of the first that refuses.
    pub fn on_reply(&mut self, message: &Message, from: usize) -> Result<Passing, Refusal> {
        let asked = self.0.iter_mut().rev().skip(from).map(|hold| hold.on_reply(message));
        pass((from..).zip(asked))
    }

    /// Tells the policies how the call ended.
    pub fn on_end(&mut self, end: &End) {
        for hold in self.0.iter_mut().rev() {
            hold.on_end(end);
        }
    }

    /// Whether no policy keeps anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn pass(steps: impl Iterator<Item = (usize, Step)>) -> Result<Passing, Refusal> {
    for (at, step) in steps {
        match step {
            Step::Pass => {}
            Step::Wait(until) => return Ok(Passing::Waiting { until, next: at + 1 }),
            Step::Refuse(refusal) => return Err(*refusal),
        }
    }
    Ok(Passing::Through)
}
