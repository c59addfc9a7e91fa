//! Retention directives: what has been said about the worth of blocks.
//!
//! A word beside each slot, made with the first directive:
//!
//! | bits | |
//! |---|---|
//! | `0..39` | of a directive with a duration the *deadline*, in milliseconds since the table was made; else the high bits of the *generation* |
//! | `39` | *timed*: which of the two |
//! | `40..47` | the priority plus one; 0 if there is no directive |
//! | `47` | *announced*: the slot is on the stack below, or about to be |
//! | `48..64` | the low bits of the *generation* |
//!
//! The generation is that of the tenancy the word is for. Any thread may replace a word, by
//! an exchange, if it has seen the slot in that tenancy after it read the word it replaces.
//! And whoever ends a tenancy replaces the word by one of the next, without a directive
//! ([`Directives::end`]). So an exchange that comes late fails, since the word it was to
//! replace is no longer there: what is said of one content is not taken for what is said of
//! a later one, however many there are in between. (It is there again only if a tenancy some
//! multiple of 65,536 later was given the same priority, until the same millisecond.)
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
//! | who ends a tenancy | replaces the word, and leaves the mark | AcqRel: who gives a directive and fails sees that the tenancy has ended |
//! | the plane's holder | takes the stack, reads each link, then takes the mark off, then reads the word | acquire by the swap, AcqRel |

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::retention::{Priority, Retention};
use crate::sync::step;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

use crate::engine::parts::slot::{NIL, Slot};
use crate::engine::parts::slot_stack::SlotStack;

/// See the module documentation.
pub(crate) struct Directives {
    block_count: u32,
    table: OnceLock<Table>,
}

struct Table {
    since: Instant,
    words: Box<[AtomicU64]>,
    /// The announced slots, and the next one on the stack for each of them.
    announced: SlotStack,
    next_announced: Box<[AtomicU32]>,
}

/// What the order is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) priority: Priority,
    /// In [`Directives::now`]'s time.
    pub(crate) deadline: Option<u64>,
}

impl Directive {
    const NONE: Self = Self {
        priority: Priority::DEFAULT,
        deadline: None,
    };
}

/// See the module documentation.
#[derive(Clone, Copy, PartialEq, Eq)]
struct DirectiveWord(u64);

impl DirectiveWord {
    const DEADLINE: u64 = (1 << 39) - 1;
    const TIMED: u64 = 1 << 39;
    const PRIORITY_AT: u32 = 40;
    const PRIORITY: u64 = 0x7f << Self::PRIORITY_AT;
    const ANNOUNCED: u64 = 1 << 47;
    const GENERATION_AT: u32 = 48;

    /// No directive for this generation.
    fn none(generation: u32) -> Self {
        let high = u64::from(generation >> 16);
        Self(u64::from(generation) << Self::GENERATION_AT | high)
    }

    fn new(generation: u32, directive: Directive) -> Self {
        let priority = u64::from(directive.priority.get()) + 1;
        let word = match directive.deadline {
            None => Self::none(generation).0,
            Some(deadline) => {
                debug_assert!(deadline <= Self::DEADLINE);
                u64::from(generation) << Self::GENERATION_AT | Self::TIMED | deadline
            }
        };
        Self(word | priority << Self::PRIORITY_AT)
    }

    fn is_announced(self) -> bool {
        self.0 & Self::ANNOUNCED != 0
    }

    /// The same, announced if `other` is.
    fn announced_as(self, other: Self) -> Self {
        Self(self.0 | other.0 & Self::ANNOUNCED)
    }

