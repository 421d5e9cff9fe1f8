//! Steps 2 to 4: encode, send and prove every batch of a move, in a short pipeline (one batch is
//! encoded while another is sent and a third is proven).
//!
//! What a batch needs next is decided by what the gateway says it holds and by what is in the spool,
//! not by how far we think we came. A lost answer is followed by a question. A batch that the gateway
//! refutes is encoded again from the snapshot, once, under a new id: ids never return.

use fault_points::{Moment, Step};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use storage_types::{
    BatchId, BatchState, Manifest, MoveState, Proof,
    gateway_api::{BatchStatus, EnsureTable},
};
use tokio::time::Instant;

use super::{
    StepError,
    gateway::Outcome,
    mover::{Mover, StepOutcome, at, new_batch_id},
};
use crate::catalog::{BatchRecord, MoveRecord};

/// Batches of one move under way at a time.
const PIPELINE: usize = 4;
/// Pauses between two questions about a proof.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// A line that is not stable is waited for so long before the move says so.
const LINK_PATIENCE: Duration = Duration::from_secs(30);
/// A batch whose bytes were refuted so often is not the line's fault.
const MAX_REFUTED: usize = 2;

impl Mover {
    pub(super) async fn ship(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        if record.state == MoveState::Snapshotted {
            self.catalog.set_move_state(record.id, MoveState::Sending)?;
        }
        let order_by = self.ensure_cold_table(record).await?;
        let batches = self.catalog.batches_of(record.id)?;
        self.check_refuted(&batches)?;
        let open = batches.into_iter().filter(|batch| {
            !matches!(batch.state, BatchState::Proven | BatchState::Published | BatchState::Aborted)
        });
        stream::iter(open)
            .map(|batch| self.ship_batch(record, batch, &order_by))
            .buffered(PIPELINE)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        let proof = self.sum_of_proven(record)?;
        self.catalog.proven(record.id, proof)?;
        Ok(StepOutcome::Stepped)
    }

    /// The cold table's ORDER BY, as it stands.
    async fn ensure_cold_table(&self, record: &MoveRecord) -> Result<String, StepError> {
        let table = &record.table;
        let wanted = EnsureTable {
            database: table.cold.0.clone(),
            table: table.cold.1.clone(),
            columns: table.columns.clone(),
            partition_by: table.partition_key.clone(),
            order_by: table.cold_sorting_key.clone(),
        };
        let found = self.gateway.ensure_table(&wanted).await?;
        let order_by = if found.order_by.is_empty() { "tuple()".to_owned() } else { found.order_by };
        Ok(order_by)
    }

    fn check_refuted(&self, batches: &[BatchRecord]) -> Result<(), StepError> {
        for batch in batches.iter().filter(|batch| batch.state != BatchState::Aborted) {
            let refuted = batches
                .iter()
                .filter(|other| other.state == BatchState::Aborted && other.range == batch.range)
                .count();
            if refuted >= MAX_REFUTED {
                let text = format!("the rows {} were refuted {refuted} times by the gateway", batch.range);
                return Err(StepError::Failed(text));
            }
        }
        Ok(())
    }

    /// The last look before the fence: every row of the snapshot is in a proven batch.
    fn sum_of_proven(&self, record: &MoveRecord) -> Result<Proof, StepError> {
        let mut sum = Proof::default();
        for batch in self.catalog.batches_of(record.id)? {
            match batch.state {
                BatchState::Proven => sum = sum.plus(batch.proof),
                BatchState::Aborted => {}
                _ => return Err(StepError::Retry(format!("batch {} is not proven", batch.id))),
            }
        }
        if sum.rows != record.rows {
            return Err(StepError::Failed("the proven batches do not add up to the snapshot".into()));
        }
        Ok(sum)
    }

    #[tracing::instrument(level = "error", name = "batch", skip_all, fields(batch_id = %batch.id))]
    async fn ship_batch(
        &self,
        record: &MoveRecord,
        batch: BatchRecord,
        order_by: &str,
    ) -> Result<(), StepError> {
        let begun = Instant::now();
        let Some(manifest) = self.manifest(record, &batch, order_by).await? else {
            return self.replace(record, &batch, "its spooled bytes are gone").await;
        };
        let encoded_ms = begun.elapsed().as_millis();
        at(Step::Send, Moment::BeforeJournal).await;
        // What was received is announced again all the same: the gateway may have lost it since.
        if batch.state != BatchState::Received {
            self.catalog.set_batch_state(batch.id, BatchState::Sending)?;
        }
        at(Step::Send, Moment::AfterJournal).await;
        let status = match self.gateway.announce(&manifest).await? {
            Ok(status) => status,
            Err(reason) => return self.replace(record, &batch, &reason).await,
        };
        self.send_missing(record, &manifest, &status).await?;
        at(Step::Send, Moment::AfterEffect).await;
        let sent_ms = begun.elapsed().as_millis();
        self.catalog.set_batch_state(batch.id, BatchState::Received)?;
        at(Step::Send, Moment::AfterResult).await;
        at(Step::Commit, Moment::BeforeJournal).await;
        at(Step::Commit, Moment::AfterJournal).await;
        match self.settle(record, &manifest).await? {
            Ok(()) => {}
            Err(reason) => return self.replace(record, &batch, &reason).await,
        }
        at(Step::Commit, Moment::AfterEffect).await;
        self.catalog.set_batch_state(batch.id, BatchState::Proven)?;
        at(Step::Commit, Moment::AfterResult).await;
        let (Proof { rows, .. }, bytes) = (manifest.proof, manifest.encoded_bytes);
        let proven_ms = begun.elapsed().as_millis();
        tracing::info!(rows, bytes, encoded_ms, sent_ms, proven_ms, "batch proven");
        self.spool.remove(batch.id);
        Ok(())
    }

