//! Queuing updates for the eviction order, and applying them before they become too many.
//!
//! A thread that makes a block inactive (or, under policies that observe it, active again)
//! pushes the slot onto its home shard's [release log](crate::engine::parts::release_log). If
//! the log has then become too long, it also tries to hold the
//! [plane](crate::engine::parts::plane) and applies the log's updates.
//!
//! # What does it cost?
//!
//! A push: one exchange, for up to 64 slots. The application of up to 128 updates, once for each
//! 64 that are pushed, or are to be pushed and found queued; each is one step of the policy. Nothing
//! is allocated, except by a user's own policy.
//!
//! # What can a suspended thread delay?
//!
//! While it holds the plane, nothing is applied, and the logs get longer, up to one slot per
//! block. A thread whose log is [long](LONG_BACKLOG) then pauses for some microseconds at each
//! push, so that a holder that is running gets its turn. What has piled up is applied by later
//! drains, 128 updates at a time (256 if others push meanwhile), the latest first. Until the log is
//! that short again, releases drain it [once in a while](ReleaseLog::is_due), so none of them works
//! off much of it; and a block that is released while its last update is still there keeps the place
//! of that update.

use crate::engine::parts::release_log::{ReleaseLog, Run};
use crate::engine::parts::slot::Slot;
use crate::engine::store::Store;
use crate::sync::limits::{BACKLOG_PAUSES, LONG_BACKLOG};
use crate::sync::{spin_loop, step};

impl Store {
    /// Pushes a slot onto the release log of the shard `home`.
    ///
    /// # Safety
    ///
    /// The caller has marked the slot as queued, and has not pushed it since.
    #[inline]
    pub(in crate::engine) unsafe fn queue(&self, home: usize, slot: &Slot) {
        let log = &self.release_logs[home];
        // SAFETY: the caller's contract.
        if unsafe { log.push(slot) } {
            self.shorten(log, 1);
        }
    }

    /// Pushes a run of slots onto the release log of the shard `home`.
    #[inline]
    pub(in crate::engine) fn queue_run(&self, home: usize, run: Run<'_>) {
        let log = &self.release_logs[home];
        let count = run.len();
        if run.push_to(log) {
            self.shorten(log, count);
        }
    }

    /// Makes the policy take a block out of its order that the caller has vacated without it. Does
    /// nothing under a policy that leaves such blocks listed.
    ///
    /// There may be many such blocks, so this does not wait for a plane that another thread holds.
    pub(super) fn queue_removal(&self, slot: &Slot) {
        if self.plane.observes_resurrection() && !slot.mark_queued().is_queued() {
            let log = &self.release_logs[self.home()];
            // SAFETY: the mark has been set just now.
            if unsafe { log.push(slot) } && log.is_due(1) {
                self.try_drain_log(log);
            }
        }
    }

    /// Applies the updates of a log that has become too long by a push of `count` slots, unless
    /// another thread holds the plane. If it does, and the log is long, waits for a moment.
    #[cold]
    fn shorten(&self, log: &ReleaseLog, count: u32) {
        let is_due = log.is_due(count);
        for _ in 0..BACKLOG_PAUSES {
            if is_due {
                if self.try_drain_log(log) {
                    return;
                }
            } else if !self.plane.is_taken() {
                return;
            }
            if log.len() < LONG_BACKLOG {
                return;
            }
            spin_loop();
        }
    }

    /// Applies the updates of a log, unless another thread holds the plane. Returns whether it did.
    fn try_drain_log(&self, log: &ReleaseLog) -> bool {
        let Some(mut plane) = self.plane.try_hold() else {
            return false;
        };
        step!(PlaneHeld);
        plane.drain(&self.slots, [log]);
        true
    }

    /// Applies the queued updates of all shards, unless another thread holds the plane. Leaves a log
    /// that is longer than a drain takes to [one in several](ReleaseLog::is_due) such calls.
    pub(in crate::engine) fn try_drain(&self) {
        if let Some(mut plane) = self.plane.try_hold() {
            step!(PlaneHeld);
            plane.drain(
                &self.slots,
                self.release_logs.iter().filter(|log| log.is_due(1)),
            );
        }
    }
}
