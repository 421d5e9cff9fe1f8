//! What a text means against a catalog: which logical tables it names, in which time range each is read, and which
//! of its expressions mean the same on both tiers.

pub(crate) mod aggregates;
pub(crate) mod bounds;
pub(crate) mod conjuncts;
pub(crate) mod explain;
pub(crate) mod expression;
pub(crate) mod query;
pub(crate) mod survey;
pub(crate) mod time_literals;
pub(crate) mod types;
