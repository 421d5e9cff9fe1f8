//! The life of a move and of its batches.
//!
//! A **move** takes the rows of one partition, or of one time window inside a coarse partition, to
//! cold. It is cut into **batches** of bounded size; each is sent and proven alone, then all of them
//! are fenced, published, reproven and reclaimed together, in the states of the move:
//!
//! ```text
//! planned → snapshotted → sending → proven → fencing → fenced → published → reproven → reclaimed
//!     ╰───────── aborted: only before `fencing` ─────────╯
//! ```
//!
//! `fencing` is the recorded intent (the fence may or may not have happened: reconcile by looking at
//! the tables). One batch, on the sender's side:
//!
//! ```text
//! planned → encoded → sending → received → proven → (as the move)
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
        /// Chosen; nothing has happened.
        Planned = "planned",
        /// The snapshot table holds its rows, counted and hashed.
        Snapshotted = "snapshotted",
        /// Batches are being encoded and sent.
        Sending = "sending",
        /// Every batch is proven by the gateway.
        Proven = "proven",
        /// Intent: the head's copy is being set aside.
        Fencing = "fencing",
        /// The head's copy is set aside; late rows are accounted for.
        Fenced = "fenced",
        /// Cold is the visible copy.
        Published = "published",
        /// Count and hash were read back from the NAS after the grace time.
        Reproven = "reproven",
        /// The hot copy is gone. The end.
        Reclaimed = "reclaimed",
        /// Given up before the fence; hot is untouched. The end.
        Aborted = "aborted",
    }, {
        Planned => [Snapshotted, Aborted],
        Snapshotted => [Sending, Aborted],
        Sending => [Proven, Aborted],
        Proven => [Fencing, Aborted],
        Fencing => [Fenced, Proven],
        Fenced => [Published],
        Published => [Reproven],
        Reproven => [Reclaimed],
        Reclaimed => [],
        Aborted => [],
    }
);

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
    fn abort_is_possible_only_before_the_fence() {
        for state in MoveState::ALL {
            let may = matches!(
                state,
                MoveState::Planned | MoveState::Snapshotted | MoveState::Sending | MoveState::Proven
            );
            assert_eq!(state.next().contains(&MoveState::Aborted), may, "{state}");
        }
    }

    #[test]
    fn names_round_trip_and_steps_may_repeat() {
        for state in MoveState::ALL {
            assert_eq!(MoveState::parse(state.as_str()), Some(*state));
            assert_eq!(state.advance(*state), Ok(*state));
        }
        assert!(MoveState::Published.advance(MoveState::Fenced).is_err());
    }
}
