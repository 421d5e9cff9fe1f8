//! Bytes and speed of the batch codec, beside what else compresses rows.
//!
//! Sizes are of real market data, once and unrepeated: repetition would flatter every compressor with a
//! long window. Speeds are of one core, in time the thread had on it, the best of several runs, over the
//! same bytes: both tables in time order and in the cold tables' order, as Native with the block size of
//! the migrator.

pub(super) mod data;
mod parquet;
mod peers;

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use batch_codec::{Decoder, Effort, Encoded, Encoder, Limits};

use self::data::{Data, Sample};
use super::{Arguments, Figures};
use testbed::stack::{Options, Stack};

/// Runs of which the best counts.
const RUNS: usize = 5;

pub(super) async fn run(arguments: &Arguments) -> Result<Figures> {
    let dir = tempfile::Builder::new().prefix("hybrid-storage-bench-").tempdir()?;
    let stack = Stack::engines(Options::new(dir.path())).await?;
    let hot = stack.hot()?;
    let data = Data::load(&hot, arguments.data.as_deref()).await?;
    let mut figures = Figures::default();
    let [trades_time, trades_key, books_time, books_key] = data.samples(&hot).await?;
    let samples = [&trades_time, &trades_key, &books_time, &books_key];

    eprintln!("encoding and decoding");
    let mut sizes = Vec::new();
    let (mut encode_s, mut decode_s) = (0.0, 0.0);
    for sample in samples {
        let measured = measure(sample, Effort::Auto)?;
        encode_s += measured.encode_s;
        decode_s += measured.decode_s;
        figures.add(&format!("{}_bytes_per_row", sample.key), measured.bytes / sample.rows, "effort auto");
        sizes.push(measured.bytes);
    }
    let raw_mb: f64 = samples.iter().map(|sample| sample.native.len() as f64 / 1e6).sum();
    figures.add("trades_bytes_per_row", sizes[1] / trades_key.rows, "whole rows, in the cold table's order");
    figures.add("encode_mb_s", raw_mb / encode_s, "raw Native, effort auto, one core");
    figures.add("decode_mb_s", raw_mb / decode_s, "raw Native, one core");
    for (effort, name) in [(Effort::Fast, "fast"), (Effort::Ultra, "ultra")] {
        for sample in [&trades_key, &books_key] {
            let key = format!("{}_{name}", sample.key);
            let measured = measure(sample, effort)?;
            figures.add(&format!("{key}_bytes_per_row"), measured.bytes / sample.rows, "the other efforts");
            let speed = sample.native.len() as f64 / 1e6 / measured.encode_s;
            figures.add(&format!("{key}_encode_mb_s"), speed, "");
        }
    }

    if arguments.quick {
        stack.stop()?;
        return Ok(figures);
    }
    eprintln!("the general compressors");
    let mut zstd22_s = 0.0;
    for (sample, size) in samples.into_iter().zip(&sizes) {
        for (name, level) in [("zstd3", 3), ("zstd19", 19), ("zstd22", 22)] {
            let (bytes, seconds) = peers::zstd_long(&sample.native, level)?;
            figures.add(&format!("{}_{name}_bytes_per_row", sample.key), bytes / sample.rows, "peer");
            if level == 22 {
                zstd22_s += seconds;
            }
            match (sample.key, level) {
                ("trades_time", 22) => {
                    figures.add("trades_vs_zstd22", size / bytes, "both in time order");
                }
                ("orderbooks_time", 19) => {
                    figures.add("orderbooks_vs_zstd19", size / bytes, "both in time order");
                }
                _ => {}
            }
        }
        if let Some(bytes) = peers::xz(&sample.native)? {
            figures.add(&format!("{}_xz9_bytes_per_row", sample.key), bytes / sample.rows, "peer");
        }
    }
    figures.add("zstd22_mb_s", raw_mb / zstd22_s, "the same bytes, one core");
    figures.add("encode_vs_zstd22_speed", zstd22_s / encode_s, "auto, by the same bytes");

    eprintln!("the column formats");
    for sample in samples {
        let bytes = peers::parquet_by_engine(&hot, sample).await?;
        figures.add(&format!("{}_parquet_zstd22_bytes_per_row", sample.key), bytes / sample.rows, "peer");
        let bytes = parquet::delta_packed(&hot, sample).await?;
        figures.add(&format!("{}_parquet_delta_bytes_per_row", sample.key), bytes / sample.rows, "peer");
        let bytes = peers::part(&hot, sample).await?;
        figures.add(&format!("{}_part_zstd22_bytes_per_row", sample.key), bytes / sample.rows, "peer");
    }

    eprintln!("every column of all eight tables");
    let mut worst = (0.0, String::new());
    for table in data.tables(&hot).await? {
        let encoded = encode(&table.native, Effort::Auto)?;
        ensure!(encoded.column_bytes.len() == table.columns.len(), "{} is not read as Native", table.name);
        for (column, ours) in table.columns.iter().zip(&encoded.column_bytes) {
            let (theirs, _) = peers::zstd_long(&column.native, 19)?;
            let ratio = *ours as f64 / theirs;
            if ratio > worst.0 {
                worst = (ratio, format!("{}.{}", table.name, column.name));
            }
        }
    }
    figures.add("worst_column_vs_zstd19", worst.0, &format!("{}: no column may be above 1", worst.1));
    stack.stop()?;
    Ok(figures)
}

struct Measured {
    bytes: f64,
    encode_s: f64,
    decode_s: f64,
}

fn measure(sample: &Sample, effort: Effort) -> Result<Measured> {
    let mut measured = Measured { bytes: 0.0, encode_s: f64::MAX, decode_s: f64::MAX };
    for _ in 0..if effort == Effort::Ultra { 1 } else { RUNS } {
        let started = peers::thread_seconds();
        let encoded = encode(&sample.native, effort)?.w;
        measured.encode_s = measured.encode_s.min(peers::thread_seconds() - started);
        measured.bytes = encoded.len() as f64;
        let started = peers::thread_seconds();
        decode(&encoded, &sample.native)?;
        measured.decode_s = measured.decode_s.min(peers::thread_seconds() - started);
    }
    Ok(measured)
}

/// By pieces, as they come over HTTP.
fn encode(native: &[u8], effort: Effort) -> Result<Encoded<Vec<u8>>> {
    let mut encoder = Encoder::new(Vec::new(), effort)?;
    native.chunks(64 << 10).try_for_each(|piece| encoder.write_all(piece))?;
    Ok(encoder.finish()?)
}

/// By pieces, as the gateway hands them to its engine, compared on the way.
fn decode(encoded: &[u8], native: &[u8]) -> Result<()> {
    let mut decoder = Decoder::new(encoded, Limits::raw(native.len() as u64))?;
    let mut piece = vec![0; 512 << 10];
    let mut at = 0;
    loop {
        let got = decoder.read(&mut piece).context("decode")?;
        if got == 0 {
            ensure!(at == native.len() && decoder.is_proven(), "the rows came back cut");
            return Ok(());
        }
        ensure!(native.get(at..at + got) == Some(&piece[..got]), "other rows came back");
        at += got;
    }
}