    /// The manifest of an encoded batch; encodes it if it is not. `None`: encoded once, but the bytes
    /// are gone and the gateway does not hold them all.
    async fn manifest(
        &self,
        record: &MoveRecord,
        batch: &BatchRecord,
        order_by: &str,
    ) -> Result<Option<Manifest>, StepError> {
        let _one = self.encoder.acquire().await.map_err(|e| StepError::Failed(e.to_string()))?;
        let Some(manifest) = batch.manifest.clone() else {
            return self.encode(record, batch, order_by).await.map(Some);
        };
        if self.spool.len(batch.id) == Some(manifest.encoded_bytes) {
            return Ok(Some(manifest));
        }
        let held = self.gateway.status(batch.id).await?;
        let whole = held.is_some_and(|s| {
            s.missing.is_empty() && !matches!(s.state, BatchState::Aborted | BatchState::Retired)
        });
        Ok(whole.then_some(manifest))
    }

    /// Gives a batch's id up; its rows go again under a new one, in the next round of this step.
    async fn replace(&self, record: &MoveRecord, batch: &BatchRecord, reason: &str) -> Result<(), StepError> {
        tracing::warn!(reason, "batch is sent again under a new id");
        let fresh = BatchRecord {
            id: new_batch_id(),
            state: BatchState::Planned,
            raw_bytes: 0,
            encoded_bytes: 0,
            manifest: None,
            ..batch.clone()
        };
        self.catalog.replace_batch(batch.id, &fresh, &record.table.logical)?;
        self.spool.remove(batch.id);
        if let Err(error) = self.gateway.delete(batch.id).await {
            tracing::debug!("delete from the gateway: {error}");
        }
        Err(StepError::Retry(format!("batch {}: {reason}", batch.id)))
    }

    async fn send_missing(
        &self,
        record: &MoveRecord,
        manifest: &Manifest,
        status: &BatchStatus,
    ) -> Result<(), StepError> {
        let last = u32::try_from(manifest.chunks.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let numbers: Vec<u32> =
            status.missing.iter().flat_map(|range| range.first..=range.last.min(last)).collect();
        let mut numbers = numbers.into_iter();
        let mut under_way = stream::FuturesUnordered::new();
        let turn = self.sender.acquire().await;
        let mut turn = Some(turn.map_err(|error| StepError::Failed(error.to_string()))?);
        loop {
            // How many is found while they are sent.
            while under_way.len() < self.connections() {
                let Some(number) = numbers.next() else {
                    // The next batch begins while the last chunks of this one are on their way.
                    drop(turn.take());
                    break;
                };
                under_way.push(self.send_chunk(record, manifest, number));
            }
            match under_way.next().await {
                Some(sent) => sent?,
                None => return Ok(()),
            }
        }
    }

    fn connections(&self) -> usize {
        let mut parallel = self.parallel.lock();
        parallel.observe(self.started.elapsed(), self.limiter.granted_bytes(), self.limiter.effective());
        usize::try_from(parallel.connections()).unwrap_or(1)
    }

    async fn send_chunk(
        &self,
        record: &MoveRecord,
        manifest: &Manifest,
        number: u32,
    ) -> Result<(), StepError> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let chunk =
            manifest.chunks.get(index).ok_or_else(|| StepError::Failed(format!("no chunk {number}")))?;
        let offset = u64::from(number) * manifest.chunk_bytes;
        let (batch, length) = (manifest.batch, chunk.bytes);
        self.wait_for_the_link().await?;
        let bytes = self.spool.reader(batch, offset).await;
        let bytes =
            bytes.map_err(|error| StepError::Retry(format!("read chunk {number} of {batch}: {error}")))?;
        let begun = Instant::now();
        let sent = self.gateway.put_chunk(batch, number, &chunk.blake3, length, bytes, &self.limiter).await;
        match &sent {
            Ok(()) => self.monitor.transferred(length, begun.elapsed()),
            // A refusal did cross the link.
            Err(error) if error.status().is_none() => self.monitor.broke_off(),
            Err(_) => {}
        }
        sent?;
        self.catalog.add_wire_bytes(record.migration, length)?;
        Ok(())
    }

    /// Waits, between chunks, until the link is good enough for bulk data.
    async fn wait_for_the_link(&self) -> Result<(), StepError> {
        let stable = tokio::time::timeout(LINK_PATIENCE, self.monitor.stable()).await;
        stable.map_err(|_| StepError::Retry("the link to the NAS is not stable: sending waits".into()))
    }

    /// Commits and waits for the proof. `Ok(Err(reason))`: the batch's id is spent.
    async fn settle(
        &self,
        record: &MoveRecord,
        manifest: &Manifest,
    ) -> Result<Result<(), String>, StepError> {
        let batch: BatchId = manifest.batch;
        let mut pause = FIRST_PAUSE;
        loop {
            let told = self.confirmed.notified();
            match self.gateway.commit(batch).await? {
                Outcome::Proven(proof) if proof == manifest.proof => return Ok(Ok(())),
                Outcome::Proven(proof) => {
                    return Ok(Err(format!("the gateway proved {proof:?} instead of {:?}", manifest.proof)));
                }
                Outcome::Refuted(reason) => return Ok(Err(reason)),
                Outcome::Unknown => {
                    return Err(StepError::Retry(format!("the gateway has lost batch {batch}")));
                }
                Outcome::Incomplete(status) => self.send_missing(record, manifest, &status).await?,
                Outcome::Proving => {
                    // The gateway's own word may come first; either way it is asked again.
                    let _ = tokio::time::timeout(pause, told).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }
}
