//! Encoding: the rows of one batch, straight from the head in the cold table's order, through the codec into
//! the spool, in bounded memory.
//!
//! The engine's stream ends either whole or with an error; only a whole one is sealed. The codec and the disk
//! work on a blocking thread, fed through a short queue; when either side stops, the other ends with it and
//! the half-written file is removed. The engine counts and hashes the same rows meanwhile: should the head
//! change between the two reads, the NAS finds that its rows are not what the manifest says, and the batch is
//! read again.

use fault_points::{Moment, Step};
use std::io::{self, Write as _};

use batch_codec::{CODEC, ChunkCutter, Cut, Encoder};
use bytes::Bytes;
use futures::StreamExt as _;
use moves::{
    Batch, Move, Trouble,
    world::{Answer, Encoded, Spool as SpoolOfMoves},
};
use storage_types::{
    BatchId, Manifest,
    manifest::{MANIFEST_VERSION, Origin},
    schema_hash,
};
use tokio::sync::mpsc;

use super::{
    Real, at,
    head::{replaced, trouble},
};
use crate::{
    hot::{HotError, column_list, giving_way, head_of, slice_source},
    migrator::spool::Draft,
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

impl SpoolOfMoves for Real {
    async fn encode(&self, record: &Move, batch: &Batch, order_by: &str) -> Answer<Encoded> {
        let turn = self.encoder.acquire().await;
        let _one = turn.map_err(|error| Trouble::Local(error.to_string()))?;
        let engine_version = self.hot.version().await.map_err(trouble)?;
        let chunk_bytes = self.monitor.goodput().chunk_bytes(self.config.chunk_bytes).min(MAX_CHUNK_BYTES);
        let query = self.rows_of(record, batch, order_by).await?;
        let spooled = async {
            let stream = query.stream().await.map_err(read_failed)?;
            self.spool_stream(stream, batch, chunk_bytes).await
        };
        let proven = async {
            let proof = self.hot.slice_proof(&record.table, &record.rows, &batch.slice).await;
            let found = proof.map_err(trouble)?;
            match found.proof().rows {
                0 => Err(Trouble::NoRows),
                _ if found.table != record.place.table => Err(replaced(&record.table)),
                _ => Ok(found),
            }
        };
        let ((raw_bytes, cut), found) = futures::future::try_join(spooled, proven).await?;
        at(Step::Encode, Moment::AfterEffect).await;
        let proof = found.proof();
        let read_from = if batch.slice.ranks.is_none() { found.parts } else { Vec::new() };
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
            range: batch.slice.range,
            partition_ids: Vec::new(),
            origin: Some(Origin {
                server: record.place.server.clone(),
                head: record.place.table.clone(),
                window: record.rows.window,
                watermark: record.rows.watermark,
            }),
            proof,
            raw_bytes,
            encoded_bytes: cut.encoded_bytes,
            blake3: cut.blake3,
            codec: CODEC.to_owned(),
            engine_version,
            chunk_bytes,
            chunks: cut.chunks,
        };
        Ok(Encoded { manifest, read_from })
    }

    fn spooled(&self, batch: BatchId) -> Option<u64> {
        self.files.len(batch)
    }

    fn remove(&self, batch: BatchId) {
        self.files.remove(batch);
    }
}

impl Real {
    /// The read of a batch's rows.
    async fn rows_of(&self, record: &Move, batch: &Batch, order_by: &str) -> Answer<clickhouse_http::Query> {
        let columns = column_list(&record.table.columns);
        let sql = format!(
            "SELECT {columns}, toUInt64({}) AS _batch FROM {} ORDER BY {order_by} FORMAT Native",
            batch.id,
            slice_source(&record.table, &record.rows, &batch.slice),
        );
        let row_bytes = self.hot.row_bytes(&head_of(&record.table)).await.map_err(trouble)?;
        let block_rows = (BLOCK_BYTES / row_bytes.max(1)).clamp(1024, MAX_BLOCK_ROWS);
        Ok(giving_way(self.hot.client().query(sql))
            .setting("optimize_read_in_order", 1)
            .setting("optimize_use_projections", 0)
            .setting("max_threads", 1)
            .setting("max_block_size", block_rows)
            .setting("max_bytes_before_external_sort", SORT_SPILL_BYTES)
            .setting("output_format_native_encode_types_in_binary_format", 0)
            .deadline(SORT_SILENCE))
    }

    async fn spool_stream(
        &self,
        mut stream: clickhouse_http::ResponseStream,
        batch: &Batch,
        chunk_bytes: u64,
    ) -> Answer<(u64, Cut<()>)> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (spool, id, effort) = (self.files.clone(), batch.id, self.effort());
        let threads = self.config.encode_threads;
        let writer = daemon::spawn_background("encoder", move || {
            let draft = spool.draft(id)?;
            let (raw_bytes, cut) = write(receiver, ChunkCutter::new(draft, chunk_bytes), effort, threads)?;
            let Cut { chunks, encoded_bytes, blake3, w } = cut;
            w.keep(id)?;
            Ok::<_, io::Error>((raw_bytes, Cut { chunks, encoded_bytes, blake3, w: () }))
        });
        let writer = writer.map_err(|error| Trouble::Local(format!("start the encoder: {error}")))?;
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
        let written = writer.await.map_err(|error| Trouble::Local(format!("encoder: {error}")))?;
        if let Some(error) = failure {
            return Err(read_failed(error));
        }
        written.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Trouble::Full(format!("spool a batch: {error}"))
            }
            _ => Trouble::Local(format!("spool a batch: {error}")),
        })
    }

    fn effort(&self) -> batch_codec::Effort {
        match self.config.effort {
            storage_config::Effort::Fast => batch_codec::Effort::Fast,
            storage_config::Effort::Auto => batch_codec::Effort::Auto,
            storage_config::Effort::Ultra => batch_codec::Effort::Ultra,
        }
    }
}

fn read_failed(source: clickhouse_http::Error) -> Trouble {
    trouble(HotError::Engine { what: "read a batch", source })
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
