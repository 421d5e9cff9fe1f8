//! The shape of `catalog.sqlite`. [`daemon::sqlite`] opens the file: versions, damage, durability.

/// One entry per version; never edited once released, only added to.
pub(super) const STEPS: &[&str] = &[
    "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO meta VALUES ('version', '1');
CREATE TABLE tables (
    logical    TEXT PRIMARY KEY,
    definition TEXT NOT NULL
) STRICT;
CREATE TABLE migrations (
    id          INTEGER PRIMARY KEY,
    trigger     TEXT NOT NULL,
    state       TEXT NOT NULL,
    tables      TEXT NOT NULL,
    before      INTEGER NOT NULL,
    planned     INTEGER NOT NULL DEFAULT 0,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    wire_bytes  INTEGER NOT NULL DEFAULT 0,
    errors      TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE TABLE moves (
    id            INTEGER PRIMARY KEY,
    migration     INTEGER NOT NULL REFERENCES migrations(id),
    logical       TEXT NOT NULL,
    kind          TEXT NOT NULL CHECK (kind IN ('partition', 'window', 'delta')),
    partition_id  TEXT NOT NULL,
    partition     TEXT NOT NULL,
    lo            INTEGER NOT NULL,
    hi            INTEGER NOT NULL,
    source_delta  INTEGER,
    state         TEXT NOT NULL,
    definition    TEXT NOT NULL,
    rows          INTEGER,
    content_hash  TEXT,
    late_rows     INTEGER NOT NULL DEFAULT 0,
    fence_parts   TEXT NOT NULL DEFAULT '[]',
    published_in  INTEGER,
    published_at  INTEGER,
    error         TEXT
) STRICT;
CREATE INDEX moves_by_migration ON moves(migration);
CREATE INDEX moves_by_table ON moves(logical, partition_id, state);
CREATE TABLE batches (
    id            INTEGER PRIMARY KEY,
    move          INTEGER NOT NULL REFERENCES moves(id),
    logical       TEXT NOT NULL,
    lo            INTEGER NOT NULL,
    hi            INTEGER NOT NULL,
    rows          INTEGER NOT NULL,
    content_hash  TEXT NOT NULL,
    state         TEXT NOT NULL,
    raw_bytes     INTEGER NOT NULL DEFAULT 0,
    encoded_bytes INTEGER NOT NULL DEFAULT 0,
    manifest      TEXT,
    visible       INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX batches_by_move ON batches(move);
CREATE TABLE hot_parts (
    name     TEXT PRIMARY KEY,
    logical  TEXT NOT NULL,
    move     INTEGER NOT NULL,
    kind     TEXT NOT NULL CHECK (kind IN ('snapshot', 'delta')),
    partition_id TEXT NOT NULL,
    lo       INTEGER NOT NULL,
    hi       INTEGER NOT NULL,
    windowed INTEGER NOT NULL,
    rows     INTEGER NOT NULL
) STRICT;
CREATE TABLE hides (
    move         INTEGER PRIMARY KEY,
    logical      TEXT NOT NULL,
    lo           INTEGER NOT NULL,
    hi           INTEGER NOT NULL,
    partition_id TEXT,
    snapshot     TEXT NOT NULL
) STRICT;
",
    // Moves without a fence: one record each. Only what is over can be taken along (`book.rs` has made sure).
    "
DROP TABLE hot_parts;
DROP TABLE hides;
ALTER TABLE moves RENAME TO old_moves;
ALTER TABLE batches RENAME TO old_batches;
DROP INDEX moves_by_migration;
DROP INDEX moves_by_table;
DROP INDEX batches_by_move;
CREATE TABLE moves (
    id        INTEGER PRIMARY KEY,
    migration INTEGER NOT NULL REFERENCES migrations(id),
    logical   TEXT NOT NULL,
    lo        INTEGER NOT NULL,
    hi        INTEGER NOT NULL,
    state     TEXT NOT NULL,
    over      INTEGER NOT NULL,
    record    TEXT NOT NULL
) STRICT;
CREATE INDEX moves_by_migration ON moves(migration);
CREATE INDEX moves_open ON moves(id) WHERE over = 0;
CREATE TABLE batches (
    id      INTEGER PRIMARY KEY,
    move    INTEGER NOT NULL,
    logical TEXT NOT NULL,
    state   TEXT NOT NULL,
    rows    INTEGER NOT NULL,
    record  TEXT NOT NULL
) STRICT;
CREATE INDEX batches_by_move ON batches(move);
INSERT INTO moves SELECT id, migration, logical, lo, hi,
    CASE state WHEN 'reclaimed' THEN 'reclaimed' ELSE 'withdrawn' END, 1,
    json_object('id', CAST(id AS TEXT), 'migration', CAST(migration AS TEXT), 'table', json(definition),
        'place', json('{\"server\":\"\",\"table\":\"\"}'),
        'rows', json_object('window', json_object('lo', lo, 'hi', hi), 'watermark', 0),
        'state', CASE state WHEN 'reclaimed' THEN 'reclaimed' ELSE 'withdrawn' END,
        'planned_rows', coalesce(rows, 0), 'reason', error)
    FROM old_moves;
INSERT INTO batches SELECT id, move, logical,
    CASE visible WHEN 1 THEN 'published' ELSE 'dropped' END, rows,
    json_object('id', CAST(id AS TEXT), 'move_id', CAST(move AS TEXT), 'logical', logical,
        'slice', json_object('range', json_object('lo', lo, 'hi', hi), 'rows', rows),
        'proof', json_object('rows', rows, 'content_hash', content_hash),
        'state', CASE visible WHEN 1 THEN 'published' ELSE 'dropped' END,
        'proven', json(CASE visible WHEN 1 THEN 'true' ELSE 'false' END),
        'raw_bytes', raw_bytes, 'encoded_bytes', encoded_bytes)
    FROM old_batches;
INSERT OR REPLACE INTO meta SELECT 'last_batch', CAST(coalesce(max(id), 0) AS TEXT) FROM old_batches;
DROP TABLE old_batches;
DROP TABLE old_moves;
",
];
