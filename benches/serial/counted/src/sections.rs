//! Tells valgrind what is being executed: whose turn it is, and which locks the thread holds.
//!
//! Between two changes, everything that is executed belongs to one *interval*. Its end is marked in
//! two ways, for two of valgrind's tools:
//!
//! * For callgrind, by a client request that writes the counts since the last one to its file, under
//!   the interval's label: `count 3` is a turn of thread 3, and `count 3;0;2` the same while it
//!   holds locks 0 and 2.
//! * For lackey, which prints all memory accesses, by writing to bytes that nothing else uses; see
//!   `Mark`.
//!
//! What is executed in this file belongs to no interval. Only one thread runs at a time, so the
//! state is that of the thread whose turn it is.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::ffi::{CStr, CString};
use std::fmt::Write;
use std::ptr::from_ref;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a write to the marks means: it is the index of the byte that is written.
enum Mark {
    /// The interval ends.
    Pause,
    /// The interval of the following thread and locks begins.
    Resume,
    /// From now on, intervals are of this phase.
    Phase(Phase),
    Thread(usize),
    Lock(usize),
}

/// Threads have the bytes from here on.
const THREADS: usize = 1_024;
/// Locks have the bytes from here on.
const LOCKS: usize = 2_048;
const END: usize = 65_536;

/// The number of empty sections that are executed to see what they take.
const CALIBRATIONS: usize = 1_000;

static MARKS: [AtomicU8; END] = [const { AtomicU8::new(0) }; END];

impl Mark {
    #[inline(always)]
    fn set(self) {
        let byte = match self {
            Self::Pause => 0,
            Self::Resume => 1,
            Self::Phase(phase) => 2 + phase as usize,
            Self::Thread(thread) => THREADS + thread,
            Self::Lock(lock) => LOCKS + lock,
        };
        MARKS[byte].store(1, Ordering::Relaxed);
    }
}

/// What the turns are for.
#[derive(Clone, Copy, PartialEq)]
pub enum Phase {
    /// To get to a steady state.
    Warm,
    /// To see what an empty interval takes.
    Calibrate,
    Count,
}

/// Whether turns have begun.
static IS_ARMED: AtomicBool = AtomicBool::new(false);
/// The label of the interval.
static LABEL: AtomicPtr<c_char> = AtomicPtr::new(IDLE.as_ptr().cast_mut());
/// The label while it is no thread's turn.
const IDLE: &CStr = c"idle";
static STATE: Mutex<State> = Mutex::new(State::new());

struct State {
    phase: Phase,
    /// The thread whose turn it is.
    thread: Option<usize>,
    /// The locks that it holds.
    held: Vec<usize>,
    /// The address of each lock, and its number.
    numbers: BTreeMap<usize, usize>,
    /// What each lock guards.
    guards: Vec<&'static str>,
    /// The number of intervals that were counted.
    intervals: usize,
}

impl State {
    const fn new() -> Self {
        Self {
            phase: Phase::Warm,
            thread: None,
            held: Vec::new(),
            numbers: BTreeMap::new(),
            guards: Vec::new(),
            intervals: 0,
        }
    }

    fn number(&mut self, lock: usize, guards: &'static str) -> usize {
        *self.numbers.entry(lock).or_insert_with(|| {
            self.guards.push(guards);
            assert!(LOCKS + self.guards.len() <= END, "too many locks");
            self.guards.len() - 1
        })
    }
}

