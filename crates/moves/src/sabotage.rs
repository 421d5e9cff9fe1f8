//! Rules that can be left out on purpose, to see that the simulation finds it: a rule whose loss nobody notices
//! is not tested, or not needed. Only with the feature `sabotage`; otherwise [`holds`] is a constant.

/// A rule of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The head is looked at once more before publishing.
    LastLook,
    /// Cold is proven before the head's rows are deleted.
    ColdProof,
    /// Each proof is asked for anew.
    FreshNonce,
    /// The head's rows are looked at before they are deleted.
    HeadLook,
    /// The head's rows stay until nobody reads them.
    LeasesOfHead,
    /// The batches stay until nobody reads them.
    LeasesOfBatches,
    /// Rows that were added under the condition are noticed.
    Grown,
    /// Mutations that are under way are waited for.
    PendingMutations,
    /// The watermark is not above the rows that were there.
    Watermark,
    /// Batches become visible and the head's rows hidden in one transaction.
    OneTransaction,
    /// The condition stays until the rows are gone.
    HiddenUntilGone,
    /// Batches are retired only when the head has their rows.
    HeadWhole,
    /// What was gone before stays gone: later looks at the head do not make it whole.
    Left,
    /// A copy in another table counts only when its content is the same.
    AnotherHead,
    /// Ids of batches grow, whatever the clock does.
    MonotonicIds,
    /// The head is the table that the move was opened on.
    SameHead,
    /// Only parts that hold nothing else are dropped.
    WholeParts,
    /// A withdrawn move's batches are hidden with the same transaction.
    WithdrawHides,
    /// A step changes what the journal holds now, not what it held when the step began.
    OthersWrite,
    /// Slices that are cut by content are not trusted when rows have left.
    Slices,
    /// A head that counts from a lower number again is another head.
    Numbering,
    /// With a TTL, rows that are fewer may have left.
    Expires,
    /// Parts whose names are what they were may have been changed by patches.
    Patches,
    /// A catalog that does not know what was moved learns it first.
    Witness,
    /// The gateway's sender is replaced only by who knows all of its batches.
    Sender,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::LastLook,
        Self::ColdProof,
        Self::FreshNonce,
        Self::HeadLook,
        Self::LeasesOfHead,
        Self::LeasesOfBatches,
        Self::Grown,
        Self::PendingMutations,
        Self::Watermark,
        Self::OneTransaction,
        Self::HiddenUntilGone,
        Self::HeadWhole,
        Self::Left,
        Self::AnotherHead,
        Self::MonotonicIds,
        Self::SameHead,
        Self::WholeParts,
        Self::WithdrawHides,
        Self::OthersWrite,
        Self::Slices,
        Self::Numbering,
        Self::Expires,
        Self::Patches,
        Self::Witness,
        Self::Sender,
    ];
}

#[cfg(feature = "sabotage")]
thread_local! {
    static LEFT_OUT: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Leaves a rule out in this thread from now on, or none.
#[cfg(feature = "sabotage")]
pub fn leave_out(rule: Option<Rule>) {
    LEFT_OUT.with(|left_out| left_out.set(rule));
}

/// Whether the rule is in force.
#[cfg(feature = "sabotage")]
pub fn holds(rule: Rule) -> bool {
    LEFT_OUT.with(|left_out| left_out.get() != Some(rule))
}

/// Whether the rule is in force: always.
#[cfg(not(feature = "sabotage"))]
pub(crate) const fn holds(_: Rule) -> bool {
    true
}
