//! What there is after an operation, to be compared with that of another run.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::ledger::Owner;
use crate::world::{BLOCKS, Disk, Gpu, HASHES, World, hash};

/// Far longer than anything takes.
const LONG: Duration = Duration::from_secs(20);
/// How long is waited once something did not come in time.
const SHORT: Duration = Duration::from_millis(300);

/// Named facts, in their order.
pub type Facts = Vec<(&'static str, String)>;

fn fact(name: &'static str, value: impl Debug) -> (&'static str, String) {
    (name, format!("{value:?}"))
}

/// What differs between two runs.
pub fn differences(facts: &Facts, control: &Facts) -> Vec<String> {
    assert_eq!(facts.len(), control.len(), "{facts:?}, {control:?}");
    facts
        .iter()
        .zip(control)
        .filter(|(fact, control)| fact != control)
        .map(|((name, is), (_, control))| format!("{name}: {is}, in the control run {control}"))
        .collect()
}

static IS_LATE: AtomicBool = AtomicBool::new(false);

/// Waits no longer for what is not to be expected.
pub fn be_impatient() {
    IS_LATE.store(true, Relaxed);
}

/// Waits until there is nothing left to complain about.
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
    /// Hashes that are registered.
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

    /// Lets the thread of the events come to the end of its work.
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
            Some(Ok(report)) if report.forgotten > 0 => {
                return Some(format!("{} blocks stay forgotten", report.forgotten));
            }
            // One in the hand of the thread of the events looks like one that is held.
            Some(Ok(report)) if report.exclusive != self.mutable.len() + self.complete.len() => {
                return Some(format!("{} blocks are held exclusively", report.exclusive));
            }
            Some(Err(error)) => return Some(error.to_string()),
            _ => {}
        }
        if self.registry.is_none() {
            return None;
        }
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

    /// Hashes that are known to the events by handles of other registries.
    fn foreign(&self) -> BTreeSet<u128> {
        let registry = self.registry.as_ref();
        self.handles
            .iter()
            .filter(|handle| registry.is_some_and(|it| !handle.is_from_registry(it)))
            .map(|handle| handle.seq_hash().as_u128())
            .collect()
    }

    /// What can be seen of the managers, the registry, the events and the user's values.
    pub fn facts(&mut self) -> Facts {
        let presence = |hashes: Vec<(_, bool)>| -> Vec<u32> {
            let present = (0..).zip(hashes).filter(|(_, (_, is_present))| *is_present);
            present.map(|(n, _)| n).collect()
        };
        let all: Vec<_> = (0..HASHES).map(hash).collect();
        let in_tiers = self.registry.as_ref().map(|registry| {
            (
                presence(registry.check_presence::<Gpu>(&all)),
                presence(registry.check_presence::<Disk>(&all)),
            )
        });
        let registered: Vec<_> = (0..HASHES)
            .filter(|&n| {
                let registry = self.registry.as_ref();
                registry.is_some_and(|registry| registry.is_registered(hash(n)))
            })
            .collect();
        let count = self.registry.as_ref().map(|it| it.registered_count());
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
        let mirror = self.mirror.as_mut().map(|mirror| {
            mirror.read();
            mirror.hashes.clone()
        });
        let mirror = mirror.map(|mut hashes| {
            for hash in self.spared() {
                hashes.remove(&hash);
            }
            (0..HASHES)
                .filter(|&n| hashes.contains(&hash(n).as_u128()))
                .collect::<Vec<_>>()
        });
        vec![
            fact(
                "available",
                self.manager.as_ref().map(|it| it.available_blocks()),
            ),
            fact("audit", audit),
            fact("audit of the second tier", second),
            fact("metrics", self.metrics.snapshot()),
            fact("registered", registered),
            fact("registered_count", count),
            fact("present", in_tiers),
            fact("dropped values", self.lives()),
            fact("events", mirror),
        ]
    }

    /// The values there have been and their drops, by the number of the hash. A policy
    /// that panics goes early.
    fn lives(&self) -> Vec<(String, u32, u32)> {
        let number = |owner| match owner {
            Owner::Hash(bits) => match (0..HASHES).find(|&n| hash(n).as_u128() == bits) {
                Some(n) => n.to_string(),
                None => "?".into(),
            },
            other => format!("{other:?}"),
        };
        self.ledger
            .lives()
            .into_iter()
            .filter(|&(owner, _)| owner != Owner::Policy)
            .map(|(owner, lives)| (number(owner), lives.made, lives.dropped))
            .collect()
    }

    /// What must not be at any time.
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

    /// Uses everything once more, and lets go of all of it.
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
        if let Some(registry) = &self.registry {
            facts.push(fact("registered in the end", registry.registered_count()));
        }
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

    /// The next operations.
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
        let mut evicted: Vec<_> = evicted.iter().map(|hash| hash.as_u128()).collect();
        if self.goes_by_panics() {
            evicted.sort_unstable();
        }
        facts.push(fact("evicted", evicted));
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
