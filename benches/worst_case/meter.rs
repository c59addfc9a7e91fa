//! Measures single calls: their time, or their instructions.
//!
//! The instructions of a call are read from callgrind. Its monitor command `status internal`, which
//! a program can give by a client request, reports how many instructions the thread has executed.
//! The meter gives it before and after a call, so callgrind's log has two counts for each call, and
//! the runner, which reads the log, subtracts them. The counts are exact: a call that takes the same
//! path takes the same number.
//!
//! Times are those of the thread, not of the wall clock.

use std::arch::asm;
use std::hint::black_box;
use std::io::{self, Write};

use rustix::time::{ClockId, clock_gettime};

/// What a meter measures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds of the thread's running time.
    Time,
    /// Instructions, in a process that runs under callgrind.
    Instructions,
}

/// What the cost of a call may depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Not on the pool, nor on what other calls have left behind.
    Constant,
    /// The contract of the call is to visit all blocks or entries.
    VisitsAll,
}

struct Row {
    operation: &'static str,
    state: &'static str,
    bound: Bound,
    nanoseconds: Vec<u64>,
}

/// The number of empty calls that show what measuring adds to a call.
pub const EMPTY_CALLS: usize = 64;

/// Measures the calls of one scene.
pub struct Meter {
    unit: Unit,
    rows: Vec<Row>,
    /// The row of each call.
    calls: Vec<u16>,
    is_on: bool,
}

impl Meter {
    pub fn new(unit: Unit) -> Self {
        Self {
            unit,
            rows: Vec::new(),
            calls: Vec::with_capacity(1 << 20),
            is_on: false,
        }
    }

    /// Measures a call of an operation in a state, of which the scene may make many. The first
    /// state of an operation is its ordinary one.
    pub fn call<R>(
        &mut self,
        operation: &'static str,
        state: &'static str,
        call: impl FnOnce() -> R,
    ) -> R {
        let row = self.row(operation, state, Bound::Constant);
        self.measure(row, call)
    }

    /// Measures a call that visits everything by contract.
    pub fn visit<R>(
        &mut self,
        operation: &'static str,
        state: &'static str,
        call: impl FnOnce() -> R,
    ) -> R {
        let row = self.row(operation, state, Bound::VisitsAll);
        self.measure(row, call)
    }

    fn row(&mut self, operation: &'static str, state: &'static str, bound: Bound) -> usize {
        let same = |row: &Row| row.operation == operation && row.state == state;
        // The latest rows are in use.
        self.rows.iter().rposition(same).unwrap_or_else(|| {
            self.rows.push(Row {
                operation,
                state,
                bound,
                nanoseconds: Vec::new(),
            });
            self.rows.len() - 1
        })
    }

    fn measure<R>(&mut self, row: usize, call: impl FnOnce() -> R) -> R {
        self.begin();
        let before = self.read();
        let result = black_box(call());
        let after = self.read();
        self.calls.push(row as u16);
        if self.unit == Unit::Time {
            self.rows[row].nanoseconds.push(after - before);
        }
        result
    }

    /// Begins to count instructions, and measures what measuring costs. The first measured call does
    /// so too. Until then the program runs without callgrind's counters, which is faster.
    ///
    /// Must be called before a signal is handled, if one is: callgrind does not bear to begin while
    /// a handler runs.
    pub fn begin(&mut self) {
        if std::mem::replace(&mut self.is_on, true) {
            return;
        }
        if self.unit == Unit::Instructions {
            request(START_INSTRUMENTATION, 0);
        }
        let row = self.row("", "", Bound::Constant);
        for _ in 0..EMPTY_CALLS {
            self.measure(row, || ());
        }
    }

    #[inline(never)]
    fn read(&self) -> u64 {
        match self.unit {
            Unit::Time => {
                let time = clock_gettime(ClockId::ThreadCPUTime);
                time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
            }
            Unit::Instructions => {
                request(MONITOR_COMMAND, c"status internal".as_ptr().addr());
                0
            }
        }
    }

    /// Writes the rows, and the time of each, or which calls were theirs.
    pub fn report(self, mut to: impl Write) -> io::Result<()> {
        for row in &self.rows {
            let (bound, operation, state) = (row.bound, row.operation, row.state);
            writeln!(to, "row\t{bound:?}\t{operation}\t{state}")?;
        }
        match self.unit {
            Unit::Time => {
                for (index, row) in self.rows.iter().enumerate() {
                    for nanoseconds in &row.nanoseconds {
                        writeln!(to, "call\t{index}\t{nanoseconds}")?;
                    }
                }
            }
            Unit::Instructions => {
                for row in &self.calls {
                    writeln!(to, "call\t{row}")?;
                }
            }
        }
        Ok(())
    }
}

/// Callgrind begins to count.
const START_INSTRUMENTATION: usize = (b'C' as usize) << 24 | (b'T' as usize) << 16 | 4;
/// Valgrind executes a command as if a user had typed it.
const MONITOR_COMMAND: usize = 0x1202;

/// Makes a client request, which a program that does not run under valgrind ignores.
#[cfg(target_arch = "x86_64")]
fn request(code: usize, argument: usize) {
    let request = [code, argument, 0, 0, 0, 0];
    // SAFETY: the five instructions have no effect on a processor: the rotations add up to 128
    // bits, and nothing is exchanged. Valgrind recognizes them, reads the request that `rax`
    // points to, and writes `rdx`.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") request.as_ptr(),
            inout("rdx") 0_usize => _,
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_code: usize, _argument: usize) {
    unimplemented!("valgrind's client requests are written for x86-64 only");
}
