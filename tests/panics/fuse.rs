//! When user code panics, and with which payload.

use std::any::Any;
use std::mem;
use std::panic::{self, panic_any};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Once, PoisonError};

/// The payload of a bomb.
pub struct Blast {
    /// The number of the call that panicked.
    number: u32,
    /// How many times in a row the drop of the payload panics.
    depth: u32,
}

impl Drop for Blast {
    fn drop(&mut self) {
        if self.depth > 0 {
            panic_any(Blast {
                number: self.number,
                depth: self.depth - 1,
            });
        }
    }
}

/// Returns the number of the call that this payload is from, if it is a bomb's.
pub fn blast(payload: Box<dyn Any + Send>) -> Result<u32, Box<dyn Any + Send>> {
    let blast = payload.downcast::<Blast>()?;
    let number = blast.number;
    // The drop of the payload may panic.
    mem::forget(blast);
    Ok(number)
}

/// Returns the message of a panic that is not a bomb's.
pub fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// Silences the panics of bombs. Other panics are reported as usual.
pub fn be_silent() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Blast>() {
                report(info);
            }
        }));
    });
}

/// Counts calls of user code while it is lit, and panics at those for which it is armed.
pub struct Fuse {
    is_lit: AtomicBool,
    calls: AtomicU32,
    armed: Vec<u32>,
    depth: u32,
    gone_off: Mutex<Vec<u32>>,
}

impl Fuse {
    /// Arms the fuse for these calls, counted from 0, with payloads whose drop panics this many
    /// times in a row.
    pub fn new(armed: &[u32], depth: u32) -> Arc<Self> {
        be_silent();
        Arc::new(Self {
            is_lit: AtomicBool::new(false),
            calls: AtomicU32::new(0),
            armed: armed.to_vec(),
            depth,
            gone_off: Mutex::default(),
        })
    }

    /// Starts to count calls.
    pub fn light(&self) {
        self.is_lit.store(true, SeqCst);
    }

    /// Stops counting calls.
    pub fn put_out(&self) {
        self.is_lit.store(false, SeqCst);
    }

    /// Counts a call of user code, and panics if armed for it.
    pub fn call(&self) {
        self.call_or_else(|| {});
    }

    /// Like `call`, but runs `before` before it panics.
    pub fn call_or_else(&self, before: impl FnOnce()) {
        if !self.is_lit.load(SeqCst) {
            return;
        }
        let number = self.calls.fetch_add(1, SeqCst);
        if self.armed.contains(&number) {
            self.off().push(number);
            before();
            panic_any(Blast {
                number,
                depth: self.depth,
            });
        }
    }

    pub fn calls(&self) -> u32 {
        self.calls.load(SeqCst)
    }

    /// Returns the calls at which it has panicked, in order.
    pub fn gone_off(&self) -> Vec<u32> {
        self.off().clone()
    }

    pub fn has_gone_off(&self) -> bool {
        !self.off().is_empty()
    }

    fn off(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.gone_off.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
