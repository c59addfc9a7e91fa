//! Suspending a thread at a named step, to see that it stops nobody.
//!
//! The engine and the registry name the points between their exchanges:
//! `step!(VictimVacated);`. In the unit tests a thread can be told to stop at one
//! of them, and the test then sees whether all others get on. In every other
//! build a step is nothing at all.
//!
//! | file | idea |
//! |---|---|
//! | `steps` | the steps: what has been done there and what not yet |
//! | `gate` | where a suspended thread stands |
//! | `scene` | a manager, and the threads that are suspended in it |
//! | `actor` | threads that are to get on beside them |
//! | `others` | what the others do, and what must come of it |
//! | `table` | one scene in each line: how a thread gets to its step |
//! | `tests` | every scene under several settings; and the exceptions |
//!
//! # What the others do
//!
//! For every scene one thread on the suspended thread's shard and then one on
//! another, and then both at once: allocate one block, several, and all there
//! are, evicting what is inactive; are refused one more; match blocks that are
//! active and inactive; clone, drop, downgrade and upgrade; stage; register
//! what is new, what is there, and the very hash the suspended thread is at work
//! on; ask for presence; register hashes and attach to them; build a second
//! manager on the registry; reset the inactive blocks; read the metrics. None
//! may take long, and each must come to what it would without the suspended
//! thread, but for what that thread holds.
//!
//! # What a suspended thread holds up
//!
//! By design, and nothing else:
//!
//! * **What it has asked for.** Its credits are out: an allocation is refused
//!   that needs them, and with no credit left an inactive block is not matched
//!   and [`reset_inactive_pool`](crate::BlockManager::reset_inactive_pool) resets
//!   none. The table says how many blocks that is at each step.
//! * **What it has not finished.** A block whose registration is under way is not
//!   matched until that returns, or until someone else registers its hash. A
//!   hash keeps its attachments while whoever is to end it sleeps.
//! * **The policy's order.** With the plane or a stash in its hand, or notes
//!   that it has made and not pushed, others evict by a sweep, or leave those
//!   blocks for later: which block goes is then not the policy's choice.
//! * **The time of an eviction.** Blocks that it hides are found by a search of
//!   all blocks, after a bounded number of tries: O(blocks), not O(1).
//! * **The registry's memory.** Under an epoch guard it keeps entries that have
//!   ended from being freed, and the table from shrinking to its end and growing
//!   meanwhile: a gauge shows it, and look-ups stay correct.
//! * **[`audit`](crate::BlockManager::audit)**, which is for a manager at rest: it
//!   says `Busy` while the plane or a stash is held.

mod actor;
mod gate;
mod others;
mod scene;
mod steps;
mod table;
mod tests;

pub(crate) use {gate::reach, steps::Step};
