//! The tiers of a registry, and which of them have a block of a hash.
//!
//! The list is read by every search for a block, and changes only when a manager is built or
//! goes away. It is therefore replaced as a whole. It keeps no tier alive.

use std::any::TypeId;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use crate::SequenceHash;
use crate::key::Key;
use crate::sync::{AtomicBool, Ordering};

use super::tier::Tier;

/// A tier and its metadata type.
#[derive(Clone)]
struct AttachedTier {
    type_id: TypeId,
    tier: Weak<dyn Tier>,
}

/// The tiers that share a registry.
pub(super) struct Tiers {
    list: ArcSwap<Vec<AttachedTier>>,
    /// Whether there is, or has been, a tier.
    are_any: AtomicBool,
    /// Whether there is, or has been, more than one tier.
    are_several: AtomicBool,
}

impl Tiers {
    pub(super) fn new() -> Self {
        Self {
            list: ArcSwap::default(),
            are_any: AtomicBool::new(false),
            are_several: AtomicBool::new(false),
        }
    }

    /// Adds a tier.
    pub(super) fn attach(&self, type_id: TypeId, tier: Weak<dyn Tier>) {
        // Set before the new tier has blocks: a thread that has to see a block sees this, too.
        self.are_any.store(true, Ordering::Relaxed);
        let before = self.list.rcu(|tiers| {
            let mut tiers = Vec::clone(tiers);
            tiers.push(AttachedTier {
                type_id,
                tier: tier.clone(),
            });
            tiers
        });
        if !before.is_empty() {
            // Set before the new tier has blocks.
            self.are_several.store(true, Ordering::Relaxed);
        }
    }

    /// Removes a tier that is going away.
    pub(super) fn detach(&self, tier: &dyn Tier) {
        self.list.rcu(|tiers| {
            let is_other =
                |attached: &&AttachedTier| !std::ptr::addr_eq(attached.tier.as_ptr(), tier);
            tiers.iter().filter(is_other).cloned().collect::<Vec<_>>()
        });
    }

    /// Returns whether there is, or has been, more than one tier.
    #[inline]
    pub(super) fn are_several(&self) -> bool {
        self.are_several.load(Ordering::Relaxed)
    }

    /// Returns the tiers that are alive.
    pub(super) fn alive(&self) -> Vec<Arc<dyn Tier>> {
        self.list
            .load()
            .iter()
            .filter_map(|attached| attached.tier.upgrade())
            .collect()
    }

    /// Returns whether a tier of these metadata types, or any tier with `None`, has a block
    /// of the hash.
    #[inline]
    pub(super) fn have(&self, key: Key, type_ids: Option<&[TypeId]>) -> bool {
        self.are_any.load(Ordering::Relaxed) && self.find(key, type_ids)
    }

    /// Asks each tier of these metadata types whether it has a block of the hash.
    #[inline(never)]
    fn find(&self, key: Key, type_ids: Option<&[TypeId]>) -> bool {
        self.list
            .load()
            .iter()
            .filter(|attached| type_ids.is_none_or(|ids| ids.contains(&attached.type_id)))
            .any(|attached| attached.tier.upgrade().is_some_and(|tier| tier.holds(key)))
    }

    /// Returns whether a tier other than `besides` has a block of the hash.
    #[inline]
    pub(super) fn have_besides(&self, key: Key, besides: &dyn Tier) -> bool {
        self.list.load().iter().any(|attached| {
            !std::ptr::addr_eq(attached.tier.as_ptr(), besides)
                && attached.tier.upgrade().is_some_and(|tier| tier.holds(key))
        })
    }

    /// Returns, for each hash, whether a tier of these metadata types has a block of it.
    #[inline]
    pub(super) fn presence(
        &self,
        hashes: &[SequenceHash],
        type_ids: &[TypeId],
    ) -> Vec<(SequenceHash, bool)> {
        let mut presence: Vec<_> = hashes.iter().map(|&hash| (hash, false)).collect();
        for attached in self.list.load().iter() {
            if type_ids.contains(&attached.type_id)
                && let Some(tier) = attached.tier.upgrade()
            {
                tier.mark_held(&mut presence);
            }
        }
        presence
    }
}
