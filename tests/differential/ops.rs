//! The parts of a case: its configuration and its operations.
//!
//! Operations refer to guards and hashes by *picks*: numbers that are taken modulo the number of
//! choices. Every sequence of operations is therefore valid, before and after shrinking.

use crate::forest::Sprout;
use crate::policy::Policy;

/// The metadata type of the first tier.
#[derive(Debug, Clone)]
pub struct Device;

/// The metadata type of the second tier, if it has a type of its own.
#[derive(Debug, Clone)]
pub struct Host;

/// Selects one of the available things, modulo their number.
pub type Pick = usize;

/// One generated run.
#[derive(Debug, Clone)]
pub struct Case {
    pub config: Config,
    /// The operations to run while the managers are alive.
    pub ops: Vec<Op>,
    /// The operations to run on the remaining guards after both managers have been dropped.
    pub afterlife: Vec<Op>,
    /// The order in which the guards that remain are dropped, kind by kind.
    pub teardown: Vec<Shelf>,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub sprouts: Vec<Sprout>,
    pub block_size: usize,
    pub tracker: Tracker,
    pub first: TierConfig,
    pub second: Option<(SecondTier, TierConfig)>,
    /// The state is observed, and the pool audited, after every `observe_every`-th operation.
    /// Observing may cause an implementation to complete deferred work, so it must not always
    /// happen immediately.
    pub observe_every: usize,
}

/// How the second manager relates to the first, whose registry it shares.
#[derive(Debug, Clone, Copy)]
pub enum SecondTier {
    SameType,
    OtherType,
}

#[derive(Debug, Clone)]
pub struct TierConfig {
    pub block_count: usize,
    pub policy: Policy,
    pub allow_duplicates: bool,
    pub reset_on_release: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum Tracker {
    Absent,
    NoOp,
    TinyLfu {
        capacity: usize,
    },
    /// Halves its counters after this many increments.
    Decaying {
        capacity: usize,
        sample: u32,
    },
    /// A user's own tracker, whose touches are compared one by one.
    Recording {
        capacity: usize,
    },
}

/// A kind of guard, or registration handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    Mutable,
    Complete,
    Immutable,
    Weak,
    Pin,
    Handle,
}

impl Shelf {
    pub const ALL: [Shelf; 6] = [
        Shelf::Mutable,
        Shelf::Complete,
        Shelf::Immutable,
        Shelf::Weak,
        Shelf::Pin,
        Shelf::Handle,
    ];
}

#[derive(Debug, Clone)]
pub enum Op {
    /// An operation on the first or the second manager, or on the first if there is no second.
    Tier {
        second: bool,
        op: TierOp,
    },
    Registry(RegistryOp),
}

/// The number of blocks to allocate.
#[derive(Debug, Clone, Copy)]
pub enum Amount {
    Exactly(usize),
    /// The number of available blocks plus this number.
    Available(usize),
    /// The size of the pool plus this number.
    Total(usize),
    Max,
}

/// The order in which several guards are dropped.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    OldestFirst,
    NewestFirst,
    /// Every second guard, then the others.
    Interleaved,
}

#[derive(Debug, Clone)]
pub enum TierOp {
    Allocate {
        amount: Amount,
        report_evictions: bool,
    },
    DropMutable {
        pick: Pick,
    },
    Stage {
        pick: Pick,
        node: Pick,
    },
    StageWrongSize {
        pick: Pick,
        node: Pick,
        excess: usize,
    },
    CompleteTokens {
        pick: Pick,
        node: Pick,
    },
    CompleteWrongSize {
        pick: Pick,
    },
    ResetComplete {
        pick: Pick,
    },
    DropComplete {
        pick: Pick,
    },
    Register {
        pick: Pick,
    },
    /// Registers several staged blocks in one batch.
    RegisterBatch {
        pick: Pick,
        count: usize,
        newest_first: bool,
    },
    /// Serves a request: matches the path to a node, allocates, stages and registers what is
    /// missing, and holds all of it.
    Request {
        node: Pick,
        batch: bool,
    },
    /// Allocates, stages and registers these nodes in one batch, including repeated ones.
    Publish {
        nodes: Vec<Pick>,
    },
    MatchPath {
        node: Pick,
    },
    Match {
        nodes: Vec<Pick>,
    },
    MatchScattered {
        nodes: Vec<Pick>,
    },
    Scan {
        nodes: Vec<Pick>,
        touch: bool,
    },
    Clone {
        pick: Pick,
    },
    DropBlocks {
        pick: Pick,
        count: usize,
        order: Order,
    },
    SetEvictOnReset {
        pick: Pick,
        value: bool,
    },
    Downgrade {
        pick: Pick,
    },
    Upgrade {
        pick: Pick,
    },
    CloneWeak {
        pick: Pick,
    },
    DropWeak {
        pick: Pick,
    },
    Pin {
        pick: Pick,
    },
    ClonePin {
        pick: Pick,
    },
    DropPin {
        pick: Pick,
    },
    TakeHandle {
        pick: Pick,
    },
    TakePinHandle {
        pick: Pick,
    },
    ResetInactive,
    /// Like `ResetInactive`, but without a result: in one call if the crate has one.
    ClearInactive,
    DropManager,
}

/// The two types of values that are attached to registration handles.
#[derive(Debug, Clone, Copy)]
pub enum AttachmentType {
    Number,
    Text,
}

#[derive(Debug, Clone)]
pub enum RegistryOp {
    Register {
        node: Pick,
    },
    RegisterBatch {
        nodes: Vec<Pick>,
        hold: bool,
    },
    Lookup {
        node: Pick,
        touch: bool,
        hold: bool,
    },
    Touch {
        node: Pick,
    },
    Count {
        node: Pick,
    },
    CloneHandle {
        pick: Pick,
    },
    DropHandle {
        pick: Pick,
    },
    Attach {
        pick: Pick,
        kind: AttachmentType,
        unique: bool,
        value: u64,
    },
    ReadAttachments {
        pick: Pick,
        kind: AttachmentType,
    },
    ChangeAttachments {
        pick: Pick,
        kind: AttachmentType,
    },
    OnTouch {
        pick: Pick,
    },
    FireTouch {
        pick: Pick,
    },
}
