//! Queuing updates for the eviction orders, and applying them before they become too many.
//!
//! A thread that makes a block inactive pushes the slot onto its home shard's
//! [release log](crate::engine::parts::release_log). One that makes a block active again, or takes it
//! without the order's knowledge, pushes the slot onto the log of the last release. If
//! the log has then become too long, the thread also tries to hold the
//! [plane](crate::engine::parts::plane) and applies the log's updates.
//!
//! # What does it cost?
//!
//! A push: one exchange, for up to 64 slots, and two more if the log has no key: if it is the first since
//! a drain. The application of up to 128 updates, once for each
//! 64 that are pushed, or are to be pushed and found queued; each is one step of the policy. Nothing
//! is allocated, except by a user's own policy.
//!
//! # What can a suspended thread delay?
//!
//! While it holds a plane, nothing is applied there, and the logs that are drained into it get longer,
//! up to one slot per block. A thread whose log is [long](LONG_BACKLOG) then pauses for some
//! microseconds at each push, so that a holder that is running gets its turn. What has piled up is
//! applied by later drains, 128 updates at a time (256 if others push meanwhile), the latest first.
//! Until the log is that short again, releases drain it [once in a while](ReleaseLog::is_due), so none
//! of them works off much of it; and a block that is released while its last update is still there
//! keeps the place of that update.

use crate::engine::parts::plane::HeldPlane;
use crate::engine::parts::release_log::Run;
use crate::engine::parts::slot::Slot;
use crate::engine::store::Store;
use crate::sync::limits::{BACKLOG_PAUSES, LONG_BACKLOG};
use crate::sync::{spin_loop, step};

#[cfg(doc)]
use crate::engine::parts::release_log::ReleaseLog;

impl Store {
    /// Holds a plane, unless another thread does.
    #[inline]
    pub(super) fn try_hold(&self, plane: usize) -> Option<HeldPlane<'_>> {
        let held = self.planes.try_hold(plane, &self.slots, &self.release_logs);
        if held.is_some() {
            step!(PlaneHeld);
        }
        held
    }

    /// Returns the shard onto whose log a block's next update is to be pushed, if it was last
    /// released or is about to be taken: that of its last release. With a single order, it is that of
    /// the calling thread, `home`.
    #[inline]
    pub(super) fn shard_of(&self, slot: &Slot, home: usize) -> usize {
        if self.planes.are_sharded() {
            slot.shard()
        } else {
            home
        }
    }

    /// Pushes a slot onto the release log of a shard.
    ///
    /// # Safety
    ///
    /// The caller has marked the slot as queued, and has not pushed it since.
    #[inline]
    pub(in crate::engine) unsafe fn queue(&self, shard: usize, slot: &Slot) {
        // SAFETY: the caller's contract.
        let is_long = unsafe { self.release_logs[shard].push(slot) };
        self.planes.note_queued(shard);
        if is_long {
            self.shorten(shard, 1);
        }
    }

    /// Pushes a run of slots onto the release log of a shard.
    #[inline]
    pub(in crate::engine) fn queue_run(&self, shard: usize, run: Run<'_>) {
        let count = run.len();
        let is_long = run.push_to(&self.release_logs[shard]);
        self.planes.note_queued(shard);
        if is_long {
            self.shorten(shard, count);
        }
    }

    /// Makes the order that lists a block take it out, which the caller has vacated without it.
    ///
    /// There may be many such blocks, so this does not wait for a plane that another thread holds.
    pub(super) fn queue_removal(&self, slot: &Slot) {
        if !slot.mark_queued().is_queued() {
            let shard = self.shard_of(slot, self.home());
            let log = &self.release_logs[shard];
            // SAFETY: the mark has been set just now.
            let is_long = unsafe { log.push(slot) };
            self.planes.note_queued(shard);
            if is_long && log.is_due(1) {
                self.try_drain_log(shard);
            }
        }
    }

    /// Applies the updates of a log that has become too long by a push of `count` slots, unless
    /// another thread holds the plane. If it does, and the log is long, waits for a moment.
    #[cold]
    fn shorten(&self, shard: usize, count: u32) {
        let log = &self.release_logs[shard];
        let is_due = log.is_due(count);
        for _ in 0..BACKLOG_PAUSES {
            if is_due {
                if self.try_drain_log(shard) {
                    return;
                }
            } else if !self.planes.is_taken(self.planes.of_shard(shard)) {
                return;
            }
            if log.len() < LONG_BACKLOG {
                return;
            }
            spin_loop();
        }
    }

    /// Applies the updates of a log, unless another thread holds the plane. Returns whether it did.
    fn try_drain_log(&self, shard: usize) -> bool {
        let Some(mut plane) = self.try_hold(self.planes.of_shard(shard)) else {
            return false;
        };
        plane.drain_log(shard);
        true
    }

    /// Applies the queued updates of all shards whose planes no other thread holds, as
    /// [`try_drain_of`](Self::try_drain_of) does.
    pub(in crate::engine) fn try_drain(&self) {
        for shard in 0..self.planes.count() {
            if !self.planes.are_sharded() || self.release_logs[shard].len() > 0 {
                self.try_drain_of(shard);
            }
        }
    }

    /// Applies the updates that are queued where those of this shard are, unless another thread holds
    /// the plane. Leaves a log that is longer than a drain takes to [one in
    /// several](ReleaseLog::is_due) such calls.
    pub(in crate::engine) fn try_drain_of(&self, shard: usize) {
        if let Some(mut plane) = self.try_hold(self.planes.of_shard(shard)) {
            plane.drain_due();
        }
    }
}
