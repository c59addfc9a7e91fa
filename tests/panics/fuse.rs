//! When user code panics, and with what.

use std::any::Any;
use std::mem;
use std::panic::{self, panic_any};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Once, PoisonError};

/// What bombs panic with.
pub struct Blast {
    /// The call at which it went off.
    number: u32,
    /// How often in a row the drop of the payload panics.
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

/// The call whose panic this payload is, if it is a bomb's.
pub fn blast(payload: Box<dyn Any + Send>) -> Result<u32, Box<dyn Any + Send>> {
    let blast = payload.downcast::<Blast>()?;
    let number = blast.number;
    // Its drop may panic.
    mem::forget(blast);
    Ok(number)
}

/// What a panic that is no bomb's said.
pub fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// Has bombs panic without a word. Other panics are reported as ever.
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

/// Counts the calls of user code while it is lit, and panics at those that are armed.
pub struct Fuse {
    is_lit: AtomicBool,
    calls: AtomicU32,
    armed: Vec<u32>,
    depth: u32,
    gone_off: Mutex<Vec<u32>>,
}

impl Fuse {
    /// Goes off at these calls, counted from 0, with payloads whose drop panics so many
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

    /// Calls count from now on.
    pub fn light(&self) {
        self.is_lit.store(true, SeqCst);
    }

    /// Calls do not count any more.
    pub fn put_out(&self) {
        self.is_lit.store(false, SeqCst);
    }

    /// User code is called.
    pub fn call(&self) {
        self.call_or_else(|| {});
    }

    /// User code is called, and does something before it panics.
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

    /// The calls at which it went off, in their order.
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
