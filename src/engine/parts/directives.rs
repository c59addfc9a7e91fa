//! Retention directives: how long the content of each block should be kept.
//!
//! # Layout
//!
//! One word per slot, in a table that comes with the first directive:
//!
//! | bits | |
//! |---|---|
//! | `0..39` | with a duration, the *deadline*, in milliseconds since the table was allocated; otherwise the high bits of the *generation* |
//! | `39` | *timed*: set if the bits below hold a deadline |
//! | `40..47` | the priority plus one; 0 if there is no directive |
//! | `47` | *announced*: the slot is on the stack of announced slots, or about to be pushed |
//! | `48..64` | the low bits of the *generation* |
//!
//! The generation is that of the tenancy to which the word belongs.
//!
//! # Which thread may replace a word?
//!
//! | thread | does | orderings |
//! |---|---|---|
//! | one that gives a directive | replaces the word, if it has seen the slot in that tenancy *after* reading the word; pushes the slot if it was not announced | AcqRel: the mark is read after the drainer has read the link; then release by the push |
//! | one that ends a tenancy | replaces the word with one of the next generation without a directive ([`Directives::end`]), and leaves the mark | AcqRel: a thread that fails to give a directive sees that the tenancy has ended |
//! | the holder of the plane | takes the stack, reads each link, then clears the mark, then reads the word; removes a directive that has expired | acquire by the swap, AcqRel |
//!
//! # Can a late directive reach a later content?
//!
//! No: the end of a tenancy replaces the word, so the exchange of a late thread fails, however
//! many tenancies there were in between. (The word it expects recurs only if a tenancy that is
//! some multiple of 65,536 later was given the same priority until the same millisecond.)
//!
//! # How does the eviction order learn of a directive?
//!
//! When the plane lists a block, it looks at the block's word. For blocks that are listed
//! already, a thread that gives a directive *announces* the slot on a stack, whatever the
//! block's state; the holder of the plane sees whether it is listed. A slot is on the stack at
//! most once. A thread that is suspended between the exchange and the push delays directives
//! for this one block while it stays inactive; its next release still applies them.
//!
//! # How many are announced?
//!
//! A thread that has announced learns how many slots are announced. If there are
//! [`ANNOUNCED_SLOTS`] or more, it has the plane apply them. So there are never many, unless the
//! plane is held meanwhile; and whoever holds it applies at most [`ANNOUNCED_PER_VISIT`] at once,
//! the latest, and leaves the others to the next.
//!
//! # What does the first directive cost?
//!
//! O(1), but for the memory: the table, and the [room](PriorityRoom) for the priorities that the
//! block's eviction order is about to have, which must not be allocated while the plane is held (other
//! orders get theirs before their planes are next held). All of it
//! is zero, as new memory is, so there is no pass over it. Threads that give the first directive at
//! the same time do not wait for one another: see [`OnceBox`].

use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use crate::policy::Bands;
use crate::retention::{Priority, Retention};
use crate::sync::limits::ANNOUNCED_PER_VISIT;
use crate::sync::once_box::OnceBox;
use crate::sync::step;
use crate::sync::try_lock::TryLock;
use crate::sync::{AtomicU32, AtomicU64, Ordering, zeroed};

use crate::engine::parts::deadlines::Deadlines;
use crate::engine::parts::slot::{NIL, Slot};
use crate::engine::parts::slot_stack::SlotStack;

#[cfg(doc)]
use crate::sync::limits::ANNOUNCED_SLOTS;

/// The directives of a store's blocks. Costs no memory per block until the first is given.
pub(crate) struct Directives {
    block_count: u32,
    /// The number of eviction orders.
    orders: usize,
    table: OnceBox<DirectiveTable>,
}

struct DirectiveTable {
    since: Instant,
    words: Box<[AtomicU64]>,
    /// For each order, the slots whose directives it has not seen yet.
    announced: Box<[CachePadded<SlotStack>]>,
    /// The links of these stacks, one per slot.
    next_announced: Box<[AtomicU32]>,
    /// For each order, taken by the holder of its plane, who is the only one to try.
    rooms: Box<[OnceBox<TryLock<Option<PriorityRoom>>>]>,
}

/// What the eviction order needs to have priorities.
pub(crate) struct PriorityRoom {
    pub(crate) bands: Bands,
    pub(crate) deadlines: Deadlines,
}

impl PriorityRoom {
    fn new(block_count: u32) -> Self {
        Self {
            bands: Bands::new(block_count as usize),
            deadlines: Deadlines::new(block_count as usize),
        }
    }
}

/// A directive as the eviction order sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) priority: Priority,
    /// The time at which it expires, on the clock of [`Directives::now`]; `None` if it never
    /// does.
    pub(crate) deadline: Option<u64>,
}

