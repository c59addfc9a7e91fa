//! Decides from a log of a pool's use whether each refusal was justified.
//!
//! Every thread notes what it begins before it begins it and what has come of it
//! after it has, each time with the next number of one counter. So a block counts
//! as taken by its thread for no shorter than it was, and as surely held for no
//! longer. Between any two events in a row lies one instant, and the sums are exact
//! for each of them: a bound over a whole call would justify refusals by blocks that
//! were never taken at the same time.

/// What a thread notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An allocation of so many blocks begins.
    Ask(usize),
    /// It has succeeded.
    Granted,
    /// It was refused.
    Refused,
    /// A match or an upgrade begins that may take so many blocks.
    Take(usize),
    /// It has returned so many, which others may hold too.
    Took(usize),
    /// A drop begins of so many blocks that this thread allocated, and of so many
    /// others.
    Drop(usize, usize),
    /// It has returned.
    Dropped,
}

#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub at: u64,
    pub thread: usize,
    pub step: Step,
}

/// What a log shows that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A refusal of `wanted` blocks, while all threads, this one with what it
    /// wanted included, never had more than `peak` at once.
    Unjustified {
        at: u64,
        thread: usize,
        wanted: usize,
        peak: usize,
    },
    /// Threads surely held this many different blocks, which is more than there are.
    Overfull { at: u64, held: usize },
}

#[derive(Default)]
struct Thread {
    /// Blocks it allocated and holds, and blocks it matched and holds.
    own: usize,
    others: usize,
    doing: Option<Doing>,
}

enum Doing {
    /// An allocation, with the most that all threads had at an instant of it.
    Ask(usize, usize),
    Take(usize),
    Drop,
}

impl Thread {
    /// What it has at most, with what it has asked for.
    fn most(&self) -> usize {
        let asked = match self.doing {
            Some(Doing::Ask(n, _) | Doing::Take(n)) => n,
            _ => 0,
        };
        self.own + self.others + asked
    }
}

/// What a log shows.
#[derive(Default, Debug)]
pub struct Findings {
    pub granted: usize,
    pub refused: usize,
    pub violations: Vec<Violation>,
}

/// Checks the use of a pool of `total` blocks.
///
/// # Panics
///
/// If the log makes no sense, such as an end without a beginning.
pub fn check(total: usize, threads: usize, mut log: Vec<Event>) -> Findings {
    log.sort_unstable_by_key(|event| event.at);
    let mut findings = Findings::default();
    let mut state: Vec<_> = (0..threads).map(|_| Thread::default()).collect();
    // Of all threads; what is being dropped is no longer surely held.
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