/// Ends the interval: its instructions are those since the last [`resume`].
#[inline(always)]
fn pause() -> MutexGuard<'static, State> {
    Mark::Pause.set();
    callgrind::dump_at(LABEL.load(Ordering::Relaxed));
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins the next interval, if it is some thread's turn.
#[inline(always)]
fn resume(mut state: MutexGuard<'static, State>) {
    if let Some(thread) = state.thread {
        let phase = match state.phase {
            Phase::Warm => "warm",
            Phase::Calibrate => "calibrate",
            Phase::Count => "count",
        };
        let mut label = format!("{phase} {thread}");
        Mark::Thread(thread).set();
        for &lock in &state.held {
            Mark::Lock(lock).set();
            write!(label, ";{lock}").expect("a string can be written to");
        }
        state.intervals += usize::from(state.phase == Phase::Count);
        let label = CString::new(label).expect("it has no zero").into_raw();
        // Leaked: a few bytes per interval.
        LABEL.store(label, Ordering::Relaxed);
    } else {
        LABEL.store(IDLE.as_ptr().cast_mut(), Ordering::Relaxed);
    }
    drop(state);
    callgrind::zero();
    Mark::Resume.set();
}

/// Says where the marks are. Must be called before anything else.
pub fn print_marks() {
    println!("marks {}", from_ref(&MARKS).addr());
}

/// From now on, threads take turns of this phase.
pub fn begin_turns(phase: Phase) {
    Mark::Phase(phase).set();
    STATE.lock().unwrap().phase = phase;
    IS_ARMED.store(true, Ordering::Relaxed);
    if phase == Phase::Calibrate {
        let lock = 0;
        begin_turn(0);
        for _ in 0..CALIBRATIONS {
            kvbm_serial_begins(from_ref(&lock).addr(), "nothing");
            kvbm_serial_ends(from_ref(&lock).addr());
        }
        end_turn();
    }
}

pub fn begin_turn(thread: usize) {
    let mut state = pause();
    state.thread = Some(thread);
    resume(state);
}

pub fn end_turn() {
    let mut state = pause();
    assert!(state.held.is_empty(), "a lock is still held");
    state.thread = None;
    resume(state);
}

/// Ends all turns, and prints what was counted.
pub fn end_turns(blocks: usize) {
    IS_ARMED.store(false, Ordering::Relaxed);
    let state = STATE.lock().unwrap();
    println!("blocks {blocks}\nintervals {}", state.intervals);
    for (number, guards) in state.guards.iter().enumerate() {
        println!("lock {number} {guards}");
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn kvbm_serial_begins(lock: usize, guards: &'static str) {
    if IS_ARMED.load(Ordering::Relaxed) {
        let mut state = pause();
        // The main thread makes calls, too.
        if state.thread.is_some() {
            let number = state.number(lock, guards);
            state.held.push(number);
        }
        resume(state);
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn kvbm_serial_ends(lock: usize) {
    if IS_ARMED.load(Ordering::Relaxed) {
        let mut state = pause();
        let released = state.numbers.get(&lock).copied();
        state.held.retain(|&held| Some(held) != released);
        resume(state);
    }
}

/// Client requests to callgrind. Without valgrind, and under its other tools, they do nothing.
mod callgrind {
    use std::ffi::c_char;

    const BASE: usize = (b'C' as usize) << 24 | (b'T' as usize) << 16;

    #[inline(always)]
    fn request(request: usize, argument: usize) {
        let arguments = [BASE + request, argument, 0, 0, 0, 0];
        // SAFETY: this is valgrind's sequence for a request: four rotations of `rdi` by 128 bits
        // altogether and an exchange of `rbx` with itself, which change nothing. Valgrind reads the
        // arguments at `rax` and writes its answer to `rdx`.
        unsafe {
            std::arch::asm!(
                "rol rdi, 3",
                "rol rdi, 13",
                "rol rdi, 61",
                "rol rdi, 51",
                "xchg rbx, rbx",
                in("rax") &raw const arguments,
                inout("rdx") 0_usize => _,
            );
        }
    }

    /// Writes the counts to the file, under this label, and resets them.
    #[inline(always)]
    pub fn dump_at(label: *mut c_char) {
        request(3, label.addr());
    }

    /// Resets the counts.
    #[inline(always)]
    pub fn zero() {
        request(1, 0);
    }
}