impl Directive {
    const NONE: Self = Self {
        priority: Priority::DEFAULT,
        deadline: None,
    };
}

/// One slot's word; the module documentation has its layout.
#[derive(Clone, Copy, PartialEq, Eq)]
struct DirectiveWord(u64);

impl DirectiveWord {
    const DEADLINE: u64 = (1 << 39) - 1;
    const TIMED: u64 = 1 << 39;
    const PRIORITY_AT: u32 = 40;
    const PRIORITY: u64 = 0x7f << Self::PRIORITY_AT;
    const ANNOUNCED: u64 = 1 << 47;
    const GENERATION_AT: u32 = 48;

    /// Returns the word of this generation without a directive.
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

    /// Returns the same word, announced if `other` is.
    fn announced_as(self, other: Self) -> Self {
        Self(self.0 | other.0 & Self::ANNOUNCED)
    }

    /// Returns the directive, if there is one and it is for this generation. (A deadline
    /// takes the place of the generation's high bits. The low bits are enough, since the words
    /// of tenancies that have ended are replaced.)
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
            // The field is at most 101.
            priority: Priority::new(priority as u8 - 1).unwrap_or_default(),
            deadline: is_timed.then_some(self.0 & Self::DEADLINE),
        })
    }
}

impl DirectiveTable {
    fn new(block_count: u32, orders: usize) -> Self {
        Self {
            since: Instant::now(),
            // Zero is the word of the first tenancy without a directive.
            words: zeroed::array(block_count as usize),
            announced: (0..orders)
                .map(|_| CachePadded::new(SlotStack::new()))
                .collect(),
            next_announced: zeroed::array(block_count as usize),
            rooms: (0..orders).map(|_| OnceBox::new()).collect(),
        }
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }

    fn room(&self, order: usize, block_count: u32) -> &TryLock<Option<PriorityRoom>> {
        self.rooms[order].get_or_make(|| TryLock::new(Some(PriorityRoom::new(block_count))))
    }

    /// Replaces the word of a slot with one of its current generation without a directive.
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

    /// Returns the directive for a retention. A duration of zero means no directive. A
    /// directive whose deadline does not fit (after some 17 years) never expires.
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
    /// Creates the directives of a store with this number of blocks and of eviction orders.
    pub(crate) fn new(block_count: u32, orders: usize) -> Self {
        Self {
            block_count,
            orders,
            table: OnceBox::new(),
        }
    }

    /// Makes the table, so that a model need not explore how that is done.
    #[cfg(all(test, kvbm_loom))]
    pub(crate) fn prepare(&self) {
        self.table();
        (0..self.orders).for_each(|order| self.make_room(order));
    }

    /// Returns the table, and makes it first if there is none.
    fn table(&self) -> &DirectiveTable {
        self.table.get_or_make(|| {
            let table = DirectiveTable::new(self.block_count, self.orders);
            step!(DirectivesMade);
            table
        })
    }

    /// Makes the room that an order will need for priorities, unless it has been made. Call before
    /// holding the plane, once directives are [used](Self::are_used).
    pub(crate) fn make_room(&self, order: usize) {
        if let Some(table) = self.table.get() {
            table.room(order, self.block_count);
        }
    }

    /// Returns whether the room of an order has been made.
    #[inline]
    pub(crate) fn has_room(&self, order: usize) -> bool {
        let table = self.table.get();
        table.is_some_and(|table| table.rooms[order].get().is_some())
    }

    /// Takes the room of an order for priorities. Only for the holder of the plane, and once.
    pub(crate) fn take_room(&self, order: usize) -> PriorityRoom {
        let room = self.table().room(order, self.block_count).try_hold();
        let room = room.and_then(|mut room| room.take());
        room.unwrap_or_else(|| PriorityRoom::new(self.block_count))
    }

    /// Returns whether a directive has ever been given.
    #[inline]
    pub(crate) fn are_used(&self) -> bool {
        self.table.get().is_some()
    }

    /// Returns the milliseconds since the first directive; zero before it.
    pub(crate) fn now(&self) -> u64 {
        self.table.get().map_or(0, DirectiveTable::now)
    }

