//! Suspending a thread at a named step, to check that it blocks nobody.
//!
//! The engine and the registry name the points between their atomic steps:
//! `step!(VictimVacated);`. In unit tests, a thread can be told to stop at one of them, and the
//! test then checks that all other threads make progress. In every other build, a step compiles to
//! nothing.
//!
//! | file | idea |
//! |---|---|
//! | `steps` | the steps: what has been done there, and what has not |
//! | `gate` | where a suspended thread waits |
//! | `scene` | a manager, and the threads that are suspended in it |
//! | `actor` | threads that must make progress in the meantime |
//! | `others` | what those threads do, and the expected results |
//! | `table` | one line per scene: how a thread gets to its step |
//! | `tests` | plays every scene in several settings, and the exceptions |
//!
//! # What do the other threads do?
//!
//! In every scene, the following is done by a thread on the suspended thread's shard, then by one on
//! another shard, and then by both at once:
//!
//! * allocate one block, several, and all there are, evicting inactive ones; and try to allocate
//!   one too many;
//! * match active and inactive blocks; clone, drop, downgrade and upgrade guards;
//! * stage blocks, and register new hashes, present ones, and the one that the suspended thread is
//!   working on;
//! * ask for presence, register hashes, and attach values to them;
//! * build a second manager on the registry;
//! * reset the inactive blocks, and read the metrics.
//!
//! None of this may take long, and each result must be what it would be without the suspended
//! thread, except for what that thread holds.
//!
//! # What may a suspended thread hold up?
//!
//! By design, the following and nothing else:
//!
//! * **What it has reserved.** Its credits are not available. An allocation that needs them is
//!   refused. If no credit is left, inactive blocks cannot be matched, and
//!   [`reset_inactive_pool`](crate::BlockManager::reset_inactive_pool) resets none. The table says
//!   how many blocks are missing at each step.
//! * **What it has not finished.** A block that is being registered is not matched until its
//!   registration returns, or until another thread registers the same hash. A hash keeps its
//!   attachments while the thread that is to end its registration is suspended.
//! * **The policy's order.** While it holds a plane, or has releases that it has
//!   not queued, other threads evict by a sweep, or leave those blocks for later. The victims are
//!   then not the policy's choice.
//! * **The time of an eviction.** Blocks that it hides are found by a search of all blocks after a
//!   bounded number of attempts: O(blocks) instead of O(1).
//! * **The registry's memory.** While it holds an epoch guard, entries that have ended are not freed,
//!   and the table can neither finish shrinking nor grow while it shrinks. A gauge shows the garbage,
//!   and lookups stay correct.
//! * **[`audit`](crate::BlockManager::audit)**, which requires an idle manager. It returns `Busy`
//!   while a plane is held.

mod actor;
mod gate;
mod others;
mod scene;
mod steps;
mod table;
mod tests;

pub(crate) use {gate::reach, steps::Step};
