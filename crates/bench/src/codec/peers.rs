//! What else compresses the same rows.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};

use super::data::Sample;
use testbed::{clients::ClickHouse, market::tables};

/// Seconds this thread was at work.
pub(super) fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Bytes and seconds of `zstd -LEVEL --long=27` (without `--long` for the quick levels).
pub(super) fn zstd_long(bytes: &[u8], level: i32) -> Result<(f64, f64)> {
    let started = thread_seconds();
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), level)?;
    encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
    if level >= 19 {
        encoder.long_distance_matching(true)?;
        encoder.window_log(27)?;
    }
    encoder.write_all(bytes)?;
    let size = encoder.finish()?.len() as f64;
    Ok((size, thread_seconds() - started))
}

/// Bytes of `xz -9`; `None`, said aloud, where there is no xz.
pub(super) fn xz(bytes: &[u8]) -> Result<Option<f64>> {
    let spawned =
        Command::new("xz").args(["-9", "-c", "-T1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: xz -9 ({error})");
            return Ok(None);
        }
    };
    let mut stdin = child.stdin.take().context("xz takes no input")?;
    let bytes = bytes.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().context("run xz")?;
    feeder.join().map_err(|_| anyhow::anyhow!("feeding xz ended early"))?.context("feed xz")?;
    ensure!(output.status.success(), "xz failed");
    Ok(Some(output.stdout.len() as f64))
}

/// Bytes of the engine's own Parquet with zstd 22.
pub(super) async fn parquet_by_engine(hot: &ClickHouse, sample: &Sample) -> Result<f64> {
    let sql = format!("SELECT * FROM bench.{} ORDER BY {} FORMAT Parquet", sample.table, sample.order_by);
    let settings =
        [("output_format_parquet_compression_method", "zstd"), ("output_format_compression_level", "22")];
    Ok(hot.bytes(&sql, &settings).await?.len() as f64)
}

/// Bytes of a part of the engine with `CODEC(ZSTD(22))` on every column.
pub(super) async fn part(hot: &ClickHouse, sample: &Sample) -> Result<f64> {
    let table = tables::ALL.into_iter().find(|t| t.name == sample.table).context("a table")?;
    hot.query("DROP TABLE IF EXISTS bench.part SYNC").await?;
    let modify: Vec<String> =
        table.columns().iter().map(|column| format!("MODIFY COLUMN `{column}` CODEC(ZSTD(22))")).collect();
    hot.query(format!(
        "CREATE TABLE bench.part AS bench.{} ENGINE = MergeTree ORDER BY ({})",
        sample.table, sample.order_by
    ))
    .await?;
    hot.query(format!("ALTER TABLE bench.part {}", modify.join(", "))).await?;
    hot.query(format!(
        "INSERT INTO bench.part SELECT * FROM bench.{} SETTINGS max_insert_block_size = 1048576, min_insert_block_size_rows = 1048576, min_insert_block_size_bytes = 1073741824",
        sample.table
    ))
    .await?;
    let bytes = hot
        .number("SELECT sum(data_compressed_bytes) FROM system.parts WHERE database = 'bench' AND table = 'part' AND active")
        .await?;
    Ok(bytes as f64)
}
