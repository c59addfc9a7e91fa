//! Models of several planes: blocks that are released by the threads of one shard, and used and
//! released by those of another.
//!
//! Once all threads are done and all logs are drained, a block is listed by exactly one order if it
//! is inactive, and by none otherwise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::SequenceHash;
use crate::policy::{Bands, First, PlainPolicy, PrioritizedPolicy, SlotPolicy};
use crate::retention::{Priority, Retention};

use super::{explore, join, key, make_primary, spawn};
use crate::engine::parts::directives::Directives;
use crate::engine::parts::plane::{Planes, PolicySource};
use crate::engine::parts::release_log::ReleaseLog;
use crate::engine::parts::slot::Slot;

/// The priorities of the blocks that an order lists, by their numbers.
type Listed = Arc<Mutex<BTreeMap<u32, Priority>>>;

/// An order by number.
struct ByNumber(Listed);

impl SlotPolicy for ByNumber {
    fn insert(&mut self, number: u32, _: SequenceHash, _: u8) {
        self.0.lock().unwrap().insert(number, Priority::DEFAULT);
    }

    fn remove(&mut self, number: u32) {
        self.0.lock().unwrap().remove(&number);
    }

    fn pop(&mut self) -> Option<u32> {
        let first = self.0.lock().unwrap().pop_first();
        first.map(|(number, _)| number)
    }

    fn first(&mut self) -> Option<First> {
        let listed = self.0.lock().unwrap();
        let first = listed.first_key_value();
        first.map(|(&slot, _)| First { slot, class: 0 })
    }

