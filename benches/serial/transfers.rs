//! Transfers of cache lines between threads, from lackey's list of all instructions and accesses to
//! memory.
//!
//! The list is replayed on a machine with one cache per thread, which is never full. A line is in
//! some of the caches, and may have been changed in one of them, of which the others then have no
//! copy (the states of the MSI protocol). What was not accessed by any thread's turn, such as what
//! was there before, is in no cache and costs nothing.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::sync::OnceLock;

use crate::instructions::Instructions;
use crate::program::{Overhead, Program, Scene, Summary};

pub struct Transfers {
    pub blocks: usize,
    pub instructions: u64,
    /// While no lock is held.
    pub outside: u64,
    /// The same by line, the most first.
    pub lines: Vec<u64>,
    pub locks: Vec<LockTransfers>,
}

impl Transfers {
    /// Of a single thread.
    pub fn none(counts: Instructions) -> Self {
        Self {
            blocks: counts.blocks,
            instructions: counts.total,
            outside: 0,
            lines: Vec::new(),
            locks: (counts.locks.into_iter())
                .map(|lock| LockTransfers {
                    guards: lock.guards,
                    instructions: lock.innermost,
                    transfers: 0,
                })
                .collect(),
        }
    }
}

/// What happens while a lock is held and no lock has been taken since.
pub struct LockTransfers {
    pub guards: String,
    pub instructions: u64,
    pub transfers: u64,
}

/// The bytes with which the program marks intervals, as in `counted/src/sections.rs`.
mod marks {
    pub const PAUSE: u64 = 0;
    pub const RESUME: u64 = 1;
    pub const CALIBRATE: u64 = 3;
    pub const COUNT: u64 = 4;
    pub const THREADS: u64 = 1_024;
    pub const LOCKS: u64 = 2_048;
    pub const END: u64 = 65_536;
}

const LINE: u64 = 64;

#[derive(Default)]
struct Line {
    /// One bit for each thread that has a copy.
    copies: u64,
    is_changed: bool,
    /// Transfers while no lock was held.
    outside: u64,
}

impl Line {
    /// Returns whether the access needs a transfer.
    fn access(&mut self, thread: u64, writes: bool) -> bool {
        let own = 1 << thread;
        let (has_copy, others) = (self.copies & own != 0, self.copies & !own != 0);
        match writes {
            true => {
                (self.copies, self.is_changed) = (own, true);
                others
            }
            false if has_copy => false,
            false => {
                self.copies |= own;
                std::mem::take(&mut self.is_changed)
            }
        }
    }
}

/// The machine, and the interval.
#[derive(Default)]
struct Replay {
    lines: HashMap<u64, Line>,
    is_paused: bool,
    is_calibrating: bool,
    is_counting: bool,
    /// The instructions of the interval.
    executed: u64,
    empty: Overhead,
    thread: Option<u64>,
    innermost: Option<usize>,
    intervals: usize,
    instructions: u64,
    /// Instructions and transfers by innermost lock.
    in_locks: Vec<[u64; 2]>,
}

impl Replay {
    fn mark(&mut self, mark: u64) {
        match mark {
            marks::PAUSE => {
                self.end_interval();
                (self.is_paused, self.thread, self.innermost) = (true, None, None);
            }
            marks::RESUME => {
                (self.is_paused, self.executed) = (false, 0);
                self.intervals += usize::from(self.is_counting && self.thread.is_some());
            }
            marks::CALIBRATE => self.is_calibrating = true,
            marks::COUNT => (self.is_calibrating, self.is_counting) = (false, true),
            thread @ marks::THREADS..marks::LOCKS => self.thread = Some(thread - marks::THREADS),
            lock if lock < marks::LOCKS => {}
            lock => {
                let lock = (lock - marks::LOCKS) as usize;
                let known = self.in_locks.len().max(lock + 1);
                self.in_locks.resize(known, [0; 2]);
                self.innermost = Some(lock);
            }
        }
    }

