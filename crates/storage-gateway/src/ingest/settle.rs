//! From `received` to `proven` or refuted: one attempt, begun by looking.
//!
//! ```text
//! live table holds exactly the batch? ──yes──────────────────────────────▶ proven
//!   │ no
//! drop its staging tables (waits for anything still running on them), look again,
//! take out whatever part of it is live
//!   │
//! fresh staging table ◀─ load ─ spool
//!   │ count, hash, ids, times match the manifest? ──no──▶ refuted
//!   │ yes
//! ledger "attaching", move the partitions, find every part and row of it live ─▶ ledger, journal: proven
//! ```
//!
//! Every step may be cut off by a crash of this process or of the engine, and every step may have an
//! unknown outcome. There is one answer to both: begin again at the top. The spool keeps the bytes
//! until the journal says `proven`, so beginning again always works.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use fault_points::{Point, Skip};
use storage_types::{BatchState, Manifest, Proof};

use super::{attach, load, load::LoadError, open_batches::OpenBatch, remove, staging};
use crate::{
    cold::{
        TableName, custody,
        ledger::{self, Standing},
        proof, tables,
    },
    error::GatewayError,
    gateway::Gateway,
};

/// How an attempt ended.
#[derive(Debug)]
pub enum SettleOutcome {
    /// The rows are live, counted and hashed.
    Proven,
    /// Bytes and manifest contradict each other.
    Refuted(String),
    /// Somebody else ended the batch meanwhile.
    Gone,
    /// The engine took the bytes for no rows of this table; what it says so of is tried a few times.
    NoRows(String),
    /// The disk lost chunks: they are asked for again.
    Incomplete(String),
    /// To be tried again, as long as it takes.
    Later(String),
}

/// One attempt. Takes the batch's gate.
pub async fn settle(gateway: &Gateway, open: &OpenBatch) -> SettleOutcome {
    let _gate = open.gate.lock().await;
    match gateway.journal.get(open.manifest.batch).await {
        Ok(Some(record)) if record.state == BatchState::Received => {}
        Ok(_) => return SettleOutcome::Gone,
        Err(error) => return SettleOutcome::Later(error.to_string()),
    }
    match attempt(gateway, open).await {
        Ok(ending) => ending,
        Err(GatewayError::SchemaDiffers { difference, .. }) => {
            SettleOutcome::Refuted(format!("the cold table changed since the manifest: {difference}"))
        }
        Err(error) => SettleOutcome::Later(error.to_string()),
    }
}

async fn attempt(gateway: &Gateway, open: &OpenBatch) -> Result<SettleOutcome, GatewayError> {
    let (engine, manifest) = (&gateway.engine, &open.manifest);
    let started = Instant::now();
    custody::check(gateway, &proof::live(manifest)).await?;
    let mut found = proof::of_live(engine, manifest).await?;
    if found == manifest.proof {
        return finish(gateway, manifest).await;
    }
    if staging::drop_all(engine, &manifest.cold_database, manifest.batch).await? > 0 {
        // A move that was still running at the first look is over now that its table is dropped.
        found = proof::of_live(engine, manifest).await?;
        if found == manifest.proof {
            return finish(gateway, manifest).await;
        }
    }
    if found.rows > 0 {
        remove::take_out(engine, std::slice::from_ref(manifest)).await?;
    }

    let live = proof::live(manifest);
    tables::check_ready(engine, &live, &manifest.columns).await?;
    let staging = staging::create(engine, manifest, attempt_number()).await?;
    if let Some(ending) = fill(gateway, open, &staging).await? {
        return Ok(ending);
    }
    let loaded_ms = started.elapsed().as_millis();
    fault_points::reach(Point::GatewayLoadAfterEffect).await;

    let findings = proof::of_staging(engine, &staging, manifest).await?;
    if !fault_points::skips(Skip::GatewayProve)
        && let Some(contradiction) = contradiction(manifest, &findings)
    {
        staging::drop_table(engine, &staging).await?;
        return Ok(SettleOutcome::Refuted(contradiction));
    }
    let proven_ms = started.elapsed().as_millis();
    fault_points::reach(Point::GatewayProveAfterEffect).await;

    let staged = proof::parts(engine, &staging).await?;
    attach::attach(engine, manifest, &staging).await?;
    let attached_ms = started.elapsed().as_millis();
    if !proof::moved_whole(engine, manifest, &staged).await? && !fault_points::skips(Skip::GatewayProve) {
        return Ok(SettleOutcome::Later(
            "the live table does not hold exactly the batch after the move".into(),
        ));
    }
    let reread_ms = started.elapsed().as_millis();
    tracing::debug!(loaded_ms, proven_ms, attached_ms, reread_ms, "batch attached");
    finish(gateway, manifest).await
}

