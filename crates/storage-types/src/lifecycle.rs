//! The life of a move, and of a batch on the receiver's side.
//!
//! A **move** takes the rows of one time window that existed at a watermark to cold. It is cut into **batches**
//! of bounded size; each is sent and proven alone, then all of them are published, and reclaimed together:
//!
//! ```text
//! planned ──▶ published ──▶ reclaiming ──▶ reclaimed
//!    │  ▲            │
//!    ▼  ╰───╮        │
//!     withdrawing ◀──╯ ──▶ withdrawn
//! ```
//!
//! The receiver's side of a proven batch ends in `retired`, never in nothing: see [`BatchState`].

/// A transition the table does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot go from {from} to {to}")]
pub struct IllegalTransition {
    /// `move` or `batch`.
    pub what: &'static str,
    /// State it is in.
    pub from: &'static str,
    /// State it was asked to take.
    pub to: &'static str,
}

/// Defines a state machine: an enum of states with their names, and the table of which may follow which.
#[macro_export]
macro_rules! states {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? },
     { $($from:ident => [$($to:ident),*]),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every state, in the order of life.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Lower-case name, as in journals and JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// From the name in a journal.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }

            /// The states that may follow.
            pub const fn next(self) -> &'static [Self] {
                match self { $(Self::$from => &[$(Self::$to),*]),+ }
            }

            /// `to` when it may follow; staying where one is (a repeated step) is always allowed.
            pub fn advance(self, to: Self) -> Result<Self, $crate::lifecycle::IllegalTransition> {
                if self == to || self.next().contains(&to) {
                    Ok(to)
                } else {
                    Err($crate::lifecycle::IllegalTransition { what: $what, from: self.as_str(), to: to.as_str() })
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

states!(
    /// Where a move stands (see the module's diagram).
    MoveState, "move", {
        /// Its rows are being read, sent and proven. Queries read the head.
        Planned = "planned",
        /// Its batches are what queries read; the head still holds the rows, hidden.
        Published = "published",
        /// Intent: the head's rows are being deleted. From here on cold is the truth.
        Reclaiming = "reclaiming",
        /// The head's rows are gone. The end.
        Reclaimed = "reclaimed",
        /// Queries read the head again; the batches are still on the NAS.
        Withdrawing = "withdrawing",
        /// Given up: the head has the rows, the NAS has retired the batches. The end.
        Withdrawn = "withdrawn",
    }, {
        Planned => [Published, Withdrawing, Withdrawn],
        Published => [Reclaiming, Withdrawing],
        Reclaiming => [Reclaimed],
        Reclaimed => [],
        Withdrawing => [Withdrawn, Planned],
        Withdrawn => [],
    }
);

impl MoveState {
    /// Nothing is left to do.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Reclaimed | Self::Withdrawn)
    }

    /// The head's rows of the move are hidden, and its batches visible.
    pub const fn is_visible_in_cold(self) -> bool {
        matches!(self, Self::Published | Self::Reclaiming | Self::Reclaimed)
    }

    /// The head holds rows of the move that queries must not read there.
    pub const fn hides(self) -> bool {
        matches!(self, Self::Published | Self::Reclaiming)
    }
}

states!(
    /// Where a batch stands: on the sender up to `proven`, on the receiver from `sending`.
    BatchState, "batch", {
        /// Its slice of the snapshot is chosen.
        Planned = "planned",
        /// Encoded and spooled, manifest written.
        Encoded = "encoded",
        /// Chunks are on their way (receiver: some chunks are missing).
        Sending = "sending",
        /// Every chunk was there (the sender asks again after a restart).
        Received = "received",
        /// Count and hash, computed by the receiver's engine, match the manifest; the rows are in
        /// the cold table under the batch's id.
        Proven = "proven",
        /// Its move is published: queries read it.
        Published = "published",
        /// Nobody reads it any more; the receiver removes its rows by its own rule. Until that begins it may
        /// be taken back.
        Retired = "retired",
        /// Its move was given up; the receiver forgot it.
        Aborted = "aborted",
    }, {
        Planned => [Encoded, Aborted],
        Encoded => [Sending, Planned, Aborted],
        Sending => [Received, Encoded, Aborted],
        // Back to sending: the receiver's disk lost chunks that it had.
        Received => [Proven, Encoded, Sending, Aborted],
        Proven => [Published, Retired, Aborted],
        Published => [Retired],
        Retired => [Proven, Published],
        Aborted => [],
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_rows_are_being_deleted_there_is_no_way_back() {
        assert_eq!(MoveState::Reclaiming.next(), [MoveState::Reclaimed]);
        for state in MoveState::ALL {
            assert_eq!(MoveState::parse(state.as_str()), Some(*state));
            assert_eq!(state.advance(*state), Ok(*state));
        }
    }
}
