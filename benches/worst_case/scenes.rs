//! The scenes by name.

use std::fmt;

use crate::meter::Meter;
use crate::{Tier, held_plane, ours, own, reference};

/// One of the two crates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    Ours,
    Reference,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ours => "ours",
            Self::Reference => "reference",
        })
    }
}

/// Brings a manager with this policy and of so many blocks into a state, and measures calls.
type Run = fn(&str, usize, &mut Meter);

pub struct Scene {
    pub name: &'static str,
    pub policies: &'static [&'static str],
    ours: Run,
    reference: Option<Run>,
}

impl Scene {
    /// Returns the scene for a crate, if it has the operations and the policy.
    pub fn on(&self, side: Side, policy: &str) -> Option<Run> {
        match side {
            Side::Ours => Some(self.ours),
            Side::Reference => self.reference.filter(|_| !BEYOND.contains(&policy)),
        }
    }
}

/// The policies that the reference does not have.
const BEYOND: [&str; 2] = ["lrfu", "tinylfu"];
const ALL: &[&str] = &[
    "lru",
    "multi-lru",
    "lineage-tick",
    "lineage-fifo",
    "lrfu",
    "tinylfu",
];
const LEAF_FIRST: &[&str] = &["lineage-tick", "lineage-fifo", "lrfu", "tinylfu"];
const TWO: &[&str] = &["lru", "lineage-tick"];
const ONE: &[&str] = &["lru"];

macro_rules! scenes {
    (both $(($both:ident, $both_policies:ident))*; own $(($module:ident::$own:ident, $own_policies:ident))*;) => {
        pub const SCENES: &[Scene] = &[
            $(Scene {
                name: stringify!($both),
                policies: $both_policies,
                ours: ours::$both,
                reference: Some(reference::$both),
            },)*
            $(Scene {
                name: stringify!($own),
                policies: $own_policies,
                ours: $module::$own,
                reference: None,
            },)*
        ];
    };
}

scenes! {
    both
        (fill, ALL)
        (looks, TWO)
        (held, ALL)
        (scarce, ALL)
        (one_chain, LEAF_FIRST)
        (duplicates, TWO)
        (registry_entries, ONE)
        (handles, TWO)
        (touches, ONE)
        (everything, TWO);
    own
        (own::own_methods, ALL)
        (own::single_blocks, ALL)
        (own::clearing, TWO)
        (own::clearing_half, TWO)
        (own::directives, ALL)
        (own::kept, ALL)
        (own::expired_directives, ALL)
        (own::leases, ONE)
        (own::expired_leases, TWO)
        (own::events, ONE)
        (own::two_tiers, TWO)
        (own::watermark, ONE)
        (held_plane::held_plane, TWO)
        (held_plane::held_plane_scarce, TWO);
}

/// Returns the scene with this name.
pub fn named(name: &str) -> &'static Scene {
    SCENES
        .iter()
        .find(|scene| scene.name == name)
        .unwrap_or_else(|| panic!("no scene is called {name}"))
}

pub fn choose_ours(
    builder: kvbm_lockfree::manager::BlockManagerConfigBuilder<Tier>,
    policy: &str,
) -> kvbm_lockfree::manager::BlockManagerConfigBuilder<Tier> {
    builder.with_policy(policy.parse().expect("it is built in"))
}

pub fn choose_reference(
    builder: kvbm_logical::manager::BlockManagerConfigBuilder<Tier>,
    policy: &str,
) -> kvbm_logical::manager::BlockManagerConfigBuilder<Tier> {
    use kvbm_logical::manager::LineageEviction;
    match policy {
        "lru" => builder.with_lru_backend(),
        "multi-lru" => builder.with_multi_lru_backend(),
        "lineage-tick" => builder.with_lineage_backend(),
        "lineage-fifo" => builder.with_lineage_backend_eviction(LineageEviction::Fifo),
        other => panic!("the reference has no policy that is called {other}"),
    }
}
