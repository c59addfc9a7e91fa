//! Which operations reach which places, and where the panic goes from there.

use crate::operation::Operation;
use crate::place::{Cause, Place};
use crate::world::Tiers;

/// A combination of place and operation in one of its settings.
#[derive(Clone, Copy)]
pub struct Case {
    pub place: Place,
    pub operation: &'static Operation,
    pub tiers: Tiers,
    pub has_events: bool,
    /// Whether the operation is performed by a drop during unwinding.
    pub unwinds: bool,
}

/// Where a panic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lands {
    /// It propagates to the caller when the operation is complete.
    Caller,
    /// It is contained.
    Nowhere,
    /// It depends on which comes first, the caller or the events' thread.
    Either,
}

impl Case {
    /// Returns whether the operation calls the code at the place.
    pub fn reaches(&self) -> bool {
        let causes = self.operation.causes;
        let is_caused = |cause| causes.contains(cause);
        self.place.causes().iter().any(is_caused)
    }

    /// Returns whether it is undetermined if the operation reaches the place.
    pub fn is_open(&self) -> bool {
        // During unwinding, levels need not be requested.
        self.place == Place::TrackerCount && self.unwinds || self.is_race()
    }

    pub fn is_possible(&self) -> bool {
        let is_without_result = self.place == Place::PolicyIsLeafFirst && self.unwinds;
        // The events' thread also holds blocks, for a moment.
        let goes_by_blocks = self.place == Place::LowCall || self.place.ends_the_policy();
        // Another eviction order leaves other blocks in both tiers.
        let goes_by_order = self.place.ends_the_policy() && self.tiers == Tiers::TwoThatShare;
        let is_to_chance = goes_by_blocks && self.has_events && self.operation.clears;
        self.operation.is_possible(self.tiers, self.has_events)
            && (self.has_events || !self.place.needs_events())
            // Without that answer, there is no manager and nothing to continue with.
            && !is_without_result
            && !goes_by_order
            && !is_to_chance
    }

    /// Returns where a panic goes.
    pub fn lands(&self) -> Lands {
        let is_attached = self.place.is_attached();
        match self.place {
            _ if self.unwinds => Lands::Nowhere,
            // Documented at the trait: the manager continues without the policy.
            place if place.ends_the_policy() => Lands::Nowhere,
            // Documented at the builder.
            Place::LowCall => Lands::Nowhere,
            // Documented in `leases`.
            _ if self.operation.ends_leases
                && (is_attached || self.place == Place::TrackerCount) =>
            {
                Lands::Nowhere
            }
            _ if self.operation.clears && self.has_events && is_attached => {
                if self.operation.causes == [Cause::End] {
                    Lands::Nowhere
                } else {
                    Lands::Either
                }
            }
            _ => Lands::Caller,
        }
    }

    /// Returns whether the events' thread ends registrations while hashes are registered again. If
    /// a new registration comes in between, the old one continues, with its attachments.
    pub fn is_race(&self) -> bool {
        let registers = self.operation.causes.contains(&Cause::Begin);
        self.operation.clears && self.has_events && registers
    }

    /// Returns whether every call is made that would be made without panics.
    pub fn makes_all_calls(&self) -> bool {
        !self.place.ends_the_policy() && !self.is_race()
    }

    pub fn name(&self) -> String {
        format!(
            "{:?} × {} ({}, {}{})",
            self.place,
            self.operation.name,
            match self.tiers {
                Tiers::One => "one tier",
                Tiers::Two => "two tiers",
                Tiers::TwoThatShare => "two tiers that share",
            },
            if self.has_events {
                "events"
            } else {
                "no events"
            },
            if self.unwinds {
                ", while unwinding"
            } else {
                ""
            },
        )
    }
}
