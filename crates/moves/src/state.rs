//! Where a move and a batch stand, and which state may follow which.

use storage_types::states;

states!(
    /// Where a move stands (see the crate's diagram).
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

states!(
    /// Where a batch stands on the sender's side.
    BatchState, "batch", {
        /// Its rows are chosen.
        Planned = "planned",
        /// Encoded and spooled, manifest written.
        Encoded = "encoded",
        /// Every chunk was sent.
        Sent = "sent",
        /// The NAS counted and hashed its rows in the cold table, and they are what was sent.
        Proven = "proven",
        /// Queries read it.
        Published = "published",
        /// Its id is spent: queries do not read it, and the NAS is to retire what it has of it.
        Dropped = "dropped",
    }, {
        Planned => [Encoded, Dropped],
        Encoded => [Sent, Dropped],
        Sent => [Encoded, Proven, Dropped],
        Proven => [Published, Dropped],
        Published => [Dropped],
        Dropped => [Proven],
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
