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
    "
ALTER TABLE batches ADD COLUMN cold_database TEXT NOT NULL DEFAULT '';
ALTER TABLE batches ADD COLUMN cold_table TEXT NOT NULL DEFAULT '';
ALTER TABLE batches ADD COLUMN retired_from TEXT;
ALTER TABLE batches ADD COLUMN retired_at INTEGER;
ALTER TABLE batches ADD COLUMN turns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batches ADD COLUMN removal TEXT CHECK (removal IN ('removing', 'removed'));
UPDATE batches SET cold_database = json_extract(manifest, '$.cold_database'),
                   cold_table = json_extract(manifest, '$.cold_table') WHERE json_valid(manifest);
DROP INDEX batches_held;
CREATE INDEX batches_held ON batches (id) WHERE state != 'aborted' AND removal IS NOT 'removed';
CREATE INDEX batches_by_cold_table ON batches (cold_database, cold_table, state, rows)
    WHERE state IN ('proven', 'published', 'retired') AND removal IS NULL;
CREATE TABLE cold_tables (
    database  TEXT NOT NULL,
    name      TEXT NOT NULL,
    uuid      TEXT,
    accepted  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (database, name)
) STRICT;
CREATE TABLE proofs (
    job    INTEGER NOT NULL,
    batch  INTEGER NOT NULL,
    rows   INTEGER NOT NULL,
    hash   TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (job, batch)
) STRICT, WITHOUT ROWID;
CREATE TABLE idle (batch INTEGER PRIMARY KEY, touched INTEGER NOT NULL, since INTEGER NOT NULL) STRICT;
",
];