    /// The directive, if there is one and it is for this generation. (A deadline stands where
    /// the high bits of the generation would: words of tenancies that have ended are
    /// replaced, so the low ones are enough.)
    fn of(self, generation: u32) -> Option<Directive> {
        let priority = (self.0 & Self::PRIORITY) >> Self::PRIORITY_AT;
        let is_timed = self.0 & Self::TIMED != 0;
        let own = Self::none(generation).0;
        let of_tag = if is_timed {
            u64::MAX << Self::GENERATION_AT
        } else {
            u64::MAX << Self::GENERATION_AT | Self::DEADLINE
        };
        if priority == 0 || (self.0 ^ own) & of_tag != 0 {
            return None;
        }
        Some(Directive {
            // A word has at most 101 there.
            priority: Priority::new(priority as u8 - 1).unwrap_or_default(),
            deadline: is_timed.then_some(self.0 & Self::DEADLINE),
        })
    }
}

impl Table {
    fn new(block_count: u32) -> Self {
        Self {
            since: Instant::now(),
            words: (0..block_count).map(|_| AtomicU64::new(0)).collect(),
            announced: SlotStack::new(),
            next_announced: (0..block_count).map(|_| AtomicU32::new(NIL)).collect(),
        }
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }

    #[cold]
    #[inline(never)]
    fn end(&self, slot: &Slot) {
        let none = DirectiveWord::none(slot.word().generation());
        let at = &self.words[slot.id() as usize];
        let mut seen = at.load(Ordering::Relaxed);
        loop {
            let new = none.announced_as(DirectiveWord(seen));
            match at.compare_exchange(seen, new.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
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
    pub(crate) fn new(block_count: u32) -> Self {
        Self {
            block_count,
            table: OnceLock::new(),
        }
    }

    /// Makes the table, of which loom does not know that its making comes first.
    #[cfg(all(test, kvbm_loom))]
    pub(crate) fn prepare(&self) {
        self.table();
    }

    fn table(&self) -> &Table {
        self.table.get_or_init(|| Table::new(self.block_count))
    }

    /// Whether there has been a directive.
    #[inline]
    pub(crate) fn are_used(&self) -> bool {
        self.table.get().is_some()
    }

    /// Milliseconds since there was a directive first.
    pub(crate) fn now(&self) -> u64 {
        self.table.get().map_or(0, Table::now)
    }

    /// Gives a block a directive, if it is still of this generation: returns whether.
    pub(crate) fn give(&self, slot: &Slot, generation: u32, retention: Retention) -> bool {
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
            let link = &table.next_announced[slot.id() as usize];
            table.announced.push_run(slot.id(), link);
        }
        true
    }

    /// The directive for a block of this generation, if there is one.
    pub(crate) fn of(&self, slot: &Slot, generation: u32) -> Option<Directive> {
        let table = self.table.get()?;
        // Acquire: for `give`, see there.
        let word = table.words[slot.id() as usize].load(Ordering::Acquire);
        DirectiveWord(word).of(generation)
    }

    /// As [`of`](Self::of), for the holder of the plane, at the time `now`. Takes out a
    /// directive whose time is up.
    pub(crate) fn in_force(
        &self,
        slot: &Slot,
        generation: u32,
        now: impl FnOnce() -> u64,
    ) -> Option<Directive> {
        let table = self.table.get()?;
        let at = &table.words[slot.id() as usize];
        let word = DirectiveWord(at.load(Ordering::Acquire));
        let directive = word.of(generation)?;
        if directive.deadline.is_none_or(|deadline| deadline > now()) {
            return Some(directive);
        }
        let none = DirectiveWord::none(generation).announced_as(word);
        // If it is another by now, that is not to be taken out.
        let _ = at.compare_exchange(word.0, none.0, Ordering::AcqRel, Ordering::Relaxed);
        None
    }

    /// Takes out what was said of the tenancy that has just ended. For the owner of the
    /// slot, which has been vacated.
    #[inline]
    pub(crate) fn end(&self, slot: &Slot) {
        // If the first directive comes at this moment, its word may stay, for a tenancy that
        // is no more. It goes with the next.
        if let Some(table) = self.table.get() {
            table.end(slot);
        }
    }

    /// Takes the announced slots, in the order in which they were announced, and calls
    /// `visit` with each. For the holder of the plane.
    pub(crate) fn take_announced(&self, mut visit: impl FnMut(u32)) {
        let Some(table) = self.table.get() else {
            return;
        };
        let link = |slot: u32| &table.next_announced[slot as usize];
        let mut next = table.announced.drain(link, |_| {});
        while next != NIL {
            let slot = next;
            // Before the mark is taken off: then the link may be used again.
            next = link(slot).load(Ordering::Relaxed);
            let at = &table.words[slot as usize];
            at.fetch_and(!DirectiveWord::ANNOUNCED, Ordering::AcqRel);
            visit(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_what_it_is_given() {
        for generation in [0, 1, 0xffff, 0x1_0000, 0x1_0001, 0xffff_0000, u32::MAX] {
            for priority in [0, 35, 100] {
                for deadline in [None, Some(0), Some(1), Some(DirectiveWord::DEADLINE)] {
                    let priority = Priority::new(priority).unwrap();
                    let directive = Directive { priority, deadline };
                    let word = DirectiveWord::new(generation, directive);
                    assert!(!word.is_announced());
                    let announced = DirectiveWord(word.0 | DirectiveWord::ANNOUNCED);
                    assert!(announced.is_announced());
                    assert_eq!(word.of(generation), Some(directive));
                    assert_eq!(announced.of(generation), Some(directive));
                    assert_eq!(word.of(generation.wrapping_add(1)), None);
                    let is_of_65_536_later = word.of(generation.wrapping_add(1 << 16)).is_some();
                    assert_eq!(is_of_65_536_later, deadline.is_some());
                }
            }
            assert_eq!(DirectiveWord::none(generation).of(generation), None);
        }
        // What a table is made of.
        assert!(DirectiveWord::none(0) == DirectiveWord(0));
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

    /// Ends the tenancy of a slot that nobody else uses.
    fn next_tenancy(directives: &Directives, slot: &Slot) -> u32 {
        let vacated = slot.vacate(slot.word(), false);
        vacated.expect("nobody else is about");
        directives.end(slot);
        slot.word().generation()
    }

    #[test]
    fn what_was_said_of_an_earlier_tenancy_is_not_said_of_a_later_one() {
        for retention in [
            Retention::new(Priority::HIGHEST),
            Retention::new(Priority::HIGHEST).for_duration(Duration::from_secs(3_600)),
        ] {
            let slot = Slot::new(0, false);
            let directives = Directives::new(1);
            let first = slot.word().generation();
            assert!(directives.give(&slot, first, retention));
            assert!(directives.of(&slot, first).is_some());
            for tenancy in 0..3 << 16 {
                let generation = next_tenancy(&directives, &slot);
                assert_eq!(directives.of(&slot, generation), None, "tenancy {tenancy}");
            }
            assert!(!directives.give(&slot, first, retention), "it has ended");
        }
    }

    /// The word that a late thread means to replace has been replaced, even where there was
    /// no directive.
    #[test]
    fn a_tenancy_that_ends_changes_the_word() {
        let slot = Slot::new(0, false);
        let directives = Directives::new(1);
        let table = directives.table();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..3 << 16 {
            assert!(seen.insert(table.words[0].load(Ordering::Relaxed)));
            next_tenancy(&directives, &slot);
        }
    }

    #[test]
    fn what_is_over_is_taken_out() {
        let slot = Slot::new(0, false);
        let directives = Directives::new(1);
        let generation = slot.word().generation();
        let minute = Retention::new(Priority::LOWEST).for_duration(Duration::from_secs(60));
        assert!(directives.give(&slot, generation, minute));
        let given = directives.in_force(&slot, generation, || 0);
        let deadline = given.expect("given").deadline.expect("with a duration");
        let before = directives.in_force(&slot, generation, || deadline - 1);
        assert_eq!(before, given);
        assert_eq!(directives.in_force(&slot, generation, || deadline), None);
        let asked = || -> u64 { panic!("there is no duration any more") };
        assert_eq!(directives.in_force(&slot, generation, asked), None);
        let mut announced = 0;
        directives.take_announced(|_| announced += 1);
        assert_eq!(announced, 1, "that it has changed is still to be heard");
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
