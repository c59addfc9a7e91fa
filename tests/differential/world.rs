//! A registry with its managers and handles, driven by operations. Compiled twice: `kvbm` is the
//! crate that the parent module selects.

mod tier;

use std::any::{Any, TypeId};
use std::fmt::Display;
use std::sync::{Arc, Mutex};

use dynamo_tokens::PositionalLineageHash;

use super::{audit, clear, kvbm, layout};
use crate::forest::Forest;
use crate::ops::{
    AttachmentType, Config, Device, Host, Op, RegistryOp, SecondTier, Shelf, TierOp, Tracker,
};
use crate::outcome::{Attachments, EntryView, HandleView, Observation, Outcome};
use crate::shelf::{remove, with};
use kvbm::BlockRegistry;
use kvbm::blocks::BlockRegistrationHandle;
use kvbm::tinylfu::{
    FixedDecayPolicy, FrequencyTracker, NoOpTracker, TinyLFUSettings, TinyLFUSettingsBuilder,
    TinyLFUTracker,
};
use tier::Tier;

/// One side of a case.
pub struct World {
    registry: BlockRegistry,
    first: Tier<Device>,
    second: Option<Second>,
    handles: Vec<BlockRegistrationHandle>,
    callbacks: Arc<Mutex<Vec<(usize, PositionalLineageHash)>>>,
    callbacks_installed: usize,
    touches: Arc<Mutex<Vec<u128>>>,
    /// Whether presence is compared. It is not after a manager has been dropped: the reference
    /// then continues to report the blocks of the dropped pool while there is a handle to their
    /// hash.
    presence: bool,
}

/// The second manager, with the first one's metadata type or its own.
enum Second {
    SameType(Tier<Device>),
    OtherType(Tier<Host>),
}

impl World {
    pub fn new(config: &Config) -> Self {
        let touches = Arc::default();
        let mut builder = BlockRegistry::builder();
        if let Some(tracker) = tracker(config.tracker, &touches) {
            builder = builder.frequency_tracker(tracker);
        }
        let registry = builder.build();
        let first = Tier::new(&config.first, config.block_size, &registry);
        let second = config
            .second
            .as_ref()
            .map(|(relation, tier)| match relation {
                SecondTier::SameType => {
                    Second::SameType(Tier::new(tier, config.block_size, &registry))
                }
                SecondTier::OtherType => {
                    Second::OtherType(Tier::new(tier, config.block_size, &registry))
                }
            });
        World {
            registry,
            first,
            second,
            handles: Vec::new(),
            callbacks: Arc::default(),
            callbacks_installed: 0,
            touches,
            presence: true,
        }
    }

    pub fn apply(&mut self, op: &Op, forest: &Forest) -> Outcome {
        if matches!(
            op,
            Op::Tier {
                op: TierOp::DropManager,
                ..
            }
        ) {
            self.presence = false;
        }
        match op {
            Op::Registry(op) => self.apply_to_registry(op, forest),
            Op::Tier { second, op } => match (&mut self.second, second) {
                (Some(Second::SameType(tier)), true) => tier.apply(op, forest, &mut self.handles),
                (Some(Second::OtherType(tier)), true) => tier.apply(op, forest, &mut self.handles),
                _ => self.first.apply(op, forest, &mut self.handles),
            },
        }
    }

    /// Drops both managers and keeps all guards.
    pub fn drop_managers(&mut self) {
        self.presence = false;
        self.first.drop_manager();
        match &mut self.second {
            Some(Second::SameType(tier)) => tier.drop_manager(),
            Some(Second::OtherType(tier)) => tier.drop_manager(),
            None => {}
        }
    }

    /// Drops all guards of one kind in both tiers.
    pub fn clear(&mut self, shelf: Shelf) {
        self.first.clear(shelf);
        match &mut self.second {
            Some(Second::SameType(tier)) => tier.clear(shelf),
            Some(Second::OtherType(tier)) => tier.clear(shelf),
            None => {}
        }
        if shelf == Shelf::Handle {
            self.handles.clear();
        }
    }

