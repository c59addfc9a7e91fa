//! Calls into user code, and what becomes of its panics.
//!
//! User code is whatever the crate calls but did not write: the drops of attachments,
//! frequency trackers, eviction and emission policies, callbacks, publishers, wakers, and
//! the drops of all of these. Any of it may panic, at any call. The rules:
//!
//! 1. Nothing is held and nothing is half done when user code runs. What has to be
//!    dropped is collected, and dropped when the operation is complete.
//! 2. A panic is caught where it happens, so that the rest of the batch is done. The
//!    *first* one goes on to the caller when the operation is complete ([`Panics`]); on a
//!    thread of the crate's own, it is reported and goes no further ([`contain`]).
//! 3. While the thread unwinds already, no other panic may go on, since that would abort
//!    the process: it is reported.
//! 4. A panic's payload is user code too, whose drop may panic: see [`discard`].

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// The panics of one operation: the first goes on to the caller when it is
/// [resumed](Self::resume), the others are reported.
#[derive(Default)]
pub(crate) struct Panics {
    first: Option<Payload>,
}

impl Panics {
    /// No panic so far.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self { first: None }
    }

    /// Runs user code. Returns `None` if it panicked.
    pub(crate) fn catch<R>(&mut self, code: impl FnOnce() -> R) -> Option<R> {
        // Unwind safety: what the code has left half done is the user's own.
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(result) => Some(result),
            Err(payload) => {
                self.add(payload);
                None
            }
        }
    }

    /// Drops a value whose drop is user code.
    pub(crate) fn drop<T>(&mut self, value: T) {
        self.catch(|| drop(value));
    }

    /// Keeps a panic, or reports it if there is one already.
    pub(crate) fn add(&mut self, payload: Payload) {
        if self.first.is_none() {
            self.first = Some(payload);
        } else {
            report(
                "user code panicked once more in the same operation",
                &payload,
            );
            discard(payload);
        }
    }

    /// Lets the first panic go on, if there was one. For the end of an operation, with
    /// everything done.
    ///
    /// # Panics
    ///
    /// With that panic, unless the thread unwinds already.
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
        // Not resumed: the operation itself unwinds.
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

/// Runs user code where there is no caller whom its panic concerns: that is reported, with
/// `what` has panicked, and goes no further.
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

/// A value whose drop is user code, and whose panic is reported and goes no further: see
/// [`contain`].
pub(crate) struct Contained<T> {
    /// `None` while it is dropped.
    value: Option<T>,
    what: &'static str,
}

impl<T> Contained<T> {
    /// Wraps a value. If its drop panics, the report says that `what` has.
    pub(crate) const fn new(what: &'static str, value: T) -> Self {
        Self {
            value: Some(value),
            what,
        }
    }

    /// Hands the value over.
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

/// Like [`contain`], for a future: its polls and its drop.
#[cfg(feature = "events")]
pub(crate) async fn contain_future<F: Future + Unpin>(
    what: &'static str,
    future: F,
) -> Option<F::Output> {
    let mut future = Contained::new(what, future);
    std::future::poll_fn(|context| {
        let poll = || std::pin::Pin::new(&mut *future).poll(context);
        // A future that has panicked is not polled again.
        contain(what, poll).map_or(std::task::Poll::Ready(None), |polled| polled.map(Some))
    })
    .await
}

/// Drops a panic's payload. One whose drop panics is leaked, with the payload of that
/// panic.
pub(crate) fn discard(payload: Payload) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(another);
    }
}

/// What a panic said.
pub(crate) fn message(payload: &Payload) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a payload that is no text")
}

/// Reports a panic. The subscriber is user code as well.
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

    /// Panics when it is dropped, with another one of the kind as the payload.
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
    fn the_first_panic_goes_on_when_everything_is_done() {
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
    fn no_panic_goes_on_while_the_thread_unwinds() {
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
    fn panics_that_are_not_resumed_end_here() {
        let mut panics = Panics::new();
        panics.drop(Bomb(2));
        drop(panics);
    }

    #[test]
    fn what_is_contained_goes_no_further() {
        assert_eq!(contain("nothing", || 7), Some(7));
        assert_eq!(contain("a bomb", || drop(Bomb(4))), None);
        assert_eq!(contain("a text", || -> u32 { panic!("{}", 8) }), None);
    }

    #[test]
    fn the_drop_of_what_is_contained_goes_no_further() {
        let mut bomb = Contained::new("a bomb", Bomb(4));
        bomb.0 -= 1;
        assert_eq!(bomb.0, 3);
        drop(bomb);
    }

    #[cfg(feature = "events")]
    #[test]
    fn a_future_that_is_contained_goes_no_further() {
        use futures::executor::block_on;
        use futures::future::{FutureExt, poll_fn};

        assert_eq!(
            block_on(contain_future("nothing", async { 7 }.boxed())),
            Some(7)
        );
        // Its drop panics as well.
        let bomb = Bomb(2);
        let future = poll_fn(move |_| -> std::task::Poll<u32> {
            let bomb = &bomb;
            panic!("{}", bomb.0)
        });
        assert_eq!(block_on(contain_future("a future", future)), None);
    }
}
