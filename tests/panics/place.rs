//! Where user code stands.

/// A place where user code is called, and may panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The drop of the only value of a type that is attached to a hash.
    UniqueAttachment,
    /// The drop of one of those that there may be several of.
    Attachment,
    /// The drops of several values of two types that are attached to one hash.
    Attachments,
    /// The drop of what a touch callback has captured.
    CallbackState,
    /// A touch callback.
    TouchCallback,
    /// `FrequencyTracker::touch`, for several hashes by the default of `touch_all`.
    TrackerTouch,
    /// `FrequencyTracker::touch_all`.
    TrackerTouchAll,
    /// `FrequencyTracker::count`.
    TrackerCount,
    TrackerDrop,
    /// `EvictionPolicy::insert`, and so the next four.
    PolicyInsert,
    PolicyRemove,
    PolicyPop,
    PolicySetPriority,
    PolicyIsLeafFirst,
    PolicyDrop,
    /// `EventEmissionPolicy::should_emit`.
    EmissionShouldEmit,
    EmissionDrop,
    /// The callback of the low watermark.
    LowCall,
    /// The drop of what that callback has captured.
    LowDrop,
}

/// What has to happen for user code at a place to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The registration of a hash ends.
    End,
    /// An attachment takes the place of another.
    Replacement,
    /// An attachment is refused.
    Refusal,
    /// A handle is touched.
    Touch,
    /// An access of a hash is counted.
    Access,
    /// Accesses of hashes are counted together.
    Accesses,
    /// The frequency of a hash is asked for.
    Count,
    /// The registry ends.
    RegistryEnd,
    /// The order of eviction learns of a release.
    Insert,
    /// The order of eviction learns that a block is in use again.
    Remove,
    /// The order of eviction gives a victim.
    Pop,
    /// The order of eviction learns of a priority.
    Priority,
    /// A manager is built.
    Build,
    /// A manager ends.
    ManagerEnd,
    /// All that a manager has in memory is let go of, after its last guard.
    StoreEnd,
    /// A registration begins.
    Begin,
    /// The available blocks fall below the watermark.
    Low,
}

impl Place {
    /// What calls the code that stands here.
    pub fn causes(self) -> &'static [Cause] {
        match self {
            Self::UniqueAttachment | Self::Attachments => {
                &[Cause::End, Cause::Replacement, Cause::Refusal]
            }
            Self::Attachment => &[Cause::End, Cause::Refusal],
            Self::CallbackState => &[Cause::End],
            Self::TouchCallback => &[Cause::Touch],
            Self::TrackerTouch => &[Cause::Access, Cause::Accesses],
            Self::TrackerTouchAll => &[Cause::Accesses],
            Self::TrackerCount => &[Cause::Count],
            Self::TrackerDrop | Self::EmissionDrop => &[Cause::RegistryEnd],
            Self::PolicyInsert => &[Cause::Insert],
            Self::PolicyRemove => &[Cause::Remove],
            Self::PolicyPop => &[Cause::Pop],
            Self::PolicySetPriority => &[Cause::Priority],
            Self::PolicyIsLeafFirst => &[Cause::Build],
            Self::PolicyDrop => &[Cause::StoreEnd],
            Self::EmissionShouldEmit => &[Cause::Begin],
            Self::LowCall => &[Cause::Low],
            Self::LowDrop => &[Cause::ManagerEnd],
        }
    }

    /// Whether it is in what is attached to a hash.
    pub fn is_attached(self) -> bool {
        self.causes().contains(&Cause::End)
    }

    pub fn is_of_tracker(self) -> bool {
        matches!(
            self,
            Self::TrackerTouch | Self::TrackerTouchAll | Self::TrackerCount | Self::TrackerDrop
        )
    }

    pub fn is_of_policy(self) -> bool {
        self.ends_the_policy() || matches!(self, Self::PolicyIsLeafFirst | Self::PolicyDrop)
    }

    /// Whether the manager drops a policy that panics here, and goes on without it.
    pub fn ends_the_policy(self) -> bool {
        matches!(
            self,
            Self::PolicyInsert | Self::PolicyRemove | Self::PolicyPop | Self::PolicySetPriority
        )
    }

    pub fn needs_events(self) -> bool {
        matches!(self, Self::EmissionShouldEmit | Self::EmissionDrop)
    }
}
