//! Calls into user code, and what happens when it panics.
//!
//! User code is everything that the crate calls but did not write: the drops of attachments,
//! frequency trackers, eviction and emission policies, callbacks, publishers, wakers, and
//! the drops of all of these. Any of it may panic, at any call. The rules:
//!
//! 1. No lock is held and no operation is half done when user code runs. Values to be
//!    dropped are collected, and dropped when the operation is complete.
//! 2. A panic is caught where it happens, so that the rest of the batch still completes. The
//!    *first* panic is resumed on the caller when the operation is complete ([`Panics`]). On
//!    a thread of the crate's own, panics are reported and go no further ([`contain`]).
//! 3. While the thread is already unwinding, panics are only reported, since resuming one
//!    would abort the process.
//! 4. Dropping a panic's payload is user code as well, and may panic: see [`discard`].

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

/// The payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Collects the panics of one operation. The first is passed on to the caller by
/// [`resume`](Self::resume); the others are reported.
#[derive(Default)]
pub(crate) struct Panics {
    first: Option<Payload>,
}

impl Panics {
    /// Creates a collection without panics.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self { first: None }
    }

    /// Runs user code. Returns `None` if it panicked.
    pub(crate) fn catch<R>(&mut self, code: impl FnOnce() -> R) -> Option<R> {
        // Unwind safety: only state of the user's own can be left half changed.
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(result) => Some(result),
            Err(payload) => {
                self.add(payload);
                None
            }
        }
    }

    /// Drops a value whose drop runs user code.
    pub(crate) fn drop<T>(&mut self, value: T) {
        self.catch(|| drop(value));
    }

    /// Keeps a panic if it is the first, and reports it otherwise.
    pub(crate) fn add(&mut self, payload: Payload) {
        if self.first.is_none() {
            self.first = Some(payload);
        } else {
            report("user code panicked again in the same operation", &payload);
            discard(payload);
        }
    }

    /// Resumes the first panic, if there was one. Call it last, when the operation is
    /// complete.
    ///
    /// # Panics
    ///
    /// Panics with the first panic's payload, unless the thread is already unwinding.
    #[inline]
    pub(crate) fn resume(mut self) {
        if let Some(payload) = self.first.take() {
            resume(payload);
        }
    }
}

impl Drop for Panics {
    #[inline]
    fn drop(&mut self) {
        // It was not resumed, because the operation itself is unwinding.
        if let Some(payload) = self.first.take() {
            lose(payload);
        }
    }
}

#[cold]
fn lose(payload: Payload) {
    report("user code panicked", &payload);
    discard(payload);
}

#[cold]
fn resume(payload: Payload) {
    if thread::panicking() {
        report(
            "user code panicked while the thread was unwinding",
            &payload,
        );
        discard(payload);
    } else {
        resume_unwind(payload);
    }
}

/// Runs user code on behalf of no particular caller. If it panics, reports the panic with the
/// message `what` and returns `None`.
pub(crate) fn contain<R>(what: &'static str, code: impl FnOnce() -> R) -> Option<R> {
    // Unwind safety: as in `Panics::catch`.
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(result) => Some(result),
        Err(payload) => {
            report(what, &payload);
            discard(payload);
            None
        }
    }
}

/// A value whose drop runs user code. If the drop panics, the panic is reported and goes no
/// further: see [`contain`].
pub(crate) struct Contained<T> {
    /// `None` only while being dropped.
    value: Option<T>,
    what: &'static str,
}

impl<T> Contained<T> {
    /// Wraps a value. If its drop panics, the report has the message `what`.
    pub(crate) const fn new(what: &'static str, value: T) -> Self {
        Self {
            value: Some(value),
            what,
        }
    }

    /// Returns the value.
    pub(crate) fn into_inner(mut self) -> T {
        self.value.take().expect("there until it is dropped")
    }
}

impl<T> std::ops::Deref for Contained<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("there until it is dropped")
    }
}

