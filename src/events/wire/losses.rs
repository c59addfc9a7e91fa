//! How does a program learn that messages were not published?
//!
//! They are counted while the task runs, logged as errors, and reported when it is joined.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::runtime::Handle;
use tokio::task::JoinError;

use crate::user_code::contain;

/// Records what one publisher did not publish or flush.
pub(super) struct Losses {
    /// The number of messages that were not published.
    messages: Arc<AtomicU64>,
    /// Why the last of them was not published.
    reason: String,
    /// Why the flush failed, if it did.
    flush: Option<String>,
}

impl Losses {
    /// Creates a record without losses that counts messages in `messages`.
    pub(super) const fn new(messages: Arc<AtomicU64>) -> Self {
        Self {
            messages,
            reason: String::new(),
            flush: None,
        }
    }

    /// Records the result of publishing a message; `None` means that it panicked.
    pub(super) fn published(
        &mut self,
        result: Option<Result<()>>,
        subject: &str,
        what: &'static str,
    ) {
        if let Some(reason) = failure(result, subject, what) {
            self.messages.fetch_add(1, Ordering::Relaxed);
            self.reason = reason;
        }
    }

    /// Records the result of the flush; `None` means that it panicked.
    pub(super) fn flushed(&mut self, result: Option<Result<()>>, subject: &str) {
        self.flush = failure(result, subject, "published messages were not flushed");
    }

    /// Returns a report, unless everything was published and flushed.
    pub(super) fn report(self) -> Option<String> {
        let lost = match self.messages.load(Ordering::Relaxed) {
            0 => None,
            messages => {
                let reason = self.reason;
                Some(format!(
                    "{messages} messages were not published; the last one because: {reason}"
                ))
            }
        };
        let flush = self
            .flush
            .map(|reason| format!("the flush failed: {reason}"));
        match (lost, flush) {
            (Some(lost), Some(flush)) => Some(format!("{lost}; {flush}")),
            (lost, flush) => lost.or(flush),
        }
    }
}

/// Logs a failure and returns its message, or `None` for a success. A panic has been logged
/// already. Displaying and dropping the error run user code too.
fn failure(result: Option<Result<()>>, subject: &str, what: &'static str) -> Option<String> {
    let error = match result {
        Some(Ok(())) => return None,
        Some(Err(error)) => error,
        None => return Some("the publisher panicked".to_owned()),
    };
    let reason = contain("a publisher's error panicked when displayed", || {
        format!("{error:#}")
    });
    contain("a publisher's error panicked when dropped", || {
        drop(error);
    });
    let error = reason.unwrap_or_else(|| "an error that cannot be displayed".to_owned());
    contain("a log subscriber panicked", || {
        tracing::error!(%subject, %error, "{what}");
    });
    Some(error)
}

/// Turns a report into a [`JoinError`], which only the end of a task can create: spawns a task
/// that panics with the report as its payload. Where panics abort the process, the error is
/// that of a cancelled task.
pub(super) async fn join_error(report: String, runtime: &Handle) -> JoinError {
    #[cfg(panic = "unwind")]
    let task = runtime.spawn(panic_with(report));
    #[cfg(not(panic = "unwind"))]
    let task = {
        drop(report);
        let task = runtime.spawn(std::future::pending::<Infallible>());
        task.abort();
        task
    };
    match task.await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

#[cfg(panic = "unwind")]
async fn panic_with(report: String) -> Infallible {
    // Not a failure of its own, so the panic hook is not called.
    std::panic::resume_unwind(Box::new(report))
}
