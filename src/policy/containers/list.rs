//! Doubly linked lists in one array of slots.
//!
//! A slot is in at most one list, so one pair of links per slot serves any number of lists.
//! The ends of each list are closed by a sentinel, an entry of the same array in front of the
//! slots. This makes every list a ring: linking and unlinking store to both neighbours without
//! checking whether these are ends, and a slot can leave its list even if the caller does not
//! know which list that is.
//!
//! A slot's two links are adjacent, so a step along a list, or an unlinking, touches one cache
//! line per entry. All operations but [`check`](Lists::check) are O(1); creating the lists is
//! O(lists), because the links of slots that are in no list are zero, as new memory is.

use super::ensure;

/// The entry that no sentinel and no slot has.
const NONE: u32 = 0;

/// The links of an entry: to the one before it, and to the one after it. Both are [`NONE`] for
/// a slot that is in no list.
type Links = [u32; 2];
const PREV: usize = 0;
const NEXT: usize = 1;

/// A fixed number of lists over slots `0..slots`.
pub(crate) struct Lists {
    /// The sentinel of list `l` is at index `1 + l`, and slot `s` at `first_slot + s`.
    links: Box<[Links]>,
    first_slot: u32,
    len: usize,
}

impl Lists {
    pub(crate) fn new(slots: usize, lists: usize) -> Self {
        let first_slot = 1 + lists;
        let entries = first_slot + slots;
        assert!(entries <= u32::MAX as usize, "too many slots: {slots}");
        let mut links = vec![[NONE; 2]; entries].into_boxed_slice();
        for sentinel in 1..first_slot {
            links[sentinel] = [sentinel as u32; 2];
        }
        Self {
            links,
            first_slot: first_slot as u32,
            len: 0,
        }
    }

    #[inline]
    fn links(&mut self, entry: u32) -> &mut Links {
        &mut self.links[entry as usize]
    }

    #[inline]
    fn slot_of(&self, entry: u32) -> Option<u32> {
        entry.checked_sub(self.first_slot)
    }

    /// Appends `slot`, which is in no list, to `list`.
    #[inline]
    pub(crate) fn push_back(&mut self, list: u32, slot: u32) {
        debug_assert!(!self.contains(slot), "slot {slot}");
        let (sentinel, entry) = (1 + list, self.first_slot + slot);
        let last = std::mem::replace(&mut self.links(sentinel)[PREV], entry);
        *self.links(entry) = [last, sentinel];
        self.links(last)[NEXT] = entry;
        self.len += 1;
    }

    /// Takes `slot` out of its list. Does nothing if it is in none. Returns the list if that
    /// is empty now.
    #[inline]
    pub(crate) fn unlink(&mut self, slot: u32) -> Option<u32> {
        let entry = self.first_slot + slot;
        let [prev, next] = std::mem::replace(self.links(entry), [NONE; 2]);
        if next == NONE {
            return None;
        }
        self.links(prev)[NEXT] = next;
        self.links(next)[PREV] = prev;
        self.len -= 1;
        // Only a sentinel is on both sides.
        (prev == next).then(|| next - 1)
    }

    /// Takes the first slots out of `list`, as many as `taken` has room for. Returns how many
    /// there were.
    #[inline]
    pub(crate) fn pop_front(&mut self, list: u32, taken: &mut [u32]) -> usize {
        let sentinel = 1 + list;
        let mut at = self.links(sentinel)[NEXT];
        let mut count = 0;
        for taken in taken {
            let Some(slot) = self.slot_of(at) else {
                break;
            };
            *taken = slot;
            count += 1;
            at = std::mem::replace(self.links(at), [NONE; 2])[NEXT];
        }
        self.links(sentinel)[NEXT] = at;
        self.links(at)[PREV] = sentinel;
        self.len -= count;
        count
    }

    /// Returns the front of `list`.
    #[inline]
    pub(crate) fn first(&self, list: u32) -> Option<u32> {
        self.slot_of(self.links[1 + list as usize][NEXT])
    }

    /// Returns the back of `list`.
    #[inline]
    pub(crate) fn last(&self, list: u32) -> Option<u32> {
        self.slot_of(self.links[1 + list as usize][PREV])
    }

    /// Returns whether `slot` is in a list.
    #[inline]
    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.links[(self.first_slot + slot) as usize][NEXT] != NONE
    }

    /// Returns the number of slots that are in a list.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Walks every list, and verifies that both directions agree and that the lists together
    /// hold exactly the linked slots.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut walked = 0;
        for sentinel in 1..self.first_slot {
            let mut at = sentinel;
            loop {
                let next = self.links[at as usize][NEXT];
                let back = self.links.get(next as usize).map(|links| links[PREV]);
                ensure(back == Some(at), || {
                    format!("list entry {at} leads to {next}, which leads back to {back:?}")
                })?;
                if next == sentinel {
                    break;
                }
                ensure(self.slot_of(next).is_some(), || {
                    format!("list {sentinel} runs into list {next}")
                })?;
                walked += 1;
                at = next;
            }
        }
        let slots = self.links.len() as u32 - self.first_slot;
        let linked = (0..slots).filter(|&slot| self.contains(slot)).count();
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
            assert_eq!(lists.unlink(slot), None);
            lists.check().unwrap();
            assert!(!lists.contains(slot));
        }
        assert_eq!(lists.unlink(2), None);
        lists.push_back(0, 2);
        assert_eq!(drain(&mut lists, 0), [1, 3, 2]);
    }

    #[test]
    fn says_which_list_is_empty() {
        let mut lists = Lists::new(3, 4);
        for slot in 0..3 {
            lists.push_back(2, slot);
        }
        assert_eq!(
            [0, 2, 1].map(|slot| lists.unlink(slot)),
            [None, None, Some(2)]
        );
        assert_eq!((lists.first(2), lists.last(2)), (None, None));
        for slot in [2, 0] {
            lists.push_back(0, slot);
        }
        assert_eq!((lists.first(0), lists.last(0)), (Some(2), Some(0)));
    }

    #[test]
    fn pops_from_the_front() {
        let mut lists = Lists::new(6, 2);
        lists.push_back(1, 5);
        for slot in [3, 1, 4, 0] {
            lists.push_back(0, slot);
        }
        let mut taken = [9; 3];
        assert_eq!(lists.pop_front(0, &mut taken), 3);
        assert_eq!(
            (taken, lists.first(0), lists.len()),
            ([3, 1, 4], Some(0), 2)
        );
        lists.check().unwrap();
        assert_eq!(lists.pop_front(0, &mut []), 0);
        lists.push_back(0, 1);
        assert_eq!(lists.pop_front(0, &mut taken), 2);
        assert_eq!((taken, lists.first(0)), ([0, 1, 4], None));
        assert_eq!(lists.pop_front(0, &mut taken), 0);
        lists.check().unwrap();
        assert_eq!(drain(&mut lists, 1), [5]);
    }

    #[test]
    fn check_notices_a_one_way_link() {
        let mut lists = Lists::new(3, 1);
        lists.push_back(0, 0);
        lists.push_back(0, 1);
        let entry = lists.first_slot + 1;
        lists.links(entry)[PREV] = lists.first_slot + 2;
        assert!(lists.check().is_err());
    }

    #[test]
    fn an_empty_store_has_empty_lists() {
        let lists = Lists::new(0, 1);
        assert_eq!(lists.first(0), None);
        lists.check().unwrap();
    }
}