    /// Observes the state and audits the pools.
    pub fn observe(&self, forest: &Forest) -> Observation {
        let mut tiers = vec![self.first.view()];
        match &self.second {
            Some(Second::SameType(tier)) => tiers.push(tier.view()),
            Some(Second::OtherType(tier)) => tiers.push(tier.view()),
            None => {}
        }
        Observation {
            tiers,
            registered_count: self.registry.registered_count(),
            entries: self.entries(forest),
            handles: self.handles.iter().map(|h| self.handle_view(h)).collect(),
            callbacks: std::mem::take(&mut self.callbacks.lock().unwrap()),
            touches: std::mem::take(&mut self.touches.lock().unwrap()),
        }
    }

    fn entries(&self, forest: &Forest) -> Vec<EntryView> {
        let hashes: Vec<_> = forest.nodes().iter().map(|node| node.hash).collect();
        let device = self.registry.check_presence::<Device>(&hashes);
        let host = self.registry.check_presence::<Host>(&hashes);
        let any = self.registry.check_presence_any(&hashes, &tier_types());
        hashes
            .iter()
            .enumerate()
            .map(|(i, &hash)| {
                let answers = [device[i].0, host[i].0, any[i].0];
                assert_eq!(answers, [hash; 3], "presence answers in input order");
                EntryView {
                    hash,
                    registered: self.registry.is_registered(hash),
                    present: [device[i].1, host[i].1].map(|present| present && self.presence),
                    present_any: any[i].1 && self.presence,
                    frequency: self.registry.count(hash),
                }
            })
            .collect()
    }

    fn handle_view(&self, handle: &BlockRegistrationHandle) -> HandleView {
        HandleView {
            hash: handle.seq_hash(),
            present: [handle.has_block::<Device>(), handle.has_block::<Host>()]
                .map(|present| present && self.presence),
            present_any: handle.has_any_block(&tier_types()) && self.presence,
            from_registry: handle.is_from_registry(&self.registry),
        }
    }

    fn apply_to_registry(&mut self, op: &RegistryOp, forest: &Forest) -> Outcome {
        match op {
            RegistryOp::Register { node } => {
                let handle = self.registry.register_sequence_hash(forest.hash(*node));
                let view = self.handle_view(&handle);
                self.handles.push(handle);
                Outcome::Handle(Some(view))
            }
            RegistryOp::RegisterBatch { nodes, hold } => {
                let handles = self.registry.register_sequence_hashes(forest.hashes(nodes));
                let views = handles.iter().map(|h| self.handle_view(h)).collect();
                if *hold {
                    self.handles.extend(handles);
                }
                Outcome::Handles(views)
            }
            RegistryOp::Lookup { node, touch, hold } => {
                let found = self
                    .registry
                    .match_sequence_hash(forest.hash(*node), *touch);
                let view = found.as_ref().map(|handle| self.handle_view(handle));
                if *hold {
                    self.handles.extend(found);
                }
                Outcome::Handle(view)
            }
            RegistryOp::Touch { node } => {
                self.registry.touch(forest.hash(*node));
                Outcome::Done
            }
            RegistryOp::Count { node } => Outcome::Count(self.registry.count(forest.hash(*node))),
            RegistryOp::CloneHandle { pick } => with(&mut self.handles, *pick, |handles, at| {
                handles.push(handles[at].clone());
                Outcome::Done
            }),
            RegistryOp::DropHandle { pick } => remove(&mut self.handles, *pick),
            RegistryOp::Attach {
                pick,
                kind,
                unique,
                value,
            } => with(&mut self.handles, *pick, |handles, at| match kind {
                AttachmentType::Number => attach(&handles[at], *value, *unique),
                AttachmentType::Text => attach(&handles[at], value.to_string(), *unique),
            }),
            RegistryOp::ReadAttachments { pick, kind } => {
                with(&mut self.handles, *pick, |handles, at| match kind {
                    AttachmentType::Number => read_attachments::<u64>(&handles[at]),
                    AttachmentType::Text => read_attachments::<String>(&handles[at]),
                })
            }
            RegistryOp::ChangeAttachments { pick, kind } => {
                with(&mut self.handles, *pick, |handles, at| match kind {
                    AttachmentType::Number => {
                        change_attachments::<u64>(&handles[at], |number| *number += 1)
                    }
                    AttachmentType::Text => {
                        change_attachments::<String>(&handles[at], |text| text.push('!'))
                    }
                })
            }
            RegistryOp::OnTouch { pick } => {
                let log = Arc::clone(&self.callbacks);
                let number = self.callbacks_installed;
                self.callbacks_installed += 1;
                with(&mut self.handles, *pick, |handles, at| {
                    handles[at].on_touch(Arc::new(move |hash| {
                        log.lock().unwrap().push((number, hash));
                    }));
                    Outcome::Done
                })
            }
            RegistryOp::FireTouch { pick } => with(&mut self.handles, *pick, |handles, at| {
                handles[at].touch();
                Outcome::Done
            }),
        }
    }
}

