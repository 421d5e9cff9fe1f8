//! Spool → decoder → staging table, as one stream.
//!
//! A blocking thread reads the chunks, decodes them under the declared cap and hands pieces through
//! a channel of a few slots to the insert; memory is those slots. On the way the whole encoded batch
//! is hashed. When decoder, length or hash contradict the manifest the body breaks off with an error
//! before its end, so the engine fails the insert as well.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clickhouse_http::client::Client;
use clickhouse_sql::quote;
use storage_types::Manifest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::spool::{BatchReader, Spool};
use crate::cold::{TableName, tables::BATCH_COLUMN};

/// Size of a piece on its way to the engine, bytes.
const PIECE_BYTES: usize = 512 * 1024;
/// Pieces waiting between the decoder and the network.
const PIECES: usize = 4;

/// Longest silence of the engine: it may have hundreds of parts to write after the last byte.
const ANSWER_DEADLINE: Duration = Duration::from_secs(900);

/// Why a batch could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Bytes and manifest contradict each other: no later attempt can succeed.
    #[error("{0}")]
    Contradiction(String),
    /// The spool could not be read.
    #[error("read the spool: {0}")]
    Spool(io::Error),
    /// The engine refused the rows or did not answer.
    #[error("load the rows: {0}")]
    Engine(#[from] clickhouse_http::Error),
    /// The process is ending.
    #[error("interrupted")]
    Interrupted,
}

/// Loads a batch into its staging table, decoded by up to `threads` threads.
pub async fn load(
    engine: &Client,
    spool: &Arc<Spool>,
    manifest: &Arc<Manifest>,
    staging: &TableName,
    threads: usize,
) -> Result<(), LoadError> {
    let (pieces, body) = mpsc::channel(PIECES);
    let decoding = {
        let (spool, manifest) = (Arc::clone(spool), Arc::clone(manifest));
        daemon::spawn_blocking(move || {
            let outcome = decode(&spool, &manifest, &pieces, threads);
            if let Err(error) = &outcome {
                // The insert must not end as if it were whole.
                let _ = pieces.blocking_send(Err(io::Error::other(error.to_string())));
            }
            outcome
        })
    };
    let mut columns: Vec<String> = manifest.columns.iter().map(|c| quote::ident(&c.name)).collect();
    columns.push(quote::ident(BATCH_COLUMN));
    let inserted = engine
        .query(format!("INSERT INTO {staging} ({}) FORMAT Native", columns.join(", ")))
        .setting("insert_allow_materialized_columns", "1")
        .setting("async_insert", "0")
        .setting("insert_deduplicate", "0")
        // A batch may touch many partitions (month and exchange); its rows are few million.
        .setting("max_partitions_per_insert_block", "0")
        // Sorting and compressing the next block goes on while one is written.
        .setting("max_insert_threads", "2")
        .deadline(ANSWER_DEADLINE)
        .insert(ReceiverStream::new(body))
        .await;
    // The channel is gone with the insert, so the thread ends by itself.
    let decoded = decoding.await.map_err(|_| LoadError::Interrupted)?;
    match (decoded, inserted) {
        // When the engine hung up first, the decoder only knows that nobody listens.
        (Err(LoadError::Interrupted), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error),
        (Ok(()), Err(error)) => Err(error.into()),
        (Ok(()), Ok(_)) => Ok(()),
    }
}

fn decode(
    spool: &Spool,
    manifest: &Manifest,
    pieces: &mpsc::Sender<Result<Bytes, io::Error>>,
    threads: usize,
) -> Result<(), LoadError> {
    let mut reader = spool.read(manifest);
    let raw_bytes = match decode_pieces(&mut reader, manifest, pieces, threads) {
        Ok(raw_bytes) => raw_bytes,
        Err(Stop::NobodyListens) => return Err(LoadError::Interrupted),
        Err(Stop::Failed(error)) => {
            return Err(match reader.take_failure() {
                Some(failure) => LoadError::Spool(failure),
                None => LoadError::Contradiction(format!("decode: {error}")),
            });
        }
    };
    let (encoded_bytes, hash) = reader.finish().map_err(LoadError::Spool)?;
    let contradiction = |text: String| Err(LoadError::Contradiction(text));
    if raw_bytes != manifest.raw_bytes {
        return contradiction(format!("decodes to {raw_bytes} bytes; raw_bytes is {}", manifest.raw_bytes));
    }
    if encoded_bytes != manifest.encoded_bytes || hash != manifest.blake3 {
        return contradiction(format!(
            "the encoded batch has BLAKE3 {hash}; the manifest says {}",
            manifest.blake3
        ));
    }
    Ok(())
}

enum Stop {
    /// The insert ended before the batch did.
    NobodyListens,
    /// The disk or the decoder.
    Failed(io::Error),
}

/// Decodes everything into `pieces`; answers how many raw bytes that was.
fn decode_pieces(
    reader: &mut BatchReader,
    manifest: &Manifest,
    pieces: &mpsc::Sender<Result<Bytes, io::Error>>,
    threads: usize,
) -> Result<u64, Stop> {
    let limits = batch_codec::Limits::raw(manifest.raw_bytes);
    let mut decoder = batch_codec::Decoder::with_threads(reader, limits, threads)
        .map_err(|error| Stop::Failed(error.into()))?;
    if decoder.codec() != manifest.codec {
        let text = format!("codec {:?}; the manifest says {:?}", decoder.codec(), manifest.codec);
        return Err(Stop::Failed(io::Error::new(io::ErrorKind::InvalidData, text)));
    }
    let mut raw_bytes = 0;
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let filled = fill(&mut decoder, &mut piece).map_err(Stop::Failed)?;
        if filled == 0 {
            return Ok(raw_bytes);
        }
        raw_bytes += filled as u64;
        piece.truncate(filled);
        pieces.blocking_send(Ok(Bytes::from(piece))).map_err(|_| Stop::NobodyListens)?;
    }
}

/// Reads until the piece is full or the input ends: the engine likes few large pieces.
fn fill(decoder: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match decoder.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
