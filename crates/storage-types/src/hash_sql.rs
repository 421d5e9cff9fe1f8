//! SQL text of the content hash, in the one place that both tiers take it from.
//!
//! It says what a set of rows is: it is summed over millions of rows three times a move, to detect loss,
//! repetition and damage. Two independent 64-bit hashes side by side are as wide as SipHash-128 and cost a
//! third of its time (see `docs/adr/0006-content-hash.md`).
//!
//! What is hashed is `tuple(…)` around the columns: a hash function given a NULL argument returns NULL, and a
//! sum would skip the row. It differs by type (`Int32(5)` is not `Int64(5)` for one of the lanes at least), so
//! schemas are compared before hashes are.

/// `UInt128` expression whose sum, wrapping at 2^128, is the content hash. `columns`: quoted names,
/// comma-separated, in the table's order.
#[must_use]
pub fn content_term(columns: &str) -> String {
    format!("bitShiftLeft(toUInt128(cityHash64(tuple({columns}))), 64) + xxh3(tuple({columns}))")
}

/// `String` aggregate: the content hash in decimal, as [`crate::ContentHash`] parses it.
#[must_use]
pub fn content_hash(columns: &str) -> String {
    format!("toString(sum({}))", content_term(columns))
}
