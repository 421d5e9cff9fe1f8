//! Step 2, encoding: the rows of one batch, in the cold table's order, from the engine through the
//! codec into the spool, in bounded memory.
//!
//! The engine's stream ends either whole or with an error; only a whole one is sealed. The codec and
//! the disk work on a blocking thread, fed through a short queue; when either side stops, the other
//! ends with it and the half-written file is removed.

use fault_points::{Moment, Step};
use std::io::{self, Write as _};

use batch_codec::{CODEC, ChunkCutter, Cut, Encoder};
use bytes::Bytes;
use futures::StreamExt as _;
use storage_types::{
    Manifest,
    manifest::{MANIFEST_VERSION, Origin},
    schema_hash,
};
use tokio::sync::mpsc;

use super::{
    StepError,
    mover::{Mover, at},
    spool::Draft,
};
use crate::{
    catalog::{BatchRecord, MoveRecord},
    hot::{column_list, slice_predicate},
};

/// Pieces of the engine's stream between it and the encoder.
const QUEUE: usize = 8;
/// Chunks are held in memory while they are sent, so they are no larger than this.
const MAX_CHUNK_BYTES: u64 = 16 << 20;
/// Longest silence of the engine while it sorts.
const SORT_SILENCE: std::time::Duration = std::time::Duration::from_secs(3600);
/// Above this the engine sorts on disk.
const SORT_SPILL_BYTES: u64 = 1 << 30;

/// About how large the engine's blocks are: the codec holds whole ones, and reads only those of a
/// bounded size column by column.
const BLOCK_BYTES: u64 = 8 << 20;
/// Rows of a block where rows are short.
const MAX_BLOCK_ROWS: u64 = 65_409;

enum Piece {
    Bytes(Bytes),
    /// The stream was whole.
    End,
}

impl Mover {
    /// Encodes one batch into the spool and journals its manifest.
    pub(super) async fn encode(
        &self,
        record: &MoveRecord,
        batch: &BatchRecord,
        order_by: &str,
    ) -> Result<Manifest, StepError> {
        at(Step::Encode, Moment::BeforeJournal).await;
        let engine_version = self.hot.version().await?;
        at(Step::Encode, Moment::AfterJournal).await;
        let chunk_bytes = self.monitor.goodput().chunk_bytes(self.config.chunk_bytes).min(MAX_CHUNK_BYTES);
        let sql = format!(
            "SELECT {}, toUInt64({}) AS _batch FROM {} WHERE 1{} ORDER BY {order_by} FORMAT Native",
            column_list(&record.table.columns),
            batch.id,
            record.snapshot(),
            slice_predicate(&record.table, batch.range),
        );
        let block_rows = self.hot.row_bytes(&record.snapshot()).await?;
        let block_rows = (BLOCK_BYTES / block_rows.max(1)).clamp(1024, MAX_BLOCK_ROWS);
        let query = self
            .hot
            .client()
            .query(sql)
            .setting("optimize_read_in_order", 1)
            .setting("max_block_size", block_rows)
            .setting("max_bytes_before_external_sort", SORT_SPILL_BYTES)
            .setting("output_format_native_encode_types_in_binary_format", 0)
            .deadline(SORT_SILENCE);
        let spooled = async {
            let stream = query.stream().await?;
            self.spool_stream(stream, batch, chunk_bytes).await
        };
        // Hashed by the engine while it is encoded: the snapshot holds still for both.
        let snapshot = record.snapshot();
        let proven = async {
            let proof = self.hot.proof(&record.table, &snapshot, None, batch.range).await?;
            Ok::<_, StepError>(proof)
        };
        let ((raw_bytes, cut), proof) = futures::future::try_join(spooled, proven).await?;
        if proof.rows != batch.proof.rows {
            let text = format!(
                "batch {}: {} rows were counted, {} are hashed",
                batch.id, batch.proof.rows, proof.rows
            );
            return Err(StepError::Failed(text));
        }
        at(Step::Encode, Moment::AfterEffect).await;
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            batch: batch.id,
            move_id: record.id,
            table: record.table.logical.clone(),
            cold_database: record.table.cold.0.clone(),
            cold_table: record.table.cold.1.clone(),
            schema_hash: schema_hash(&record.table.columns),
            columns: record.table.columns.clone(),
            time_column: record.table.time_column.clone(),
            range: batch.range,
            partition_ids: vec![record.partition_id.clone()],
            proof,
            raw_bytes,
            encoded_bytes: cut.encoded_bytes,
            blake3: cut.blake3,
            codec: CODEC.to_owned(),
            engine_version,
            chunk_bytes,
            chunks: cut.chunks,
            origin: Some(Origin::of_window(record.range)),
        };
        self.catalog.batch_encoded(&manifest)?;
        at(Step::Encode, Moment::AfterResult).await;
        Ok(manifest)
    }

    async fn spool_stream(
        &self,
        mut stream: clickhouse_http::ResponseStream,
        batch: &BatchRecord,
        chunk_bytes: u64,
    ) -> Result<(u64, Cut<()>), StepError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (spool, id, effort) = (self.spool.clone(), batch.id, self.effort());
        let threads = self.config.encode_threads;
        let writer = daemon::spawn_blocking(move || {
            let draft = spool.draft(id)?;
            let (raw_bytes, cut) = write(receiver, ChunkCutter::new(draft, chunk_bytes), effort, threads)?;
            let Cut { chunks, encoded_bytes, blake3, w } = cut;
            w.keep(id)?;
            Ok::<_, io::Error>((raw_bytes, Cut { chunks, encoded_bytes, blake3, w: () }))
        });
        let mut failure = None;
        loop {
            let piece = match stream.next().await {
                Some(Ok(bytes)) => Piece::Bytes(bytes),
                Some(Err(error)) => {
                    failure = Some(error);
                    break;
                }
                None => Piece::End,
            };
            let last = matches!(piece, Piece::End);
            // A writer that has gone tells why below.
            if sender.send(piece).await.is_err() || last {
                break;
            }
        }
        drop(sender);
        let written = writer.await.map_err(|error| StepError::Failed(format!("encoder: {error}")))?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        written.map_err(|error| StepError::Retry(format!("spool a batch: {error}")))
    }

    fn effort(&self) -> batch_codec::Effort {
        match self.config.effort {
            storage_config::Effort::Fast => batch_codec::Effort::Fast,
            storage_config::Effort::Auto => batch_codec::Effort::Auto,
            storage_config::Effort::Ultra => batch_codec::Effort::Ultra,
        }
    }
}

fn write(
    mut pieces: mpsc::Receiver<Piece>,
    out: ChunkCutter<Draft>,
    effort: batch_codec::Effort,
    threads: usize,
) -> io::Result<(u64, Cut<Draft>)> {
    let mut encoder = Encoder::with_threads(out, effort, threads)?;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Bytes(bytes)) => encoder.write_all(&bytes)?,
            Some(Piece::End) => break,
            None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the rows broke off")),
        }
    }
    let encoded = encoder.finish()?;
    Ok((encoded.raw_bytes, encoded.w.finish()?))
}