    fn contains(&self, number: u32) -> bool {
        self.0.lock().unwrap().contains_key(&number)
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl PlainPolicy for ByNumber {
    fn with_priorities(self: Box<Self>, _: Bands) -> Box<dyn PrioritizedPolicy> {
        self
    }
}

impl PrioritizedPolicy for ByNumber {
    fn set_priority(&mut self, number: u32, priority: Priority) {
        self.0.lock().unwrap().insert(number, priority);
    }

    fn first_of_low(&self) -> Option<u32> {
        None
    }
}

/// Blocks of two shards.
struct Shards {
    slots: Vec<Slot>,
    logs: [ReleaseLog; 2],
    planes: Planes,
    directives: Arc<Directives>,
    /// What each order lists.
    listed: Arc<Mutex<Vec<Listed>>>,
}

impl Shards {
    /// Creates slots, primaries with one pin each.
    fn new(slots: u32) -> Self {
        let listed = Arc::new(Mutex::new(Vec::new()));
        let directives = Arc::new(Directives::new(slots, 2));
        directives.prepare();
        let orders = Arc::clone(&listed);
        let build = move || -> Box<dyn PlainPolicy> {
            let listed = Listed::default();
            orders.lock().unwrap().push(Arc::clone(&listed));
            Box::new(ByNumber(listed))
        };
        let source = PolicySource::PerShard(Box::new(build));
        let shards = Self {
            slots: (0..slots).map(|id| Slot::new(id, false)).collect(),
            logs: [ReleaseLog::new(), ReleaseLog::new()],
            planes: Planes::new(source, slots as usize, 2, 0, Arc::clone(&directives)),
            directives,
            listed,
        };
        for (n, slot) in (1..).zip(&shards.slots) {
            make_primary(slot, key(n, 0));
        }
        // Both orders are built before the model begins.
        shards.drain(1);
        shards
    }

    /// Takes the last pin off, as `Store::unpin` does on a thread of this shard.
    fn release(&self, home: usize, slot: &Slot) {
        loop {
            let seen = slot.word();
            assert_eq!(seen.count(), 1);
            if seen.is_queued() {
                self.drain(slot.shard());
            }
            let seen = slot.word();
            if seen.is_queued() {
                slot.set_era(0);
            } else {
                slot.begin_release(home, 0);
            }
            if slot.unpin_last(seen).is_ok() {
                if !seen.is_queued() {
                    // SAFETY: this thread has set the mark.
                    unsafe { self.logs[home].push(slot) };
                    self.planes.note_queued(home);
                }
                return;
            }
        }
    }

    /// Pins a block if it is inactive, and queues it where it was released, as `Pins` does.
    fn pin(&self, slot: &Slot) -> bool {
        let mut seen = slot.word();
        while seen.is_inactive() {
            if let Err(now) = slot.pin(seen, true) {
                seen = now;
                continue;
            }
            if !seen.is_queued() {
                // SAFETY: this thread has set the mark.
                unsafe { self.logs[slot.shard()].push(slot) };
                self.planes.note_queued(slot.shard());
            }
            return true;
        }
        false
    }

    /// Pins a block if it is inactive, and releases it on a thread of this shard.
    fn use_once(&self, home: usize, slot: &Slot) {
        if self.pin(slot) {
            self.release(home, slot);
        }
    }

    fn drain(&self, plane: usize) {
        if let Some(mut plane) = self.planes.try_hold(plane, &self.slots, &self.logs) {
            plane.drain();
            plane.apply_directives();
        }
    }

    /// Pops a candidate of a plane, whatever the other plane has, and evicts it.
    fn evict(&self, plane: usize) -> Option<u32> {
        let mut candidates = [0];
        let mut held = self.planes.try_hold(plane, &self.slots, &self.logs)?;
        held.drain();
        let found = held.pop(&mut candidates, u64::MAX, 0);
        drop(held);
        let [slot] = candidates;
        let at = &self.slots[slot as usize];
        let is_evicted = found > 0 && !at.word().is_queued() && at.vacate_unheld(false).is_some();
        is_evicted.then_some(slot)
    }

    /// Gives the content of a block a directive, and announces it to this plane.
    fn give(&self, slot: &Slot, plane: usize) {
        let retention = Retention::new(Priority::HIGHEST);
        let generation = slot.word().generation();
        let given = self.directives.give(slot, generation, retention, plane);
        assert!(given.is_some());
    }

    /// Returns the priorities of all listed blocks.
    fn priorities(&self) -> Vec<Priority> {
        let orders = self.listed.lock().unwrap();
        let of = |order: &Listed| order.lock().unwrap().values().copied().collect::<Vec<_>>();
        orders.iter().flat_map(of).collect()
    }

    /// Applies all updates, once all threads are done, and checks that each block is listed as it is
    /// to be.
    fn finish(&self) {
        for (plane, log) in self.logs.iter().enumerate() {
            assert!(log.len() == 0 || self.planes.has_any(plane), "no key");
        }
        // What the first drains forward is listed by the second, at the latest.
        for plane in [0, 1, 0, 1] {
            self.drain(plane);
        }
        let mut listed = 0;
        for slot in &self.slots {
            assert!(!slot.word().is_queued());
            let orders = [0, 1].map(|plane| {
                let held = self
                    .planes
                    .try_hold(plane, &self.slots, &self.logs)
                    .unwrap();
                usize::from(held.lists(slot.id()))
            });
            let expected = usize::from(slot.word().is_unheld());
            assert_eq!(orders[0] + orders[1], expected, "slot {}", slot.id());
            listed += expected;
        }
        let orders = self.listed.lock().unwrap();
        let lens = orders.iter().map(|order| order.lock().unwrap().len());
        assert_eq!(lens.sum::<usize>(), listed);
        for plane in [0, 1] {
            let first = self.planes.first(!(1 << plane), 0).is_some();
            let has_blocks = {
                let held = self
                    .planes
                    .try_hold(plane, &self.slots, &self.logs)
                    .unwrap();
                held.policy().is_some_and(|policy| policy.len() > 0)
            };
            assert_eq!(
                first, has_blocks,
                "plane {plane} has published its first key"
            );
        }
    }
}

#[test]
fn a_block_is_used_on_another_shard_while_it_is_listed() {
    explore(|| {
        let shards = Arc::new(Shards::new(1));
        shards.release(0, &shards.slots[0]);
        let user = spawn(&shards, |shards| shards.use_once(1, &shards.slots[0]));
        let other = spawn(&shards, |shards| shards.drain(1));
        shards.drain(0);
        join([user, other]);
        shards.finish();
    });
}

#[test]
fn a_block_changes_shards_and_comes_back() {
    explore(|| {
        let shards = Arc::new(Shards::new(1));
        shards.release(0, &shards.slots[0]);
        shards.drain(0);
        let user = spawn(&shards, |shards| {
            shards.use_once(1, &shards.slots[0]);
            shards.use_once(0, &shards.slots[0]);
        });
        shards.drain(1);
        shards.drain(0);
        join([user]);
        shards.finish();
    });
}

/// The second shard lists the block before the first has taken it out.
#[test]
fn a_release_is_applied_while_the_use_before_it_is() {
    explore(|| {
        let shards = Arc::new(Shards::new(1));
        shards.release(0, &shards.slots[0]);
        shards.drain(0);
        let user = spawn(&shards, |shards| {
            shards.use_once(1, &shards.slots[0]);
            shards.drain(1);
        });
        shards.drain(0);
        join([user]);
        shards.finish();
    });
}

/// The second shard takes the block out while the first has not listed it yet, or still does.
#[test]
fn a_use_is_applied_while_the_release_before_it_is() {
    explore(|| {
        let shards = Arc::new(Shards::new(1));
        shards.release(0, &shards.slots[0]);
        shards.drain(0);
        let user = spawn(&shards, |shards| {
            shards.use_once(1, &shards.slots[0]);
            assert!(shards.pin(&shards.slots[0]));
            shards.drain(1);
        });
        shards.drain(0);
        join([user]);
        shards.finish();
    });
}

#[test]
fn two_shards_use_a_block() {
    explore(|| {
        let shards = Arc::new(Shards::new(1));
        shards.release(0, &shards.slots[0]);
        let users = [0, 1].map(|home| {
            spawn(&shards, move |shards| {
                shards.use_once(home, &shards.slots[0])
            })
        });
        shards.drain(0);
        join(users);
        shards.finish();
    });
}

#[test]
fn a_block_is_evicted_while_another_shard_uses_it() {
    explore(|| {
        let shards = Arc::new(Shards::new(1));
        shards.release(0, &shards.slots[0]);
        let user = spawn(&shards, |shards| shards.use_once(1, &shards.slots[0]));
        let evicted = shards.evict(0);
        join([user]);
        assert!(evicted.is_none_or(|slot| slot == 0));
        shards.finish();
    });
}

/// Whatever is queued has a key, though a drain may find one for what it has taken before.
#[test]
fn two_releases_of_a_shard_and_a_drain() {
    explore(|| {
        let shards = Arc::new(Shards::new(2));
        let releases = [0, 1].map(|slot| {
            spawn(&shards, move |shards| {
                shards.release(0, &shards.slots[slot])
            })
        });
        shards.drain(0);
        shards.drain(0);
        join(releases);
        shards.finish();
    });
}

#[test]
fn two_shards_evict_from_their_orders() {
    explore(|| {
        let shards = Arc::new(Shards::new(2));
        shards.release(0, &shards.slots[0]);
        shards.release(1, &shards.slots[1]);
        let other = spawn(&shards, |shards| shards.evict(1));
        assert_eq!(shards.evict(0), Some(0));
        assert_eq!(join([other]), [Some(1)]);
        shards.finish();
    });
}

/// A directive reaches the order that lists the block, whichever that is.
#[test]
fn a_directive_for_a_block_that_changes_shards() {
    explore(|| {
        let shards = Arc::new(Shards::new(1));
        shards.release(0, &shards.slots[0]);
        shards.drain(0);
        let user = spawn(&shards, |shards| {
            shards.use_once(1, &shards.slots[0]);
            shards.drain(1);
        });
        let slot = &shards.slots[0];
        shards.give(slot, slot.shard());
        join([user]);
        shards.finish();
        assert_eq!(shards.priorities(), [Priority::HIGHEST]);
    });
}

/// One order passes a directive over, because no order seems to list the block; the other, which is
/// about to list it, applies the directive.
#[test]
fn a_directive_is_announced_to_one_order_while_the_other_lists_the_block() {
    explore(|| {
        let shards = Arc::new(Shards::new(1));
        let user = spawn(&shards, |shards| {
            shards.release(1, &shards.slots[0]);
            shards.drain(1);
        });
        let slot = &shards.slots[0];
        shards.give(slot, 0);
        shards.drain(0);
        join([user]);
        shards.finish();
        assert_eq!(shards.priorities(), [Priority::HIGHEST]);
    });
}
