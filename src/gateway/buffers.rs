//! The bytes that all calls hold together, as `server.buffer_bytes` bounds them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::call::Reason;
use crate::call::Refusal;

/// What all calls of a gateway hold of messages that aren't whole, or wait to be read or written.
#[derive(Debug)]
pub struct Buffers {
    held: AtomicU64,
    bytes_max: u64,
}

impl Buffers {
    /// Room for so many bytes.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { held: AtomicU64::new(0), bytes_max })
    }
}

/// What one call holds of them.
#[derive(Debug)]
pub(super) struct Share {
    buffers: Arc<Buffers>,
    held: u64,
}

impl Share {
    pub(super) fn new(buffers: Arc<Buffers>) -> Self {
        Self { buffers, held: 0 }
    }

    /// Says how many bytes the call holds now. Most calls hold less than a step, and count nothing.
    ///
    /// # Errors
    /// Where all calls together hold too much.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        let now = bytes as u64 & !(STEP - 1);
        let before = std::mem::replace(&mut self.held, now);
        if now <= before {
            if now < before {
                self.buffers.held.fetch_sub(before - now, Ordering::Relaxed);
            }
            return Ok(());
        }
        let all = self.buffers.held.fetch_add(now - before, Ordering::Relaxed) + (now - before);
        if all <= self.buffers.bytes_max {
            return Ok(());
        }
        let held = self.buffers.bytes_max;
        Err(Refusal::new(Reason::Overloaded, "the gateway holds as many messages as it may: try again later")
            .logged(format!("all calls together hold more than server.buffer_bytes, {held} bytes")))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.held > 0 {
            self.buffers.held.fetch_sub(self.held, Ordering::Relaxed);
        }
    }
}

/// What is counted at once, in bytes.
const STEP: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::Buffers;
    use super::Share;
    use crate::call::Reason;

    #[test]
    fn calls_share_the_room() {
        let buffers = Buffers::new(10_000);
        let (mut one, mut other) = (Share::new(buffers.clone()), Share::new(buffers.clone()));
        assert!(one.hold(4095).is_ok() && buffers.held.load(Ordering::Relaxed) == 0);
        assert!(one.hold(8191).is_ok() && buffers.held.load(Ordering::Relaxed) == 4096);
        assert!(other.hold(5000).is_ok());
        assert_eq!(other.hold(9000).unwrap_err().reason, Reason::Overloaded);
        drop(one);
        assert!(other.hold(9000).is_ok() && buffers.held.load(Ordering::Relaxed) == 8192);
        assert!(other.hold(0).is_ok() && buffers.held.load(Ordering::Relaxed) == 0);
    }
}
