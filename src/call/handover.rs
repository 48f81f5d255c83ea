//! Hands the bytes of a connection over to a request that switches its protocol.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::call::Body;

/// What a listener puts into the extensions of a request that it would switch by 101: the bytes
/// that come after the switch. Nothing comes before.
#[derive(Debug, Clone)]
pub struct Handover(Arc<Mutex<Option<Body>>>);

impl Handover {
    /// Offers these bytes.
    pub fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    /// Takes them, once.
    pub fn take(&self) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
