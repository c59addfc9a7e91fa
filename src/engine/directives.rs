//! Retention directives: what has been said about the worth of blocks.
//!
//! A word beside each slot, made with the first directive:
//!
//! | bits | |
//! |---|---|
//! | `0..40` | *deadline*: in milliseconds since the table was made; 0 for none |
//! | `40..47` | the priority |
//! | `47` | *announced*: the slot is on the stack below, or about to be |
//! | `48..64` | the low bits of the *generation* the directive is for |
//!
//! So nobody who ends a tenancy need look here: the directive is not of the next one.
//! Any thread may replace a word, by an exchange that fails if the tenancy that it was meant
//! for has ended. Whoever lists a block takes a word of an earlier tenancy out, so that
//! none is taken for one of 65,536 tenancies later. (Unless no tenancy in between came to be
//! listed; then it costs a block its place in the order.)
//!
//! # How the order gets to know
//!
//! When the plane lists a block it looks at the block's word. For blocks that are listed
//! already, whoever gives a directive *announces* the slot, on a stack of the table's,
//! whatever the block's state: whether it is listed then is for the holder of the plane
//! to see. A slot is on the stack at most once. A thread that is suspended between
//! the exchange and the push holds up what is said of this one inactive block; what its
//! next release says is heard all the same.
//!
//! | who | does | ordering |
//! |---|---|---|
//! | who gives a directive | replaces the word, and pushes if it was not announced | AcqRel: reads the mark after the link was read by who took it off; then release by the push |
//! | the plane's holder | takes the stack, reads each link, then takes the mark off, then reads the word | acquire by the swap, AcqRel |

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::SequenceHash;
use crate::retention::{Priority, Retention};
use crate::suspension::step;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

use super::slot::{NIL, Slot};
use super::store::Store;
use super::word::State;

/// See the module documentation.
pub(super) struct Directives {
    block_count: u32,
    table: OnceLock<Table>,
}

struct Table {
    since: Instant,
    words: Box<[AtomicU64]>,
    announced: Announced,
}

/// What the order is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) priority: Priority,
    /// In [`Directives::now`]'s time.
    pub(super) deadline: Option<u64>,
}

impl Directive {
    const NONE: Self = Self {
        priority: Priority::DEFAULT,
        deadline: None,
    };
}

/// A directive with the generation it is for.
#[derive(Clone, Copy)]
struct DirectiveWord(u64);

impl DirectiveWord {
    const DEADLINE: u64 = (1 << 40) - 1;
    const PRIORITY_AT: u32 = 40;
    const ANNOUNCED: u64 = 1 << 47;
    const GENERATION_AT: u32 = 48;

    fn new(generation: u32, directive: Directive) -> Self {
        Self(
            u64::from(generation) << Self::GENERATION_AT
                | u64::from(directive.priority.get()) << Self::PRIORITY_AT
                | directive.deadline.unwrap_or(0),
        )
    }

    fn is_announced(self) -> bool {
        self.0 & Self::ANNOUNCED != 0
    }

    /// The directive, if it is for this generation. A word that was never written is for
    /// none: no block has a content in its first.
    fn of(self, generation: u32) -> Option<Directive> {
        let is_of = self.0 >> Self::GENERATION_AT == u64::from(generation as u16);
        let deadline = self.0 & Self::DEADLINE;
        // Seven bits, of which a word has at most 100.
        let priority = Priority::new((self.0 >> Self::PRIORITY_AT) as u8 & 0x7f);
        (is_of && self.0 != 0).then(|| Directive {
            priority: priority.unwrap_or_default(),
            deadline: (deadline != 0).then_some(deadline),
        })
    }
}

impl Table {
    fn new(block_count: u32) -> Self {
        Self {
            since: Instant::now(),
            words: (0..block_count).map(|_| AtomicU64::new(0)).collect(),
            announced: Announced::new(block_count),
        }
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }

    /// The directive that a retention comes to.
    fn directive(&self, retention: Retention) -> Directive {
        let deadline = |duration: Duration| {
            let until = self.since.elapsed().checked_add(duration)?;
            let millis = until.as_nanos().div_ceil(1_000_000);
            u64::try_from(millis)
                .ok()
                .filter(|&millis| millis <= DirectiveWord::DEADLINE)
        };
        match retention.duration {
            Some(Duration::ZERO) => Directive::NONE,
            duration => Directive {
                priority: retention.priority,
                deadline: duration.and_then(deadline),
            },
        }
    }
}

