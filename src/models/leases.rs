//! Models of leases that have expired, and that several threads end at once.
//!
//! A piece is one block here, so that a lease of two blocks ends in two pieces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{explore, spawn};
use crate::leases::{LeaseId, LeaseTable};
use crate::{BlockManager, BlockRegistry, ImmutableBlock, SequenceHash};

type Manager = BlockManager<()>;

const SECOND: Duration = Duration::from_secs(1);

fn pool(blocks: usize) -> Arc<Manager> {
    let manager = Manager::builder()
        .block_count(blocks)
        .block_size(1)
        .registry(BlockRegistry::new());
    Arc::new(manager.build().expect("a valid configuration"))
}

/// Registers all blocks of a manager.
fn register_all(manager: &Manager) -> Vec<ImmutableBlock<()>> {
    let blocks = manager.allocate_blocks(manager.total_blocks());
    let blocks = blocks.expect("all are free").into_iter().zip(1..);
    let register = |(block, n): (crate::MutableBlock<()>, u64)| {
        let block = block.stage(SequenceHash::root(n), 1).expect("of this size");
        manager.register_block(block)
    };
    blocks.map(register).collect()
}

/// Leases all blocks of a manager. The lease has expired when this returns.
fn lease_all(manager: &Manager) -> LeaseId {
    let blocks = register_all(manager);
    let lease = manager.lease(blocks, "gone", Some(Duration::ZERO));
    lease.expect("blocks of this manager").detach()
}

fn assert_whole(manager: &Manager, held: usize) {
    let report = manager.audit().expect("the invariants hold");
    assert_eq!(report.exclusive + report.active, held);
}

/// Two allocations end one lease between them, and neither is refused.
#[test]
fn two_allocations_share_a_lease() {
    explore(|| {
        let manager = pool(2);
        lease_all(&manager);
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.allocate_one()
        });
        let own = manager.allocate_one();
        let other = other.join().unwrap();
        assert!(own.is_some() && other.is_some());
        assert_whole(&manager, 2);
    });
}

/// An allocation of everything is not refused while the owner of an expired lease releases it.
#[test]
fn an_allocation_while_the_owner_releases_an_expired_lease() {
    explore(|| {
        let manager = pool(2);
        let lease = lease_all(&manager);
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.release_lease(lease)
        });
        let own = manager.allocate_blocks(2);
        assert!(own.is_some(), "nobody else asks for blocks");
        assert!(other.join().unwrap().is_err(), "it has expired");
        assert_whole(&manager, 2);
    });
}

/// An allocation of everything is not refused while another thread has a piece in hand.
#[test]
fn an_allocation_while_another_thread_ends_leases() {
    explore(|| {
        let manager = pool(2);
        lease_all(&manager);
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.expire_leases()
        });
        let own = manager.allocate_blocks(2);
        assert!(own.is_some(), "nobody else asks for blocks");
        assert!(other.join().unwrap() <= 1);
        assert_whole(&manager, 2);
    });
}

/// Nor is it refused while another thread counts the available blocks, which are never more than
/// there are.
#[test]
fn an_allocation_while_another_thread_counts() {
    explore(|| {
        let manager = pool(2);
        lease_all(&manager);
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.available_blocks()
        });
        let own = manager.allocate_blocks(2);
        assert!(own.is_some(), "nobody else asks for blocks");
        assert!(other.join().unwrap() <= 2);
        assert_whole(&manager, 2);
        drop(own);
        assert_eq!(manager.available_blocks(), 2);
    });
}

/// A lease is released by its id while it ends in pieces: every block is released once.
#[test]
fn a_release_meets_an_expiry() {
    explore(|| {
        let manager = pool(2);
        let id = lease_all(&manager);
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.release_lease(id)
        });
        manager.expire_leases();
        assert!(other.join().unwrap().is_err(), "it has expired");
        assert_whole(&manager, 0);
        assert_eq!(manager.available_blocks(), 2);
    });
}

/// A renewal arrives late, with a time before the expiry: it either keeps all blocks or fails, but
/// never revives a lease that has lost a block.
#[test]
fn a_late_renewal_meets_a_piece() {
    explore(|| {
        let manager = pool(2);
        let now = Instant::now();
        let table = LeaseTable::new(now);
        let lease = table.add(register_all(&manager), "a".into(), Some(SECOND), now);
        let id = lease.detach();
        let other = spawn(1, {
            let table = Arc::clone(&table);
            move || table.renew(id, Some(SECOND * 9), now)
        });
        let _ = table.try_expire_one(|| now + SECOND);
        let is_renewed = other.join().unwrap().is_ok();
        let held = 2 - manager.available_blocks();
        assert_eq!(held, if is_renewed { 2 } else { 1 });
        table.end();
        assert_whole(&manager, 0);
    });
}
