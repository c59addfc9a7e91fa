//! Decides from a log of a pool's use whether each refusal was justified.
//!
//! Every thread logs an operation before it begins and its result after it has returned. A counter
//! numbers the log entries of all threads. A block is therefore counted as *taken* for at least as
//! long as it was, and as *surely held* for at most as long. The sums are exact for each instant
//! between two consecutive entries. A bound over an entire call would not do: it would justify
//! refusals by blocks that were never taken at the same time.

/// An entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An allocation of this many blocks begins.
    Ask(usize),
    /// The allocation has succeeded.
    Granted,
    /// The allocation was refused.
    Refused,
    /// A match or an upgrade begins that may take this many blocks.
    Take(usize),
    /// The match or upgrade has returned this many blocks, which others may hold, too.
    Took(usize),
    /// A drop begins: of this many blocks that the thread has allocated, and this many others.
    Drop(usize, usize),
    /// The drop has returned.
    Dropped,
}

#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub at: u64,
    pub thread: usize,
    pub step: Step,
}

/// A violation of the contract found in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A refusal of `wanted` blocks although the threads together, including this one with what it
    /// wanted, never had more than `peak` at once.
    Unjustified {
        at: u64,
        thread: usize,
        wanted: usize,
        peak: usize,
    },
    /// The threads surely held this many different blocks, which is more than there are.
    Overfull { at: u64, held: usize },
}

#[derive(Default)]
struct Thread {
    /// The blocks that it has allocated and holds, and those that it has matched and holds.
    own: usize,
    others: usize,
    doing: Option<Doing>,
}

enum Doing {
    /// An allocation, with the most that all threads had at any instant of it.
    Ask(usize, usize),
    Take(usize),
    Drop,
}

impl Thread {
    /// The most that it can have, including what it has asked for.
    fn most(&self) -> usize {
        let asked = match self.doing {
            Some(Doing::Ask(n, _) | Doing::Take(n)) => n,
            _ => 0,
        };
        self.own + self.others + asked
    }
}

/// The findings for a log.
#[derive(Default, Debug)]
pub struct Findings {
    pub granted: usize,
    pub refused: usize,
    pub violations: Vec<Violation>,
}

/// Checks the log of a pool of `total` blocks.
///
/// # Panics
///
/// Panics if the log is inconsistent, for example if an operation ends that has not begun.
pub fn check(total: usize, threads: usize, mut log: Vec<Event>) -> Findings {
    log.sort_unstable_by_key(|event| event.at);
    let mut findings = Findings::default();
    let mut state: Vec<_> = (0..threads).map(|_| Thread::default()).collect();
    // Sums over all threads. What is being dropped is no longer surely held.
    let (mut taken, mut held) = (0, 0);
    // What is being dropped counts as taken until the drop has returned.
    let mut dropping = vec![(0, 0); threads];
    for Event { at, thread, step } in log {
        let this = &mut state[thread];
        let before = this.most();
        let doing = this.doing.take();
        match (step, doing) {
            (Step::Ask(n), None) => this.doing = Some(Doing::Ask(n, 0)),
            (Step::Granted, Some(Doing::Ask(n, _))) => {
                this.own += n;
                held += n;
                findings.granted += 1;
            }
            (Step::Refused, Some(Doing::Ask(wanted, peak))) => {
                findings.refused += 1;
                if peak <= total {
                    findings.violations.push(Violation::Unjustified {
                        at,
                        thread,
                        wanted,
                        peak,
                    });
                }
            }
            (Step::Take(n), None) => this.doing = Some(Doing::Take(n)),
            (Step::Took(n), Some(Doing::Take(most))) if n <= most => this.others += n,
            (Step::Drop(own, others), None) => {
                assert!(own <= this.own && others <= this.others, "{at}: not held");
                held -= own;
                dropping[thread] = (own, others);
                this.doing = Some(Doing::Drop);
            }
            (Step::Dropped, Some(Doing::Drop)) => {
                let (own, others) = dropping[thread];
                this.own -= own;
                this.others -= others;
            }
            _ => panic!("{at}: thread {thread} cannot have done {step:?}"),
        }
        taken = taken + this.most() - before;
        for thread in &mut state {
            if let Some(Doing::Ask(_, peak)) = &mut thread.doing {
                *peak = taken.max(*peak);
            }
        }
        if held > total {
            findings.violations.push(Violation::Overfull { at, held });
        }
    }
    findings
}
