//! What is done for an answer: which columns and rows each tier is scanned for, whether rows (`union`) or states of
//! aggregates (`partial`) come out of it, and the statement that the hot engine runs over both.

pub(crate) mod partial;
pub(crate) mod plan;
pub(crate) mod planner;
pub(crate) mod scan;
pub(crate) mod union;
