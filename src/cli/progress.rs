//! What one sees of a call that takes longer than a second.

use std::future::Future;
use std::io::IsTerminal;
use std::io::Write;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Waits for an upload of `total` bytes, of which `sent` counts. Where standard error is a terminal it says how far
/// that is, in one line that is gone afterwards.
pub(super) async fn upload<T>(call: impl Future<Output = T>, sent: &AtomicU64, total: u64) -> T {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() { shown(call, sent, total, &mut stderr).await } else { call.await }
}

async fn shown<T>(call: impl Future<Output = T>, sent: &AtomicU64, total: u64, out: &mut dyn Write) -> T {
    let mut call = pin!(call);
    let mut wait = FIRST;
    loop {
        match tokio::time::timeout(wait, call.as_mut()).await {
            Ok(done) => {
                if wait == NEXT {
                    say(out, "");
                }
                return done;
            }
            Err(_) => say(out, &line(sent.load(Ordering::Relaxed), total)),
        }
        wait = NEXT;
    }
}

fn line(sent: u64, total: u64) -> String {
    if total <= sent {
        return "compiling…".into();
    }
    let kib = |bytes: u64| bytes.div_ceil(1024);
    format!("sending: {} of {} KiB", kib(sent), kib(total))
}

/// Puts a text in place of the one before.
fn say(out: &mut dyn Write, text: &str) {
    // A terminal that is gone needs no progress.
    let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
}

const FIRST: Duration = Duration::from_secs(1);
const NEXT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_long_upload_is_told_and_the_line_is_gone_after() {
        let sent = AtomicU64::new(0);
        let call = async {
            tokio::time::sleep(Duration::from_millis(1100)).await;
            sent.store(4096, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
            7
        };
        let mut out = Vec::new();
        assert_eq!(shown(call, &sent, 4096, &mut out).await, 7);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "\r\x1b[Ksending: 0 of 4 KiB\r\x1b[Kcompiling…\r\x1b[K");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_upload_is_silent() {
        let sent = AtomicU64::new(0);
        let mut out = Vec::new();
        shown(tokio::time::sleep(Duration::from_millis(900)), &sent, 4096, &mut out).await;
        assert!(out.is_empty());
    }
}
