//! Where a batch stands on the sender's side, and which state may follow which.

pub use storage_types::MoveState;
use storage_types::states;

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
