//! Doubly linked lists in one array of slots.
//!
//! A slot is in at most one list, so one pair of links per slot serves any number of lists.
//! The ends of each list are closed by a sentinel, an entry of the same array behind the
//! slots. This makes every list a ring: linking and unlinking store to both neighbours without
//! checking whether these are ends, and a slot can leave its list even if the caller does not
//! know which list that is.
//!
//! A slot's `prev` and `next` are adjacent, so a step along a list, or an unlinking, touches
//! one cache line per entry. All operations but [`check`](Lists::check) are O(1).

use super::{NIL, ensure};

#[derive(Clone, Copy)]
struct ListLink {
    /// `NIL` while the slot is in no list, as is `next`.
    prev: u32,
    next: u32,
}

const UNLINKED: ListLink = ListLink {
    prev: NIL,
    next: NIL,
};

/// A fixed number of lists over slots `0..slots`.
pub(crate) struct Lists {
    /// Slot `s` is at index `s`, and the sentinel of list `l` at `slots + l`.
    links: Box<[ListLink]>,
    slots: u32,
    len: usize,
}

impl Lists {
    pub(crate) fn new(slots: usize, lists: usize) -> Self {
        assert!(slots + lists < NIL as usize, "too many slots: {slots}");
        let mut links = vec![UNLINKED; slots + lists].into_boxed_slice();
        for sentinel in slots..slots + lists {
            links[sentinel] = ListLink {
                prev: sentinel as u32,
                next: sentinel as u32,
            };
        }
        Self {
            links,
            slots: slots as u32,
            len: 0,
        }
    }

    /// Appends `slot`, which is in no list, to `list`.
    #[inline]
    pub(crate) fn push_back(&mut self, list: u32, slot: u32) {
        debug_assert!(slot < self.slots && !self.contains(slot), "slot {slot}");
        let sentinel = self.slots + list;
        let last = self.links[sentinel as usize].prev;
        self.links[slot as usize] = ListLink {
            prev: last,
            next: sentinel,
        };
        self.links[last as usize].next = slot;
        self.links[sentinel as usize].prev = slot;
        self.len += 1;
    }

    /// Takes `slot` out of its list. Does nothing if it is in none.
    #[inline]
    pub(crate) fn unlink(&mut self, slot: u32) {
        debug_assert!(slot < self.slots, "slot {slot}");
        let ListLink { prev, next } = std::mem::replace(&mut self.links[slot as usize], UNLINKED);
        if next == NIL {
            return;
        }
        self.links[prev as usize].next = next;
        self.links[next as usize].prev = prev;
        self.len -= 1;
    }

    /// Returns the front of `list`.
    #[inline]
    pub(crate) fn first(&self, list: u32) -> Option<u32> {
        let first = self.links[(self.slots + list) as usize].next;
        (first < self.slots).then_some(first)
    }

    /// Returns whether `slot` is in a list.
    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.links[slot as usize].next != NIL
    }

    /// Returns the number of slots that are in a list.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Walks every list, and verifies that both directions agree and that the lists together
    /// hold exactly the linked slots.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut walked = 0;
        for sentinel in self.slots..self.links.len() as u32 {
            let mut at = sentinel;
            loop {
                let next = self.links[at as usize].next;
                let back = self.links.get(next as usize).map(|link| link.prev);
                ensure(back == Some(at), || {
                    format!("list entry {at} leads to {next}, which leads back to {back:?}")
                })?;
                if next == sentinel {
                    break;
                }
                ensure(next < self.slots, || {
                    format!("list {sentinel} runs into list {next}")
                })?;
                walked += 1;
                at = next;
            }
        }
        let linked = (0..self.slots).filter(|&slot| self.contains(slot)).count();
        ensure(walked == self.len && linked == self.len, || {
            format!(
                "{walked} slots reached, {linked} linked, {} counted",
                self.len
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(lists: &mut Lists, list: u32) -> Vec<u32> {
        std::iter::from_fn(|| {
            let slot = lists.first(list)?;
            lists.unlink(slot);
            Some(slot)
        })
        .collect()
    }

    #[test]
    fn keeps_the_order_of_each_list() {
        let mut lists = Lists::new(6, 2);
        for slot in [3, 1, 5] {
            lists.push_back(0, slot);
        }
        for slot in [4, 0] {
            lists.push_back(1, slot);
        }
        lists.check().unwrap();
        assert_eq!(lists.len(), 5);
        assert_eq!(drain(&mut lists, 1), [4, 0]);
        assert_eq!(drain(&mut lists, 0), [3, 1, 5]);
        assert_eq!(lists.len(), 0);
        lists.check().unwrap();
    }

    #[test]
    fn unlinks_front_middle_and_back() {
        let mut lists = Lists::new(5, 1);
        for slot in 0..5 {
            lists.push_back(0, slot);
        }
        for slot in [0, 2, 4] {
            lists.unlink(slot);
            lists.check().unwrap();
            assert!(!lists.contains(slot));
        }
        lists.unlink(2);
        lists.push_back(0, 2);
        assert_eq!(drain(&mut lists, 0), [1, 3, 2]);
    }

    #[test]
    fn check_notices_a_one_way_link() {
        let mut lists = Lists::new(3, 1);
        lists.push_back(0, 0);
        lists.push_back(0, 1);
        lists.links[1].prev = 2;
        assert!(lists.check().is_err());
    }

    #[test]
    fn an_empty_store_has_empty_lists() {
        let lists = Lists::new(0, 1);
        assert_eq!(lists.first(0), None);
        lists.check().unwrap();
    }
}
