//! The observable state after an operation, to be compared with that of another run.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use kvbm_lockfree::{BlockMetadata, SequenceHash};

use crate::ledger::Owner;
use crate::world::{BLOCKS, Disk, Gpu, HASHES, World, hash};

/// Far longer than anything takes.
const LONG: Duration = Duration::from_secs(20);
/// The wait after something has already been late once.
const SHORT: Duration = Duration::from_millis(300);

/// Named facts, in order.
pub type Facts = Vec<(&'static str, String)>;

fn fact(name: &'static str, value: impl Debug) -> (&'static str, String) {
    (name, format!("{value:?}"))
}

/// The fact that depends on whether registrations have ended.
pub const LIVES: &str = "dropped values";

/// The numbers of the hashes, in order.
fn numbers(hashes: &BTreeSet<u128>) -> Vec<u64> {
    let numbers = 0..HASHES;
    numbers
        .filter(|&n| hashes.contains(&hash(n).as_u128()))
        .collect()
}

/// Returns the differences between two runs. If there is a [race](crate::reach::Case::is_race), some
/// registrations may not have ended.
pub fn differences(facts: &Facts, control: &Facts, is_race: bool) -> Vec<String> {
    assert_eq!(facts.len(), control.len(), "{facts:?}, {control:?}");
    facts
        .iter()
        .zip(control)
        .filter(|(fact, control)| fact != control && !(is_race && fact.0 == LIVES))
        .map(|((name, is), (_, control))| format!("{name}: {is}, in the control run {control}"))
        .collect()
}

static IS_LATE: AtomicBool = AtomicBool::new(false);

/// Shortens the wait for something that is no longer expected.
pub fn be_impatient() {
    IS_LATE.store(true, Relaxed);
}

/// Waits until there are no complaints.
fn wait(mut complaint: impl FnMut() -> Option<String>) -> Result<(), String> {
    let patience = if IS_LATE.load(Relaxed) { SHORT } else { LONG };
    let start = Instant::now();
    while let Some(what) = complaint() {
        if start.elapsed() > patience {
            IS_LATE.store(true, Relaxed);
            return Err(what);
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

impl World {
    /// The registered hashes.
    fn registered(&self) -> BTreeSet<u128> {
        let Some(registry) = &self.registry else {
            return BTreeSet::new();
        };
        (0..HASHES)
            .map(hash)
            .filter(|&hash| registry.is_registered(hash))
            .map(|hash| hash.as_u128())
            .collect()
    }

    /// Waits until the events' thread has finished its work.
    pub fn settle(&mut self) -> Result<(), String> {
        if self.mirror.is_none() {
            return Ok(());
        }
        wait(|| self.unsettled())
    }

    fn unsettled(&mut self) -> Option<String> {
        let mirror = self.mirror.as_mut()?;
        mirror.read();
        let mirrored = mirror.hashes.clone();
        let registered = self.registered();
        if self.registry.is_some() {
            let foreign = self.foreign();
            let missing = mirrored.symmetric_difference(&registered);
            let missing =
                missing.filter(|&hash| !self.spared().contains(hash) && !foreign.contains(hash));
            let missing = missing.count();
            if missing > 0 {
                let (all, registered) = (mirrored.len(), registered.len());
                return Some(format!(
                    "events say that {all} hashes are registered, of which {registered} are, \
                     and {missing} are in one only"
                ));
            }
        }
        match self.manager.as_ref().map(|manager| manager.audit()) {
            Some(Ok(report)) if report.exclusive != self.mutable.len() + self.complete.len() => {
                return Some(format!("{} blocks are held exclusively", report.exclusive));
            }
            Some(Err(error)) => return Some(error.to_string()),
            _ => {}
        }
        self.registry.as_ref()?;
        let open = self.ledger.open();
        let kept: Vec<_> = open
            .iter()
            .filter_map(|&(owner, lives)| match owner {
                Owner::Hash(hash) if !registered.contains(&hash) => Some((hash, lives)),
                _ => None,
            })
            .collect();
        (!kept.is_empty()).then(|| format!("values of hashes that have ended: {kept:?}"))
    }

    /// Returns the hashes that the events know through handles of other registries.
    fn foreign(&self) -> BTreeSet<u128> {
        let registry = self.registry.as_ref();
        self.handles
            .iter()
            .filter(|handle| registry.is_some_and(|it| !handle.is_from_registry(it)))
            .map(|handle| handle.seq_hash().as_u128())
            .collect()
    }

    /// Returns what can be observed of the managers, the registry and the user's values.
    pub fn facts(&mut self) -> Facts {
        let audit = self.manager.as_ref().map(|manager| {
            manager.audit().map(|report| {
                (
                    ("free", report.free),
                    ("exclusive", report.exclusive),
                    ("active", report.active),
                    ("inactive", report.inactive),
                    ("forgotten", report.forgotten),
                    ("duplicates", report.duplicates),
                )
            })
        });
        let second = self.second.as_ref().map(|second| second.audit().is_ok());
        let count = self.registry.as_ref().map(|it| it.registered_count());
        let available = self.manager.as_ref().map(|it| it.available_blocks());
        vec![
            fact("available", available),
            fact("audit", audit),
            fact("audit of the second tier", second),
            fact("metrics", self.metrics.snapshot()),
            fact("registered_count", count),
            fact("registered", self.anyhow(numbers(&self.registered()))),
            fact("present", self.anyhow(self.present::<Gpu>())),
            fact(
                "present in the second tier",
                self.anyhow(self.present::<Disk>()),
            ),
            fact(LIVES, self.lives()),
        ]
    }

    /// Returns the hashes themselves, or just their number if the policy's panic changes the choice.
    fn anyhow(&self, numbers: Vec<u64>) -> String {
        if self.goes_by_faults() {
            format!("{} hashes", numbers.len())
        } else {
            format!("{numbers:?}")
        }
    }

    /// Returns the evicted hashes in order, as far as that does not depend on panics.
    pub fn evicted(&self, hashes: &[SequenceHash]) -> String {
        let mut hashes: Vec<_> = hashes.iter().map(|hash| hash.as_u128()).collect();
        if self.goes_by_faults() {
            return format!("{} hashes", hashes.len());
        }
        if self.goes_by_panics() {
            hashes.sort_unstable();
        }
        format!("{hashes:?}")
    }

    fn present<T: BlockMetadata>(&self) -> Vec<u64> {
        let all: Vec<_> = (0..HASHES).map(hash).collect();
        let registry = self.registry.as_ref();
        let presence = registry.map(|registry| registry.check_presence::<T>(&all));
        (0..HASHES)
            .zip(presence.into_iter().flatten())
            .filter(|&(_, (_, is_present))| is_present)
            .map(|(n, _)| n)
            .collect()
    }

    /// Returns what is registered according to the events, by the number of the hash.
    pub fn mirrored(&mut self) -> Vec<u64> {
        let Some(mirror) = &mut self.mirror else {
            return Vec::new();
        };
        mirror.read();
        numbers(&mirror.hashes)
    }

    /// Returns the numbers of the hashes whose registrations emit no events because the policy
    /// panicked.
    pub fn spared_numbers(&self) -> Vec<u64> {
        numbers(&self.spared())
    }

    /// Returns the numbers of values and of drops, by the number of the hash. A policy that panics
    /// is dropped early.
    fn lives(&self) -> Vec<(String, u32, u32)> {
        let name = |owner| match owner {
            Owner::Hash(_) if self.goes_by_faults() => "a hash".into(),
            Owner::Hash(bits) => format!("{:?}", numbers(&BTreeSet::from([bits]))),
            other => format!("{other:?}"),
        };
        let mut lives: Vec<_> = self
            .ledger
            .lives()
            .into_iter()
            .filter(|&(owner, _)| owner != Owner::Policy)
            .map(|(owner, lives)| (name(owner), lives.made, lives.dropped))
            .collect();
        if self.goes_by_faults() {
            lives.sort();
        }
        lives
    }

    /// Returns violations of what must always hold.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(Err(error)) = self.manager.as_ref().map(|manager| manager.audit()) {
            faults.push(error.to_string());
        }
        let metrics = self.metrics.snapshot();
        let gauges = [
            metrics.inflight_mutable,
            metrics.inflight_immutable,
            metrics.reset_pool_size,
            metrics.inactive_pool_size,
        ];
        if gauges.iter().any(|&gauge| gauge < 0) {
            faults.push(format!("a gauge is negative: {metrics:?}"));
        }
        let mirror = self.mirror.as_ref();
        faults.extend(mirror.into_iter().flat_map(|mirror| mirror.faults.clone()));
        faults
    }

    /// Uses everything once more, and then drops all of it.
    pub fn end(mut self) -> (Facts, Vec<String>) {
        let mut faults = Vec::new();
        let mut facts = Vec::new();
        self.let_go();
        faults.extend(self.settle().err());
        let metrics = std::sync::Arc::clone(&self.metrics);
        if self.manager.is_some() {
            self.use_all(&mut facts, &mut faults);
        }
        let metrics = metrics.snapshot();
        if (metrics.inflight_mutable, metrics.inflight_immutable) != (0, 0) {
            faults.push(format!("nothing is held, and gauges say {metrics:?}"));
        }

        self.manager = None;
        self.second = None;
        // The events' thread may hold a tier.
        let is_empty = wait(|| {
            let count = self.registry.as_ref()?.registered_count();
            (count > 0).then(|| format!("all is gone, and {count} hashes stay registered"))
        });
        faults.extend(is_empty.err());
        self.registry = None;
        self.events = None;
        let is_over = wait(|| {
            let open = self.ledger.open();
            if !open.is_empty() {
                return Some(format!("values that are not dropped once each: {open:?}"));
            }
            let mirror = self.mirror.as_mut()?;
            mirror.read();
            (!mirror.is_over || !mirror.hashes.is_empty()).then(|| {
                format!(
                    "all is gone, and events say of {} hashes that they are registered; \
                     their end has come: {}",
                    mirror.hashes.len(),
                    mirror.is_over
                )
            })
        });
        faults.extend(is_over.err());
        faults.extend(self.faults());
        (facts, faults)
    }

    /// Performs further operations, and adds their results.
    fn use_all(&self, facts: &mut Facts, faults: &mut Vec<String>) {
        let manager = self.manager();
        let all = BLOCKS as usize;
        if manager.available_blocks() != all {
            faults.push(format!(
                "nothing is held, and {} of {all} blocks are available",
                manager.available_blocks()
            ));
            return;
        }
        let new = self.register(150..152);
        let found = manager.match_blocks(&[hash(150), hash(151)]).len();
        drop(new);
        facts.push(fact("matched of two new blocks", found));

        let Some((blocks, evicted)) = manager.allocate_blocks_with_evictions(all) else {
            faults.push("all blocks are available, and not to be had".into());
            return;
        };
        facts.push(fact("evicted", self.evicted(&evicted)));
        faults.extend(manager.audit().err().map(|error| error.to_string()));
        drop(blocks);
        if manager.available_blocks() != all {
            faults.push("blocks were lost as all were allocated".into());
        }
        faults.extend(manager.audit().err().map(|error| error.to_string()));
        if !self.reset_on_release {
            drop(self.register(152..153));
        }
    }
}