/// Loads the staging table; `Some` when that ended the attempt.
async fn fill(
    gateway: &Gateway,
    open: &OpenBatch,
    staging: &TableName,
) -> Result<Option<SettleOutcome>, GatewayError> {
    let threads = gateway.config.storage.decode_threads;
    let loading = load::load(&gateway.engine, &gateway.spool, &open.manifest, staging, threads);
    let loaded = tokio::select! {
        loaded = loading => loaded,
        () = open.give_up.cancelled() => return Ok(Some(SettleOutcome::Gone)),
    };
    let ending = match loaded {
        Ok(()) => return Ok(None),
        // The bytes were right when they came. If the disk has changed them since, that is no word on
        // what was sent.
        Err(LoadError::Contradiction(text)) if open.recheck(&gateway.spool).await? => {
            SettleOutcome::Refuted(text)
        }
        Err(LoadError::Contradiction(text)) => SettleOutcome::Incomplete(text),
        Err(LoadError::Spool(error)) if !open.recheck(&gateway.spool).await? => {
            SettleOutcome::Incomplete(error.to_string())
        }
        Err(LoadError::Engine(error)) if error.code().is_some_and(is_about_rows) => {
            SettleOutcome::NoRows(error.to_string())
        }
        Err(error) => SettleOutcome::Later(error.to_string()),
    };
    staging::drop_table(&gateway.engine, staging).await?;
    Ok(Some(ending))
}

/// Codes with which ClickHouse says that bytes are no rows of the table. Everything else (a disk that is
/// full or read-only, no memory, a restart) is about the engine: a batch waits for it.
///
/// CANNOT_PARSE_TEXT, THERE_IS_NO_COLUMN, SIZES_OF_COLUMNS_DOESNT_MATCH, NOT_FOUND_COLUMN_IN_BLOCK,
/// NO_SUCH_COLUMN_IN_TABLE, CANNOT_PARSE_INPUT_ASSERTION_FAILED, ATTEMPT_TO_READ_AFTER_EOF,
/// CANNOT_READ_ALL_DATA, UNKNOWN_TYPE, TYPE_MISMATCH, CANNOT_CONVERT_TYPE, INCORRECT_DATA,
/// TOO_LARGE_ARRAY_SIZE, TOO_LARGE_STRING_SIZE, CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN.
fn is_about_rows(code: i32) -> bool {
    matches!(code, 6 | 8 | 9 | 10 | 16 | 27 | 32 | 33 | 50 | 53 | 70 | 117 | 128 | 131 | 349)
}

/// What in the staging table is not as the manifest says.
fn contradiction(manifest: &Manifest, findings: &proof::Findings) -> Option<String> {
    let Proof { rows, content_hash } = manifest.proof;
    if findings.proof.rows != rows {
        return Some(format!("{} rows; the manifest says {rows}", findings.proof.rows));
    }
    if findings.proof.content_hash != content_hash {
        return Some(format!(
            "content hash {}; the manifest says {content_hash}",
            findings.proof.content_hash
        ));
    }
    if findings.foreign_rows > 0 {
        return Some(format!("{} rows carry another batch's id", findings.foreign_rows));
    }
    (findings.outside > 0)
        .then(|| format!("{} rows are outside the range {}", findings.outside, manifest.range))
}

async fn finish(gateway: &Gateway, manifest: &Arc<Manifest>) -> Result<SettleOutcome, GatewayError> {
    let batch = manifest.batch;
    ledger::note(&gateway.engine, manifest, Standing::Proven).await?;
    gateway.journal.advance(batch, BatchState::Proven, Some(manifest.proof), None).await?;
    fault_points::reach(Point::GatewayCommitAfterReplyState).await;
    Ok(SettleOutcome::Proven)
}

/// Never the same twice: the clock, and a count in case it stands still.
fn attempt_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros());
    u64::try_from(micros).unwrap_or(0).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))
}
