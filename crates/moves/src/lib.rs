//! How rows move from the hot table (the head) to the NAS without a fence, as pure rules over traits.
//!
//! ```text
//! planned ──▶ published ──▶ reclaiming ──▶ reclaimed
//!    │  ▲            │
//!    ▼  ╰───╮        │
//!     withdrawing ◀──╯ ──▶ withdrawn
//! ```
//!
//! A **move** takes the rows of a time window that existed at a watermark: `ts in window AND
//! _block_number <= watermark`, a condition that is stable under merges and mutations. Its rows are
//! read straight from the head in **batches**, sent, and proven by the NAS. Then one transaction of the
//! journal makes the batches visible and hides those rows of the head (**publish**). The head is still
//! whole. After a grace time, with fresh proofs of both copies, they are deleted there (**reclaim**).
//!
//! - **Until a move is `reclaiming` the head is the truth**: it is complete, and giving up costs nothing.
//! - **No drop without a [`receipt`]**: what deletes rows takes a value that only fresh looks at the
//!   other copy can make, and that cannot be stored.
//! - **A step** looks, has an effect, journals and returns; it never loops and never waits for long, so a
//!   blocked move holds up no other and can be cancelled at any time. What a failure means is a table
//!   ([`failure`]).
//! - **Crash**: the journal is written before what cannot be undone and after what was done. A step that
//!   is run again begins by looking.
//! - **Others write too** while a step is under way: an operator, another step. So a transaction builds on what
//!   the journal holds at that moment, and not at all when the move is in another state by then.
//!
//! Everything a step touches is behind the traits of [`world`]: the service implements them over
//! ClickHouse, the gateway and SQLite, a simulation over a model with a clock and faults of its own.

mod adapt;
pub mod book;
pub mod claim;
pub mod cut;
pub mod failure;
pub mod lineage;
mod mover;
mod publish;
pub mod receipt;
mod reclaim;
pub mod record;
pub mod sabotage;
mod ship;
pub mod state;
pub mod trust;
mod withdraw;
pub mod world;

pub use book::{Book, Change};
pub use failure::{Response, StepError, Trouble};
pub use mover::{Mover, Progress, Settings, Task};
pub use record::{Batch, ManagedTable, Move, PartLook, PartRows, Place, RowSet, Slice, Waiting};
pub use state::{BatchState, MoveState};
