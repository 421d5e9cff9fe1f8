//! Rows per second over a line of 100 Mbit/s and 20 ms, end to end: a move by the daemons, with all its
//! proofs, through their own tunnel; against the same rows as Native through zstd 19, and through LZ4 as
//! `remote()` sends them, straight into a table of the cold engine.
//!
//! The other two are given what they would not have: the whole of the line that TCP in a tunnel gets on it
//! ([`PLAIN_BYTES_S`]), rows that are read already, no proof and no second look. zstd 19 gets fewer rows
//! than the move, since it would take half an hour; its rate does not depend on how many there are.

use std::{
    io::{self, Write},
    net::UdpSocket,
    process::Command,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::stream;
use indicatif::ProgressBar;
use link::RateLimiter;
use tokio::sync::mpsc;

use super::{
    Arguments, Figures,
    codec::data::{self, SETTINGS},
    migrate::{mid_month, migrate, quiet},
};
use testbed::{
    binaries,
    clients::ClickHouse,
    lab::{cpu, pair::Running},
    market::{self, Files, Plan, Source, tables},
    stack::{Role, Stack},
};

const LINE: [&str; 4] = ["--rate", "100", "--rtt", "20"];
/// What a TCP connection in a tunnel gets of 100 Mbit/s: 1,368 bytes of every 1,480.
const PLAIN_BYTES_S: u64 = 12_500_000 * 1368 / 1480;
/// Trades loaded, with the order books of the same time.
const TRADES: u64 = 700_000;
/// Pieces in the hands of the line.
const QUEUE: usize = 8;

/// How rows are packed without the daemons.
#[derive(Clone, Copy)]
enum Packing {
    Zstd19,
    Lz4,
}

impl Packing {
    const ALL: [Self; 2] = [Self::Zstd19, Self::Lz4];

    /// As in `Content-Encoding`, and in keys.
    const fn name(self) -> &'static str {
        match self {
            Self::Zstd19 => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// Most raw bytes it gets.
    const fn raw_bytes(self) -> u64 {
        match self {
            Self::Zstd19 => 40_000_000,
            Self::Lz4 => 300_000_000,
        }
    }

    fn pack(self, native: &[u8], to: Sending) -> io::Result<()> {
        match self {
            Self::Zstd19 => {
                let mut encoder = zstd::stream::Encoder::new(to, 19)?;
                encoder.write_all(native)?;
                encoder.finish().map(drop)
            }
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(to);
                encoder.write_all(native)?;
                encoder.finish().map(drop).map_err(io::Error::other)
            }
        }
    }
}

pub(super) async fn run(arguments: &Arguments) -> Result<Figures> {
    let dir = tempfile::Builder::new().prefix("hybrid-storage-bench-").tempdir()?;
    let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut options = market::options(dir.path());
    options.config.dials = Some(port);
    options.config.compression_level = "auto".to_owned();
    let mut stack = Stack::engines(options).await?;
    let (hot, cold, service) = (stack.hot()?, stack.cold()?, stack.service()?);
    tables::create_hot(&hot).await?;
    stack.daemons().await?;
    let url = stack.info().service.url;
    let (near, far) =
        (([127, 0, 0, 1], port).into(), url.trim_start_matches("http://").trim_end_matches('/'));
    let _line = Running::line_between(Command::new(binaries::path("testbed")?), near, far, &LINE)?;

    let source = match data::find(arguments.data.as_deref())? {
        Some(folder) => Source::Files(Files::read(&folder)?),
        None => Source::Generated,
    };
    eprintln!("loading");
    for table in ["trades", "orderbooks"] {
        service.adopt(table).await?;
    }
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let plan = Plan::before(arguments.rows.unwrap_or(TRADES), mid_month(2)?);
    market::load(&hot, &source, &plan, now_ms, &ProgressBar::hidden()).await?;
    hot.query("CREATE DATABASE bench").await?;
    cold.query("CREATE DATABASE bench").await?;
    let mut figures = Figures::default();
    for table in ["trades", "orderbooks"] {
        hot.query(format!("CREATE TABLE bench.{table} AS {}.{table}", tables::HOT)).await?;
        hot.query(format!("INSERT INTO bench.{table} SELECT * FROM {}.{table}", tables::HOT)).await?;
        quiet(&hot).await?;
        eprintln!("moving {table}");
        let (started, before) = (Instant::now(), processor_seconds(&stack)?);
        let rows = migrate(&service, table).await?;
        let seconds = started.elapsed().as_secs_f64();
        let moved = rows as f64 / seconds;
        for (role, (before, after)) in Role::ALL.iter().zip(before.iter().zip(processor_seconds(&stack)?)) {
            let name = role.name();
            let what = format!("processor seconds of {name} in {seconds:.2} s");
            figures.add(&format!("{table}_{name}_cpu_s"), after - before, &what);
        }
        figures.add(&format!("{table}_rows"), rows as f64, "moved");
        figures.add(
            &format!("{table}_rows_per_s"),
            moved,
            "moved by the daemons, effort auto, proofs included",
        );
        for packing in Packing::ALL {
            eprintln!("{table} by {}", packing.name());
            let plain = plain(&hot, &cold, table, packing).await?;
            let name = packing.name();
            figures.add(&format!("{table}_{name}_rows_per_s"), plain, "packed, sent and inserted");
            figures.add(&format!("{table}_vs_{name}"), moved / plain, "the first over this");
        }
    }
    stack.stop()?;
    Ok(figures)
}

/// Of every process, in the order of [`Role::ALL`].
fn processor_seconds(stack: &Stack) -> Result<Vec<f64>> {
    let of = |role| cpu::seconds(stack.process(role).context("no such process")?.pid);
    Role::ALL.into_iter().map(of).collect()
}

/// Rows per second of packing, sending and inserting.
async fn plain(hot: &ClickHouse, cold: &ClickHouse, table: &str, packing: Packing) -> Result<f64> {
    let create = cold.query(format!("SHOW CREATE TABLE {}.{table} FORMAT TSVRaw", tables::COLD)).await?;
    cold.query(format!("DROP TABLE IF EXISTS bench.{table} SYNC")).await?;
    cold.query(create.replacen(&format!("{}.{table}", tables::COLD), &format!("bench.{table}"), 1)).await?;
    let all = hot.number(&format!("SELECT count() FROM bench.{table}")).await?;
    let width = "sum(data_uncompressed_bytes) / sum(rows)";
    let row_bytes = hot
        .number(&format!(
            "SELECT toUInt64({width}) FROM system.parts WHERE active AND database = 'bench' AND table = '{table}'"
        ))
        .await?;
    let rows = all.min(packing.raw_bytes() / row_bytes.max(1));
    let order =
        tables::ALL.iter().find(|known| known.name == table).context("no such table")?.cold_order_by();
    let sql = format!("SELECT * FROM bench.{table} ORDER BY {order} LIMIT {rows} FORMAT Native");
    let native = hot.bytes(&sql, SETTINGS).await?;

    let limiter = RateLimiter::new(Some(PLAIN_BYTES_S));
    let (sender, receiver) = mpsc::channel(QUEUE);
    let started = Instant::now();
    let packed = tokio::task::spawn_blocking(move || packing.pack(&native, Sending(sender)));
    let body = stream::unfold((receiver, limiter), |(mut receiver, limiter)| async move {
        let piece: Bytes = receiver.recv().await?;
        limiter.acquire(piece.len()).await;
        Some((Ok::<_, io::Error>(piece), (receiver, limiter)))
    });
    let sql = format!("INSERT INTO bench.{table} FORMAT Native");
    cold.insert_packed(&sql, packing.name(), reqwest::Body::wrap_stream(body)).await?;
    packed.await.context("pack rows")??;
    let seconds = started.elapsed().as_secs_f64();
    let arrived = cold.number(&format!("SELECT count() FROM bench.{table}")).await?;
    ensure!(arrived == rows, "{arrived} rows arrived of {rows}");
    Ok(rows as f64 / seconds)
}

/// Where packed bytes go.
struct Sending(mpsc::Sender<Bytes>);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
