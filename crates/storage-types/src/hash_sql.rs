//! SQL text of the two hashes, in the one place that both tiers take it from.
//!
//! - The **row hash** says which row a row is: rows are hidden and deleted by it, so two different
//!   rows must never share one. 128 bits of SipHash.
//! - The **content hash** says what a set of rows is: it is summed over millions of rows three times
//!   a move, to detect loss, repetition and damage. Two independent 64-bit hashes side by side are
//!   as wide and cost a third of SipHash's time (see `docs/adr/0006-content-hash.md`).
//!
//! Both hash `tuple(…)` around the columns: a hash function given a NULL argument returns NULL, and a
//! sum would skip the row. Both differ by type (`Int32(5)` is not `Int64(5)` for one of the lanes at
//! least), so schemas are compared before hashes are.

/// `FixedString(16)` expression: which row a row is. `columns`: quoted names, comma-separated, in the
/// table's order.
#[must_use]
pub fn row_hash(columns: &str) -> String {
    format!("sipHash128(tuple({columns}))")
}

/// `UInt128` expression whose sum, wrapping at 2^128, is the content hash. `columns` as in [`row_hash`].
#[must_use]
pub fn content_term(columns: &str) -> String {
    format!("bitShiftLeft(toUInt128(cityHash64(tuple({columns}))), 64) + xxh3(tuple({columns}))")
}

/// `String` aggregate: the content hash in decimal, as [`crate::ContentHash`] parses it.
#[must_use]
pub fn content_hash(columns: &str) -> String {
    format!("toString(sum({}))", content_term(columns))
}