    fn end_interval(&mut self) {
        let is_locked = self.innermost.is_some();
        if self.thread.is_none() || self.is_paused {
            return;
        }
        if self.is_calibrating {
            self.empty.add(is_locked, self.executed);
        }
        if self.is_counting {
            let executed = self.executed.saturating_sub(self.empty.of(is_locked));
            self.instructions += executed;
            if let Some(lock) = self.innermost {
                self.in_locks[lock][0] += executed;
            }
        }
    }

    fn access(&mut self, address: u64, size: u64, writes: bool) {
        let Some(thread) = self.thread.filter(|_| !self.is_paused) else {
            return;
        };
        for number in address / LINE..=(address + size - 1) / LINE {
            let line = self.lines.entry(number).or_default();
            if line.access(thread, writes) && self.is_counting {
                match self.innermost {
                    None => line.outside += 1,
                    Some(lock) => self.in_locks[lock][1] += 1,
                }
            }
        }
    }
}

/// Parses a line such as ` S 1ffeffe7e0,8`: whether it writes, the address, and the size.
fn parse(line: &[u8]) -> Option<(bool, u64, u64)> {
    let [b' ', kind @ (b'L' | b'S' | b'M'), b' ', access @ ..] = line else {
        return None;
    };
    let (mut numbers, mut at) = ([0, 0], 0);
    for &byte in access {
        match (byte, at) {
            (b',', 0) => at = 1,
            (b'\n', _) => break,
            (_, 0) => numbers[0] = numbers[0] << 4 | u64::from((byte as char).to_digit(16)?),
            _ => numbers[1] = numbers[1] * 10 + u64::from((byte as char).to_digit(10)?),
        }
    }
    Some((*kind != b'L', numbers[0], numbers[1]))
}

pub fn count(program: &Program, scene: &Scene<'_>) -> Result<Transfers, Box<dyn Error>> {
    let mut child = program.start(scene, &["--tool=lackey", "--trace-mem=yes"])?;
    let mut printed = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut list = BufReader::with_capacity(1 << 20, child.stderr.take().expect("it is piped"));
    // The program says where the marks are before it does anything else.
    let first = OnceLock::new();
    let mut replay = Replay::default();
    let output = std::thread::scope(|scope| -> Result<String, Box<dyn Error>> {
        let printed = scope.spawn(|| -> std::io::Result<String> {
            let mut line = String::new();
            printed.read_line(&mut line)?;
            let address = line.trim().strip_prefix("marks ").map(str::parse::<u64>);
            if let Some(Ok(address)) = address {
                first.get_or_init(|| address);
            }
            let mut output = String::new();
            printed.read_to_string(&mut output)?;
            Ok(output)
        });
        let mut line = Vec::new();
        while list.read_until(b'\n', &mut line)? > 0 {
            if line.first() == Some(&b'I') {
                replay.executed += 1;
            } else if let Some(&first) = first.get()
                && let Some((writes, address, size)) = parse(&line)
            {
                match (first..first + marks::END).contains(&address) {
                    true => replay.mark(address - first),
                    false => replay.access(address, size, writes),
                }
            }
            line.clear();
        }
        Ok(printed.join().expect("it only reads")?)
    })?;
    child.wait()?;
    let summary = Summary::of(&output)?;
    if replay.intervals != summary.intervals {
        let seen = replay.intervals;
        return Err(format!("{seen} of {} intervals", summary.intervals).into());
    }
    let mut lines: Vec<u64> = replay.lines.values().map(|line| line.outside).collect();
    lines.sort_unstable_by(|a, b| b.cmp(a));
    replay.in_locks.resize(summary.locks.len(), [0; 2]);
    Ok(Transfers {
        blocks: summary.blocks,
        instructions: replay.instructions,
        outside: lines.iter().sum(),
        lines,
        locks: (summary.locks.into_iter().zip(replay.in_locks))
            .map(|(guards, [instructions, transfers])| LockTransfers {
                guards,
                instructions,
                transfers,
            })
            .collect(),
    })
}
