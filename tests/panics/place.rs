//! The places of user code.

/// A place where user code is called and may panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The drop of the unique attachment of a hash.
    UniqueAttachment,
    /// The drop of one of several attachments of a hash.
    Attachment,
    /// The drops of several values of two types, attached to one hash.
    Attachments,
    /// The drop of a touch callback's captures.
    CallbackState,
    /// A touch callback.
    TouchCallback,
    /// `FrequencyTracker::touch`, also for several hashes, by the default `touch_all`.
    TrackerTouch,
    /// `FrequencyTracker::touch_all`.
    TrackerTouchAll,
    /// `FrequencyTracker::count`.
    TrackerCount,
    TrackerDrop,
    /// `EvictionPolicy::insert`. The next four are methods of the policy, too.
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
    /// The drop of that callback's captures.
    LowDrop,
}

/// What causes user code at a place to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The registration of a hash ends.
    End,
    /// An attachment replaces another.
    Replacement,
    /// An attachment is refused.
    Refusal,
    /// A handle is touched.
    Touch,
    /// A use of a hash is counted.
    Access,
    /// The uses of several hashes are counted together.
    Accesses,
    /// The frequency of a hash is requested.
    Count,
    /// The registry is dropped.
    RegistryEnd,
    /// The policy is told about a release.
    Insert,
    /// The policy is told that a block is in use again.
    Remove,
    /// The policy chooses a victim.
    Pop,
    /// The policy is told about a priority.
    Priority,
    /// A manager is built.
    Build,
    /// A manager is dropped.
    ManagerEnd,
    /// All memory of a manager is freed, after its last guard has been dropped.
    StoreEnd,
    /// A registration begins.
    Begin,
    /// The available blocks fall below the watermark.
    Low,
}

impl Place {
    /// Returns what causes the code at this place to be called.
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

    /// Returns whether the place is in something attached to a hash.
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

    /// Returns whether a manager drops a policy that panics here, and continues without it.
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
