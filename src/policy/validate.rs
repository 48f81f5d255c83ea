//! `validate`: how large messages may be.

use std::sync::Arc;

use crate::call::Call;
use crate::config::fault::Diag;
use crate::config::raw::Raw;
use crate::policy::Check;
use crate::policy::Enforced;
use crate::policy::Kind;
use crate::policy::Policy;

/// The slot `validate`.
pub(super) struct Validate;

impl Kind for Validate {
    fn slot(&self) -> &'static str {
        "validate"
    }

    /// Without an explicit `max_message`, native messages have no limit: their bodies pass
    /// through and are never held.
    fn compile(&self, raw: &Raw, _: &mut Diag) -> Option<Arc<dyn Policy>> {
        let size = raw.get("max_message").filter(|raw| raw.is_written())?.size()?;
        Some(Arc::new(Size { message_bytes_max: u32::try_from(size).unwrap_or(u32::MAX) }))
    }

    fn enforced(&self) -> Enforced {
        Enforced::Both
    }
}

#[derive(Debug)]
struct Size {
    message_bytes_max: u32,
}

impl Policy for Size {
    fn slot(&self) -> &'static str {
        "validate"
    }

    fn check(&self, call: &mut Call) -> Check {
        let max = call
            .bounds
            .message_bytes_max
            .map_or(self.message_bytes_max, |max| max.min(self.message_bytes_max));
        call.bounds.message_bytes_max = Some(max);
        Check::Pass
    }
}