impl Directives {
    pub(super) fn new(block_count: u32) -> Self {
        Self {
            block_count,
            table: OnceLock::new(),
        }
    }

    /// Makes the table, of which loom does not know that its making comes first.
    #[cfg(all(test, kvbm_loom))]
    pub(super) fn prepare(&self) {
        self.table();
    }

    fn table(&self) -> &Table {
        self.table.get_or_init(|| Table::new(self.block_count))
    }

    /// Whether there has been a directive.
    #[inline]
    pub(super) fn are_used(&self) -> bool {
        self.table.get().is_some()
    }

    /// Milliseconds since there was a directive first.
    pub(super) fn now(&self) -> u64 {
        self.table.get().map_or(0, Table::now)
    }

    /// Gives a block a directive, if it is still of this generation: returns whether.
    pub(super) fn give(&self, slot: &Slot, generation: u32, retention: Retention) -> bool {
        let table = self.table();
        let word = DirectiveWord::new(generation, table.directive(retention));
        let at = &table.words[slot.id() as usize];
        // Acquire: who sees the directive of a later generation sees the slot in it.
        let mut seen = at.load(Ordering::Acquire);
        loop {
            if slot.word().generation() != generation {
                return false;
            }
            let new = word.0 | DirectiveWord::ANNOUNCED;
            match at.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        step!(DirectiveGiven);
        if !DirectiveWord(seen).is_announced() {
            table.announced.push(slot.id());
        }
        true
    }

    /// The directive for a block of this generation, if there is one.
    pub(super) fn of(&self, slot: &Slot, generation: u32) -> Option<Directive> {
        let table = self.table.get()?;
        // Acquire: for `give`, see there.
        let word = table.words[slot.id() as usize].load(Ordering::Acquire);
        DirectiveWord(word).of(generation)
    }

    /// As [`of`](Self::of), for the holder of the plane, who lists the block. Takes out what
    /// was said of an earlier tenancy.
    pub(super) fn of_listed(&self, slot: &Slot, generation: u32) -> Option<Directive> {
        let table = self.table.get()?;
        let at = &table.words[slot.id() as usize];
        let word = at.load(Ordering::Acquire);
        let directive = DirectiveWord(word).of(generation);
        // What is said of a later tenancy is announced still: the caller would have taken
        // that mark off, and seen the tenancy.
        if directive.is_none() && word != 0 && !DirectiveWord(word).is_announced() {
            // If it is another by now, that is not to be taken out.
            let _ = at.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        directive
    }

    /// Takes the announced slots, in the order in which they were announced, and calls
    /// `visit` with each. For the holder of the plane.
    pub(super) fn take_announced(&self, mut visit: impl FnMut(u32)) {
        let Some(table) = self.table.get() else {
            return;
        };
        for slot in table.announced.take() {
            let at = &table.words[slot as usize];
            at.fetch_and(!DirectiveWord::ANNOUNCED, Ordering::AcqRel);
            visit(slot);
        }
    }
}

/// A stack of slots.
struct Announced {
    head: AtomicU32,
    /// The next slot of each that is on the stack.
    next: Box<[AtomicU32]>,
}

impl Announced {
    fn new(block_count: u32) -> Self {
        Self {
            head: AtomicU32::new(NIL),
            next: (0..block_count).map(|_| AtomicU32::new(NIL)).collect(),
        }
    }

    /// Pushes a slot that the caller has marked as announced.
    fn push(&self, slot: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            self.next[slot as usize].store(head, Ordering::Relaxed);
            // Release: pairs with the acquire in `take`, for the links.
            match self
                .head
                .compare_exchange_weak(head, slot, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all slots, the first pushed first: their links may be used again when their
    /// marks are taken off.
    fn take(&self) -> impl Iterator<Item = u32> {
        let mut slots = Vec::new();
        if self.head.load(Ordering::Relaxed) != NIL {
            let mut at = self.head.swap(NIL, Ordering::Acquire);
            while at != NIL {
                slots.push(at);
                at = self.next[at as usize].load(Ordering::Relaxed);
            }
        }
        slots.into_iter().rev()
    }
}

impl Store {
    /// Gives the content of a block that the caller holds a directive.
    pub(crate) fn retain(&self, slot: &Slot, retention: Retention) {
        let slot = self.primary_of(slot);
        self.directives
            .give(slot, slot.word().generation(), retention);
    }

    /// What holds for the content of a block that the caller holds.
    pub(crate) fn retention(&self, slot: &Slot) -> Retention {
        let slot = self.primary_of(slot);
        let Some(Directive { priority, deadline }) =
            self.directives.of(slot, slot.word().generation())
        else {
            return Retention::default();
        };
        let now = self.directives.now();
        match deadline {
            Some(deadline) if deadline <= now => Retention::default(),
            deadline => Retention {
                priority,
                duration: deadline.map(|deadline| Duration::from_millis(deadline - now)),
            },
        }
    }

    /// Gives the content of a hash a directive. Returns whether it is registered here.
    pub(crate) fn retain_hash(&self, hash: SequenceHash, retention: Retention) -> bool {
        let key = self.registry.key(hash);
        while let Some((slot, seen)) = self.index.find(&self.slots, key) {
            if self.is_forgotten(slot, seen) {
                return false;
            }
            if slot.is_tenancy(seen) && self.directives.give(slot, seen.generation(), retention) {
                return true;
            }
        }
        false
    }

    /// The block that is matched for the content of a block that the caller holds.
    fn primary_of<'a>(&'a self, slot: &'a Slot) -> &'a Slot {
        match slot.word().state() {
            State::Duplicate => &self.slots[slot.primary() as usize],
            _ => slot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_what_it_is_given() {
        for generation in [0, 1, 0xffff, 0x1_0001, u32::MAX] {
            for priority in [0, 35, 100] {
                for deadline in [None, Some(1), Some(DirectiveWord::DEADLINE)] {
                    let priority = Priority::new(priority).unwrap();
                    let directive = Directive { priority, deadline };
                    let word = DirectiveWord::new(generation, directive);
                    assert!(!word.is_announced());
                    let announced = DirectiveWord(word.0 | DirectiveWord::ANNOUNCED);
                    assert!(announced.is_announced());
                    if word.0 != 0 {
                        assert_eq!(word.of(generation), Some(directive));
                        assert_eq!(announced.of(generation), Some(directive));
                    }
                    assert_eq!(word.of(generation.wrapping_add(1)), None);
                }
            }
        }
        assert_eq!(DirectiveWord(0).of(0), None);
    }

    #[test]
    fn a_duration_becomes_a_deadline_that_is_not_early() {
        let table = Table::new(1);
        let deadline = |duration| {
            let retention = Retention::new(Priority::HIGHEST).for_duration(duration);
            table.directive(retention)
        };
        assert_eq!(deadline(Duration::ZERO), Directive::NONE);
        assert_eq!(deadline(Duration::MAX).deadline, None);
        let before = table.since.elapsed();
        let hour = Duration::from_secs(3_600);
        let until = deadline(hour).deadline.expect("an hour ends");
        assert!(Duration::from_millis(until) >= before + hour);
    }

    #[test]
    fn what_was_said_of_an_earlier_tenancy_is_taken_out() {
        let slot = Slot::new(0, false);
        let directives = Directives::new(1);
        let generation = slot.word().generation();
        let high = Retention::new(Priority::HIGHEST);
        assert!(directives.give(&slot, generation, high));
        directives.take_announced(|_| {});
        assert!(directives.of_listed(&slot, generation).is_some());
        slot.vacate(slot.word(), false)
            .expect("nobody else is about");
        let next = slot.word().generation();
        assert_ne!(next, generation);
        assert_eq!(directives.of_listed(&slot, next), None);
        // As it would be taken for, 65,536 tenancies later.
        assert_eq!(directives.of(&slot, generation), None);
    }

    #[test]
    fn announced_once_and_in_order() {
        let slots: Vec<Slot> = (0..4).map(|id| Slot::new(id, false)).collect();
        let directives = Directives::new(4);
        let generation = |slot: &Slot| slot.word().generation();
        let low = Retention::new(Priority::LOWEST);
        let taken = || {
            let mut taken = Vec::new();
            directives.take_announced(|slot| taken.push(slot));
            taken
        };
        assert!(taken().is_empty());
        for at in [2, 0, 2, 3] {
            assert!(directives.give(&slots[at], generation(&slots[at]), low));
        }
        assert_eq!(taken(), [2, 0, 3]);
        assert!(directives.give(&slots[2], generation(&slots[2]), low));
        assert!(!directives.give(&slots[1], generation(&slots[1]) + 1, low));
        assert_eq!(taken(), [2]);
        assert_eq!(directives.of(&slots[1], 0), None);
    }
}
