//! A model world that runs the steps of [`moves`] over random faults, and checks what must hold.
//!
//! The steps are the real ones. What they touch is a model: a hot table with parts, block numbers, merges,
//! mutations and a TTL; a NAS with batches and proof jobs; a journal; clocks. Every call may be delayed, fail
//! before its effect or after it; the process may die at every call and after every commit; machines go away,
//! bytes rot, the NAS is put back to an older state, the catalog is lost or put back, a second service starts beside
//! the first. Users insert, update (by mutations, also the time, and by patches), delete, drop, detach, attach,
//! truncate, alter and exchange; an operator cancels and decides. One thing happens at a time, chosen by one
//! generator, so that a seed is a world: `cargo xtask simulate --seed S` plays it again with its log.
//!
//! After some hundred events nothing fails any more; then every move has to be over within the bound of `run`.
//!
//! # What is true of a row
//!
//! | the user or the world did | a query sees it | a copy must be somewhere |
//! |---|---|---|
//! | inserted it before the query began | exactly once | yes |
//! | inserted it while the query runs | at most once | yes |
//! | deleted it by a mutation | at most once; never again once a move that asked for mutations after that one was asked for is published or reclaimed | no |
//! | updated it by a mutation | once; which version, as above | yes |
//! | gave it another time by a mutation | once in all time, or twice until the moves of both times have looked at the head | yes |
//! | updated it by a lightweight UPDATE | once; which version, as above, from the moment that its patch is seen | yes |
//! | dropped, detached, truncated or exchanged it away, or its TTL did, while cold showed it | at most once, and once when every move is over | yes |
//! | likewise before cold showed it | at most once (it may have been read for a move) | only if the NAS has proven it |
//! | attached it again after it was read for a move | once or more: its copy is an insert of its own | yes |
//! | attached it from another table with an old block number, or it was exchanged in | at most once until the move in question looks at the head, then exactly once or refused | yes |
//! | damaged its cold copy | at most once, of any content, until the next proof | in the head, or in a backup if the damage is later than that proof |
//! | an operator decided about its move | at most once | no |
//!
//! A refusal is no answer: a window that is refused, a head that is not the one the hidden rows are in
//! ([`moves::Book::hiding`]), a batch that a restored NAS knows it has lost.
//!
//! # What is allowed to go wrong
//!
//! Without a lock on the user's table some races stay, most of them as short as two statements; and what was lost
//! with a catalog is lost.
//! - A mutation that is asked for, or a patch that is seen, after the last look of a step that publishes or begins
//!   to delete is too late.
//! - Rows with old block numbers that are attached, or updates of the time that are asked for, between the last look
//!   and the deletion: what they bring into the window is deleted with it, what they take out is there twice.
//! - A row that was given another time while an operator chose `keep-cold`, or that an EXCHANGE copied before anybody
//!   looked, is there twice.
//! - An update followed by a DROP, or by an EXCHANGE, before anybody looked: the archive keeps the older version.
//! - In a table with a TTL, rows with old block numbers that are attached into a window that is being moved may be
//!   merged into a part that the TTL took as many rows from or more: they are taken for what is left of its rows.
//! - What was changed or deleted before the catalog was lost or put back, and had not been looked at; likewise in moves
//!   that are found again on the NAS, as long as nobody has seen their rows in the head.
//! - A row that users dropped from the head while it was in batches that are forgotten: those of a catalog that was lost,
//!   or put back, before the gateway was told that they are published.
//! - Rows of batches that an older copy of the catalog made, when that is lost as well (the model does not try it).
//! - A table that lost all its parts and counts from 1 passes the watermark of a move before that looks at it, or while
//!   the catalog is lost: what has the old numbers then is taken for the move's rows (the model does not try it).
//! - A row whose operator chose `keep-cold` while it was in the head only, or `keep-hot` while in cold only.
//!
//! # What it asks of the implementation
//!
//! See [`moves::world`]; the model keeps these promises, and worlds break without them: deletions reach the table in the
//! move's place only, a histogram's buckets stay within the window, the NAS drops a proof job that nobody asks for.

mod calls;
mod catalog;
mod effects;
mod gateway;
mod head;
mod hot;
mod journal;
mod nas;
mod outside;
mod plan;
mod random;
mod readers;
mod row;
mod run;
mod search;
mod state;
mod truth;
mod users;

pub use run::{Outcome, world};
pub use search::{Found, Search, search};
pub use truth::Violation;
