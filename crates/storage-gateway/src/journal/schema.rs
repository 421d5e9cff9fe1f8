//! The shape of `gateway.sqlite`. [`daemon::sqlite`] opens the file: versions, damage, durability.

/// One entry per version; never edited once released, only added to.
///
/// The first one takes over what is there, since files of before versions were counted have its tables.
pub(super) const STEPS: &[&str] = &[
    "
CREATE TABLE IF NOT EXISTS batches (
    id        INTEGER PRIMARY KEY,
    state     TEXT NOT NULL,
    manifest  TEXT NOT NULL,
    rows      INTEGER,
    hash      TEXT,
    error     TEXT,
    refuted   INTEGER NOT NULL DEFAULT 0,
    unclean   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS batches_by_state ON batches (state, id);
CREATE TABLE IF NOT EXISTS outbox (batch INTEGER PRIMARY KEY, since INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
",
    "
CREATE INDEX batches_held ON batches (id) WHERE state IN ('proven', 'published');
",
];