    /// Gives a block a directive if it is still of this generation, announces it to the order that
    /// probably lists the block, and returns how many slots are then announced there. Returns `None`
    /// if the block is of a later generation.
    pub(crate) fn give(
        &self,
        slot: &Slot,
        generation: u32,
        retention: Retention,
        order: usize,
    ) -> Option<u32> {
        let table = self.table();
        table.room(order, self.block_count);
        let word = DirectiveWord::new(generation, table.directive(retention));
        let at = &table.words[slot.id() as usize];
        // Acquire: a thread that sees a word of a later generation also sees that the slot is
        // of that generation.
        let mut seen = at.load(Ordering::Acquire);
        loop {
            if slot.word().generation() != generation {
                return None;
            }
            let new = word.0 | DirectiveWord::ANNOUNCED;
            match at.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        step!(DirectiveGiven);
        if DirectiveWord(seen).is_announced() {
            return Some(table.announced[order].depth());
        }
        let link = &table.next_announced[slot.id() as usize];
        // SAFETY: this exchange has set the slot's mark.
        Some(unsafe { table.announced[order].push_run(slot.id(), link, 1) })
    }

    /// Announces the slot of a block of this generation to the order of the shard that has released it,
    /// if the block has a directive. Only for the holder of a plane that has just listed the block
    /// without it.
    #[cold]
    pub(crate) fn announce_again(&self, slot: &Slot, generation: u32) {
        let Some(table) = self.table.get() else {
            return;
        };
        let at = &table.words[slot.id() as usize];
        // An exchange, for the reason given in `in_force`.
        let word = DirectiveWord(at.fetch_or(0, Ordering::AcqRel));
        if word.of(generation).is_none() {
            return;
        }
        let order = slot.shard() % self.orders;
        let before = at.fetch_or(DirectiveWord::ANNOUNCED, Ordering::AcqRel);
        if !DirectiveWord(before).is_announced() {
            let link = &table.next_announced[slot.id() as usize];
            // SAFETY: the mark has been set just now.
            unsafe { table.announced[order].push_run(slot.id(), link, 1) };
        }
    }

    /// Returns whether slots are announced to an order. A hint.
    pub(crate) fn are_announced(&self, order: usize) -> bool {
        let table = self.table.get();
        table.is_some_and(|table| table.announced[order].depth() > 0)
    }

    /// Returns the directive of a block of this generation, expired or not.
    pub(crate) fn of(&self, slot: &Slot, generation: u32) -> Option<Directive> {
        let table = self.table.get()?;
        // Acquire: as in `give`.
        let word = table.words[slot.id() as usize].load(Ordering::Acquire);
        DirectiveWord(word).of(generation)
    }

    /// Returns the directive of a block of this generation that has not expired at the time
    /// `now`, and removes one that has. Only for the holder of the plane. Calls `now` only if
    /// the directive has a deadline.
    pub(crate) fn in_force(
        &self,
        slot: &Slot,
        generation: u32,
        now: impl FnOnce() -> u64,
    ) -> Option<Directive> {
        let table = self.table.get()?;
        let at = &table.words[slot.id() as usize];
        // An exchange, after that of the block's place, and not just a load: another plane's holder
        // that does not see this place has cleared the announced mark before, which this exchange then
        // follows, so that it sees the directive.
        let word = DirectiveWord(at.fetch_or(0, Ordering::AcqRel));
        let directive = word.of(generation)?;
        if directive.deadline.is_none_or(|deadline| deadline > now()) {
            return Some(directive);
        }
        let none = DirectiveWord::none(generation).announced_as(word);
        // If this fails, there is a newer directive, which stays.
        let _ = at.compare_exchange(word.0, none.0, Ordering::AcqRel, Ordering::Relaxed);
        None
    }

    /// Removes the directive of the tenancy that has just ended. Only for the thread that has
    /// vacated the slot.
    #[inline]
    pub(crate) fn end(&self, slot: &Slot) {
        // If the very first directive is given at this moment, its word may stay, for a tenancy
        // that has ended. The end of the next tenancy removes it.
        if let Some(table) = self.table.get() {
            table.end(slot);
        }
    }

    /// Takes the slots that are announced to an order, or the latest of them if there are many, and
    /// calls `visit` with each, in the order in which they were announced. If `visit` returns another
    /// order, which lists the block, announces the slot to that one. Only for the holder of the plane.
    pub(crate) fn take_announced(&self, order: usize, mut visit: impl FnMut(u32) -> Option<usize>) {
        let Some(table) = self.table.get() else {
            return;
        };
        let link = |slot: u32| &table.next_announced[slot as usize];
        let mut next = table.announced[order].drain(ANNOUNCED_PER_VISIT, link, |_| {});
        while next != NIL {
            let slot = next;
            // Read before the mark is cleared: from then on, the link may be written again.
            next = link(slot).load(Ordering::Relaxed);
            let at = &table.words[slot as usize];
            at.fetch_and(!DirectiveWord::ANNOUNCED, Ordering::AcqRel);
            if let Some(other) = visit(slot) {
                let before = at.fetch_or(DirectiveWord::ANNOUNCED, Ordering::AcqRel);
                if !DirectiveWord(before).is_announced() {
                    // SAFETY: the mark has been set just now.
                    unsafe { table.announced[other].push_run(slot, link(slot), 1) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_a_directive() {
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
        // The words of a new table are zero.
        assert!(DirectiveWord::none(0) == DirectiveWord(0));
    }

    #[test]
    fn a_duration_becomes_a_deadline_that_is_not_early() {
        let table = DirectiveTable::new(1, 1);
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

    /// Ends the tenancy of a slot that no other thread uses.
    fn next_tenancy(directives: &Directives, slot: &Slot) -> u32 {
        let vacated = slot.vacate(slot.word(), false);
        vacated.expect("no other thread uses the slot");
        directives.end(slot);
        slot.word().generation()
    }

    #[test]
    fn a_directive_does_not_outlive_its_tenancy() {
        for retention in [
            Retention::new(Priority::HIGHEST),
            Retention::new(Priority::HIGHEST).for_duration(Duration::from_secs(3_600)),
        ] {
            let slot = Slot::new(0, false);
            let directives = Directives::new(1, 1);
            let first = slot.word().generation();
            assert!(directives.give(&slot, first, retention, 0).is_some());
            assert!(directives.of(&slot, first).is_some());
            for tenancy in 0..3 << 16 {
                let generation = next_tenancy(&directives, &slot);
                assert_eq!(directives.of(&slot, generation), None, "tenancy {tenancy}");
            }
            assert_eq!(directives.give(&slot, first, retention, 0), None);
        }
    }

    /// The word that a late thread expects has been replaced, even if there was no directive.
    #[test]
    fn a_tenancy_that_ends_changes_the_word() {
        let slot = Slot::new(0, false);
        let directives = Directives::new(1, 1);
        let table = directives.table();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..3 << 16 {
            assert!(seen.insert(table.words[0].load(Ordering::Relaxed)));
            next_tenancy(&directives, &slot);
        }
    }

    #[test]
    fn an_expired_directive_is_removed() {
        let slot = Slot::new(0, false);
        let directives = Directives::new(1, 1);
        let generation = slot.word().generation();
        let minute = Retention::new(Priority::LOWEST).for_duration(Duration::from_secs(60));
        assert_eq!(directives.give(&slot, generation, minute, 0), Some(1));
        let given = directives.in_force(&slot, generation, || 0);
        let deadline = given.expect("given").deadline.expect("with a duration");
        let before = directives.in_force(&slot, generation, || deadline - 1);
        assert_eq!(before, given);
        assert_eq!(directives.in_force(&slot, generation, || deadline), None);
        let asked = || -> u64 { panic!("there is no duration any more") };
        assert_eq!(directives.in_force(&slot, generation, asked), None);
        let mut announced = 0;
        directives.take_announced(0, |_| {
            announced += 1;
            None
        });
        assert_eq!(announced, 1, "that it has changed is still to be heard");
    }

    #[test]
    fn announced_once_and_in_order() {
        let slots: Vec<Slot> = (0..4).map(|id| Slot::new(id, false)).collect();
        let directives = Directives::new(4, 1);
        let generation = |slot: &Slot| slot.word().generation();
        let low = Retention::new(Priority::LOWEST);
        let taken = || {
            let mut taken = Vec::new();
            directives.take_announced(0, |slot| {
                taken.push(slot);
                None
            });
            taken
        };
        assert!(taken().is_empty());
        let give = |at: usize| directives.give(&slots[at], generation(&slots[at]), low, 0);
        for (at, announced) in [(2, 1), (0, 2), (2, 2), (3, 3)] {
            assert_eq!(give(at), Some(announced));
        }
        assert_eq!(taken(), [2, 0, 3]);
        assert_eq!(give(2), Some(1));
        let late = directives.give(&slots[1], generation(&slots[1]) + 1, low, 0);
        assert_eq!(late, None);
        assert_eq!(taken(), [2]);
        assert_eq!(directives.of(&slots[1], 0), None);
    }

    #[test]
    fn a_visit_takes_a_bounded_number() {
        let count = 3 * ANNOUNCED_PER_VISIT + 1;
        let slots: Vec<Slot> = (0..count).map(|id| Slot::new(id, false)).collect();
        let directives = Directives::new(count, 1);
        for slot in &slots {
            let low = Retention::new(Priority::LOWEST);
            assert_eq!(directives.give(slot, 0, low, 0), Some(slot.id() + 1));
        }
        let mut left = count;
        while left > 0 {
            let mut taken = Vec::new();
            directives.take_announced(0, |slot| {
                taken.push(slot);
                None
            });
            let of_visit = left.min(ANNOUNCED_PER_VISIT);
            assert!(taken.into_iter().eq(left - of_visit..left));
            left -= of_visit;
        }
    }
}