/// A user's own tracker, which counts and records every touch.
struct RecordingTracker {
    counts: TinyLFUTracker<u128>,
    touches: Arc<Mutex<Vec<u128>>>,
}

impl FrequencyTracker<u128> for RecordingTracker {
    fn touch(&self, key: u128) {
        self.touches.lock().unwrap().push(key);
        self.counts.touch(key);
    }

    fn count(&self, key: u128) -> u32 {
        self.counts.count(key)
    }
}

fn tracker(
    config: Tracker,
    touches: &Arc<Mutex<Vec<u128>>>,
) -> Option<Arc<dyn FrequencyTracker<u128>>> {
    match config {
        Tracker::Absent => None,
        Tracker::NoOp => Some(Arc::new(NoOpTracker::new())),
        Tracker::TinyLfu { capacity } => Some(Arc::new(counts(settings(capacity)))),
        Tracker::Decaying { capacity, sample } => {
            let policy = FixedDecayPolicy::new(sample);
            Some(Arc::new(counts(settings(capacity).decay_policy(policy))))
        }
        Tracker::Recording { capacity } => Some(Arc::new(RecordingTracker {
            counts: counts(settings(capacity)),
            touches: Arc::clone(touches),
        })),
    }
}

fn settings(capacity: usize) -> TinyLFUSettingsBuilder {
    layout(TinyLFUSettings::builder().capacity(capacity))
}

fn counts(settings: TinyLFUSettingsBuilder) -> TinyLFUTracker<u128> {
    settings
        .build()
        .expect("the capacity is set")
        .into_tracker()
}

fn tier_types() -> [TypeId; 2] {
    [TypeId::of::<Host>(), TypeId::of::<Device>()]
}

fn attach<V: Any + Send + Sync>(
    handle: &BlockRegistrationHandle,
    value: V,
    unique: bool,
) -> Outcome {
    Outcome::of(if unique {
        handle.attach_unique(value)
    } else {
        handle.attach(value)
    })
}

fn read_attachments<V: Any + Send + Sync + Display>(handle: &BlockRegistrationHandle) -> Outcome {
    let attached = handle.get::<V>();
    let texts = |values: &[&V]| values.iter().map(|value| value.to_string()).collect();
    Outcome::Attachments(Attachments {
        unique: attached.with_unique(V::to_string),
        multiple: attached.with_multiple(texts),
        all: attached.with_all(|unique, multiple| (unique.map(V::to_string), texts(multiple))),
    })
}

/// Changes each attachment through every accessor that can reach it.
fn change_attachments<V: Any + Send + Sync + Display>(
    handle: &BlockRegistrationHandle,
    change: impl Fn(&mut V),
) -> Outcome {
    let attached = handle.get::<V>();
    let changed = |value: &mut V| {
        change(value);
        value.to_string()
    };
    let all_changed =
        |values: &mut [&mut V]| values.iter_mut().map(|value| changed(value)).collect();
    Outcome::Attachments(Attachments {
        unique: attached.with_unique_mut(changed),
        multiple: attached.with_multiple_mut(all_changed),
        all: attached.with_all_mut(|unique, multiple| (unique.map(changed), all_changed(multiple))),
    })
}
