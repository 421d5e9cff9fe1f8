//! The batches that are not finished, in memory: which chunks are held, and who waits for what.
//!
//! Nothing in here outlives the process: after a restart it is found out again from journal and spool.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use storage_types::{BatchId, BatchState, Manifest, gateway_api::ChunkRange};
use tokio::sync::{OnceCell, watch};

use super::spool::Spool;
use crate::{error::GatewayError, journal::Journal};

/// Batches that are received at the same time; more is a sender gone wrong.
pub const MAX_OPEN_BATCHES: u64 = 256;

/// A batch that is not finished: what this process knows of it in memory.
pub struct OpenBatch {
    /// What the sender declared.
    pub manifest: Arc<Manifest>,
    /// Which chunks are held; found out by hashing what the spool has, on first use.
    held: OnceCell<Mutex<Vec<bool>>>,
    /// Held while the batch changes.
    pub gate: tokio::sync::Mutex<()>,
    /// Turns when the batch is settled or an attempt failed.
    pub turned: watch::Sender<u64>,
    /// Asks a running load to stop: the batch is being deleted.
    pub give_up: tokio_util::sync::CancellationToken,
}

impl OpenBatch {
    fn new(manifest: Arc<Manifest>) -> Arc<Self> {
        Arc::new(Self {
            manifest,
            held: OnceCell::new(),
            gate: tokio::sync::Mutex::new(()),
            turned: watch::Sender::new(0),
            give_up: tokio_util::sync::CancellationToken::new(),
        })
    }

    async fn held(&self, spool: &Arc<Spool>) -> Result<MutexGuard<'_, Vec<bool>>, GatewayError> {
        let cell = self
            .held
            .get_or_try_init(|| async {
                let (spool, manifest) = (Arc::clone(spool), Arc::clone(&self.manifest));
                let held = daemon::spawn_blocking(move || spool.verify(&manifest))
                    .await
                    .map_err(|_| GatewayError::ShuttingDown)?
                    .map_err(GatewayError::disk("look through the spool"))?;
                Ok::<_, GatewayError>(Mutex::new(held))
            })
            .await?;
        Ok(cell.lock())
    }

    /// Looks through the spool again; answers whether every chunk is held.
    pub async fn recheck(&self, spool: &Arc<Spool>) -> Result<bool, GatewayError> {
        let (looking, manifest) = (Arc::clone(spool), Arc::clone(&self.manifest));
        let held = daemon::spawn_blocking(move || looking.verify(&manifest))
            .await
            .map_err(|_| GatewayError::ShuttingDown)?
            .map_err(GatewayError::disk("look through the spool"))?;
        let whole = held.iter().all(|held| *held);
        *self.held(spool).await? = held;
        Ok(whole)
    }

    /// Whether chunk `n` is held.
    pub async fn holds(&self, spool: &Arc<Spool>, n: usize) -> Result<bool, GatewayError> {
        Ok(self.held(spool).await?.get(n).copied().unwrap_or(false))
    }

    /// Marks chunk `n` as held.
    pub async fn hold(&self, spool: &Arc<Spool>, n: usize) -> Result<(), GatewayError> {
        if let Some(mark) = self.held(spool).await?.get_mut(n) {
            *mark = true;
        }
        Ok(())
    }

    /// Chunks not held, as ranges.
    pub async fn missing(&self, spool: &Arc<Spool>) -> Result<Vec<ChunkRange>, GatewayError> {
        Ok(ranges(&self.held(spool).await?))
    }

    /// Says that the batch's record changed.
    pub fn turn(&self) {
        self.turned.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// `false` runs of `held` as ranges.
fn ranges(held: &[bool]) -> Vec<ChunkRange> {
    let mut missing: Vec<ChunkRange> = Vec::new();
    for (n, _) in (0_u32..).zip(held).filter(|(_, held)| !**held) {
        match missing.last_mut() {
            Some(range) if range.last + 1 == n => range.last = n,
            _ => missing.push(ChunkRange { first: n, last: n }),
        }
    }
    missing
}

/// The batches that are not finished, by id.
#[derive(Default)]
pub struct OpenBatches {
    by_id: Mutex<HashMap<BatchId, Arc<OpenBatch>>>,
}

impl OpenBatches {
    fn map(&self) -> MutexGuard<'_, HashMap<BatchId, Arc<OpenBatch>>> {
        self.by_id.lock()
    }

    /// The batch, made known on first use. Only for batches whose journal state is not final.
    pub fn open(&self, manifest: &Arc<Manifest>) -> Arc<OpenBatch> {
        let mut map = self.map();
        Arc::clone(map.entry(manifest.batch).or_insert_with(|| OpenBatch::new(Arc::clone(manifest))))
    }

    /// The batch, if this process has it open.
    pub fn get(&self, batch: BatchId) -> Option<Arc<OpenBatch>> {
        self.map().get(&batch).cloned()
    }

    /// Forgets a finished batch.
    pub fn close(&self, batch: BatchId) {
        self.map().remove(&batch);
    }

    /// Their ids.
    pub fn ids(&self) -> Vec<BatchId> {
        self.map().keys().copied().collect()
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.map().len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.map().is_empty()
    }

    /// Sizes of everything open: encoded bytes and raw bytes.
    pub fn promised(&self) -> (u64, u64) {
        self.map().values().fold((0, 0), |(encoded, raw): (u64, u64), open| {
            (encoded.saturating_add(open.manifest.encoded_bytes), raw.saturating_add(open.manifest.raw_bytes))
        })
    }

    /// Makes every unfinished batch of the journal known, so that space promised to them counts.
    pub async fn restore(&self, journal: &Journal) -> Result<(), GatewayError> {
        let limit = u32::try_from(MAX_OPEN_BATCHES * 16).unwrap_or(u32::MAX);
        for batch in journal.ids_in(&[BatchState::Sending, BatchState::Received], limit).await? {
            if let Some(record) = journal.get(batch).await? {
                self.open(&record.manifest);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_chunks_are_ranges() {
        let range = |first, last| ChunkRange { first, last };
        assert_eq!(ranges(&[true, true]), []);
        assert_eq!(ranges(&[false, false, true, false]), [range(0, 1), range(3, 3)]);
    }
}