impl<T> std::ops::DerefMut for Contained<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("there until it is dropped")
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            contain(self.what, || drop(value));
        }
    }
}

/// Like [`contain`], for the polls and the drop of a future.
#[cfg(feature = "events")]
pub(crate) async fn contain_future<F: Future + Unpin>(
    what: &'static str,
    future: F,
) -> Option<F::Output> {
    let mut future = Contained::new(what, future);
    std::future::poll_fn(|context| {
        let poll = || std::pin::Pin::new(&mut *future).poll(context);
        // Resolves to `None` after a panic, so the future is not polled again.
        contain(what, poll).map_or(std::task::Poll::Ready(None), |polled| polled.map(Some))
    })
    .await
}

/// Drops a panic's payload. If that panics in turn, leaks the payload of the new panic.
pub(crate) fn discard(payload: Payload) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(another);
    }
}

/// Returns the message of a panic.
pub(crate) fn message(payload: &Payload) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a payload that is not a string")
}

/// Logs a panic. The log subscriber is user code as well, and may panic.
#[cold]
fn report(what: &'static str, payload: &Payload) {
    let reported = catch_unwind(AssertUnwindSafe(|| {
        tracing::error!(panic = message(payload), "{what}");
    }));
    if let Err(another) = reported {
        discard(another);
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;

    /// Panics when it is dropped, with another bomb as the payload.
    struct Bomb(u32);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::panic_any(Bomb(self.0 - 1));
            }
        }
    }

    fn caught(code: impl FnOnce()) -> Option<Payload> {
        catch_unwind(AssertUnwindSafe(code)).err()
    }

    #[test]
    fn the_first_panic_is_resumed_when_the_operation_is_complete() {
        let mut is_done = false;
        let payload = caught(|| {
            let mut panics = Panics::new();
            assert_eq!(panics.catch(|| 7), Some(7));
            assert_eq!(panics.catch(|| -> u32 { panic!("first") }), None);
            panics.drop(Bomb(3));
            panics.catch(|| panic!("third"));
            is_done = true;
            panics.resume();
        });
        assert!(is_done);
        assert_eq!(message(&payload.unwrap()), "first");
    }

    #[test]
    fn no_panic_is_resumed_while_the_thread_unwinds() {
        struct Operation;

        impl Drop for Operation {
            fn drop(&mut self) {
                let mut panics = Panics::new();
                panics.drop(Bomb(2));
                panics.resume();
            }
        }

        let payload = caught(|| {
            let _operation = Operation;
            panic!("the caller's");
        });
        assert_eq!(message(&payload.unwrap()), "the caller's");
    }

    #[test]
    fn panics_that_are_not_resumed_are_discarded() {
        let mut panics = Panics::new();
        panics.drop(Bomb(2));
        drop(panics);
    }

    #[test]
    fn contain_stops_a_panic() {
        assert_eq!(contain("nothing", || 7), Some(7));
        assert_eq!(contain("a bomb", || drop(Bomb(4))), None);
        assert_eq!(contain("a text", || -> u32 { panic!("{}", 8) }), None);
    }

    #[test]
    fn contained_stops_a_panic_of_the_drop() {
        let mut bomb = Contained::new("a bomb", Bomb(4));
        bomb.0 -= 1;
        assert_eq!(bomb.0, 3);
        drop(bomb);
    }

    #[cfg(feature = "events")]
    #[test]
    fn contain_future_stops_a_panic() {
        use futures::executor::block_on;
        use futures::future::{FutureExt, poll_fn};

        assert_eq!(
            block_on(contain_future("nothing", async { 7 }.boxed())),
            Some(7)
        );
        // The drop of this future panics as well.
        let bomb = Bomb(2);
        let future = poll_fn(move |_| -> std::task::Poll<u32> {
            let bomb = &bomb;
            panic!("{}", bomb.0)
        });
        assert_eq!(block_on(contain_future("a future", future)), None);
    }
}
