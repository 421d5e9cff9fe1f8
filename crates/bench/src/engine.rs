//! What a client gets of `clickhouse-embedded`, beside what the first version of it gave.
//!
//! The first version ([`FIRST`]) was a server of our own in front of the library; it is built from this
//! repository's history under `target/first-version`. Both engines run through the whole benchmark and are asked
//! in turn, so that the machine's moods strike both: [`ROUNDS`] rounds of `SELECT 1` over one kept connection,
//! then as many of [`CLIENTS`] clients with a small aggregate, and with a range of a larger table, whose reading
//! costs either engine the same; each round with either engine first.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use testbed::{
    binaries,
    clients::ClickHouse,
    engine::OWNER,
    process::{Running, tail},
    wait::eventually,
};

use super::Figures;

/// The last commit whose engine was a server of our own.
const FIRST: &str = "d57c183a6a50180144b81ae9b287a8d4cae586b2";
const ROUNDS: usize = 6;
/// `SELECT 1` of one round, for each engine.
const ASKS: usize = 500;
const CLIENTS: usize = 32;
/// How long the clients of one round ask one engine.
const STORM: Duration = Duration::from_secs(4);
/// Between the first answer and the look at an idle engine's memory: its threads are all there by then.
const IDLE: Duration = Duration::from_secs(20);
/// Rows of the table that is aggregated whole.
const SMALL: u64 = 1_000;
/// Rows of the table of which clients read a hundredth.
const LARGE: u64 = 1_000_000;

pub(super) async fn run() -> Result<Figures> {
    let repository = repository()?;
    let first = build_first(&repository)?;
    let dir = tempfile::Builder::new().prefix("hybrid-storage-bench-").tempdir()?;
    let engines = [
        Engine::start(&binaries::path("clickhouse-embedded")?, OWNER, &dir.path().join("now")).await?,
        Engine::start(&first, "default", &dir.path().join("first")).await?,
    ];
    eprintln!("{} s of rest, for the memory of an idle engine", IDLE.as_secs());
    tokio::time::sleep(IDLE).await;
    let idle = [engines[0].resident_bytes()?, engines[1].resident_bytes()?];

    for engine in &engines {
        engine.fill().await?;
    }
    let mut select1 = [Vec::new(), Vec::new()];
    let (mut small, mut range) = ([Storm::default(); 2], [Storm::default(); 2]);
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        for turn in 0..2 {
            let which = (round + turn) % 2;
            select1[which].extend(engines[which].select1().await?);
        }
        for turn in 0..2 {
            let which = (round + turn) % 2;
            small[which].add(engines[which].storm(small_aggregate).await?);
            range[which].add(engines[which].storm(range_aggregate).await?);
        }
    }
    let used = [engines[0].resident_bytes()?, engines[1].resident_bytes()?];

    let p50 = select1.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    let qps = small.map(Storm::per_second);
    let range_qps = range.map(Storm::per_second);
    let refused = [0, 1].map(|which| (small[which].refused + range[which].refused) as f64);
    let lines = [
        lines_of_code(&repository.join("crates/clickhouse-embedded/src"))?,
        lines_of_code(&source_of_first(&repository).join("crates/clickhouse-embedded/src"))?,
    ];
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut figures = Figures::default();
    figures.add("select1_p50_ms", p50[0], "SELECT 1 over a kept connection");
    figures.add("first_select1_p50_ms", p50[1], "the same of the first version");
    figures.add("select1_ratio", p50[0] / p50[1], "the former over the latter");
    figures.add("clients32_qps", qps[0], "answers a second to 32 clients that aggregate a small table");
    figures.add("first_clients32_qps", qps[1], "the same of the first version");
    figures.add("qps_ratio", qps[0] / qps[1], "the former over the latter");
    figures.add("clients32_range_qps", range_qps[0], "to 32 clients that aggregate a hundredth of 1 M rows");
    figures.add("first_clients32_range_qps", range_qps[1], "the same of the first version");
    figures.add("range_qps_ratio", range_qps[0] / range_qps[1], "the former over the latter");
    figures.add("clients32_refused", refused[0], "of these clients' questions");
    figures.add("first_clients32_refused", refused[1], "the same of the first version");
    figures.add("idle_rss_mb", mib(idle[0]), "MiB resident, supervisor and engine, 20 s after the start");
    figures.add("first_idle_rss_mb", mib(idle[1]), "the same of the first version");
    figures.add("used_rss_mb", mib(used[0]), "MiB resident after the last round");
    figures.add("first_used_rss_mb", mib(used[1]), "the same of the first version");
    figures.add(
        "engine_lines",
        lines[0].code,
        "lines of the engine's crate without tests, comments and blanks",
    );
    figures.add("engine_all_lines", lines[0].all, "with comments and blanks");
    figures.add(
        "first_engine_lines",
        lines[1].code,
        "the same of the first version, its HTTP crate not counted",
    );
    figures.add("first_engine_all_lines", lines[1].all, "with comments and blanks");
    Ok(figures)
}

/// One engine, asked as its owner.
struct Engine {
    process: Running,
    client: ClickHouse,
}

impl Engine {
    async fn start(program: &Path, user: &str, dir: &Path) -> Result<Self> {
        let (data, log, port) = (dir.join("data"), dir.join("log"), dir.join("port"));
        fs::create_dir_all(&data)?;
        let mut command = Command::new(program);
        command.arg("--data").arg(data).args(["--listen", "127.0.0.1:0", "--port-file"]).arg(&port);
        let mut process = Running::start(command, &log, false)?;
        let listening = eventually("the engine listens", async || match process.check() {
            Err(ended) => Some(Err(ended)),
            Ok(()) => fs::read_to_string(&port).ok().map(Ok),
        });
        let address = listening.await.and_then(|ended| ended).with_context(|| tail(&log, 20))?;
        let client = ClickHouse::new(&format!("http://{}", address.trim()), user, "")?;
        ensure!(client.query("SELECT 1").await?.trim() == "1", "the engine does not count to one");
        Ok(Self { process, client })
    }

    async fn fill(&self) -> Result<()> {
        for (table, rows) in [("small", SMALL), ("large", LARGE)] {
            let table = format!("default.{table}");
            for statement in [
                format!("CREATE TABLE {table} (key UInt64, value Float64) ENGINE = MergeTree ORDER BY key"),
                format!("INSERT INTO {table} SELECT number, rand() / 7 FROM numbers({rows})"),
                format!("OPTIMIZE TABLE {table} FINAL"),
            ] {
                self.client.query(statement).await?;
            }
        }
        Ok(())
    }

    /// How long each question took, in milliseconds.
    async fn select1(&self) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(ASKS);
        for _ in 0..ASKS {
            let started = Instant::now();
            let answer = self.client.query("SELECT 1").await?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
            ensure!(answer.trim() == "1", "the answer was {answer:?}");
        }
        Ok(times)
    }

    /// [`CLIENTS`] ask for [`STORM`] long, each over its own connection, and check what they get.
    async fn storm(&self, aggregate: fn(u64) -> (String, u64)) -> Result<Storm> {
        let (answered, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        let started = Instant::now();
        let clients = (0..CLIENTS).map(|client| {
            let (answered, refused) = (&answered, &refused);
            async move {
                let (sql, rows) = aggregate(client as u64);
                let expected = format!("{rows}\t1");
                while started.elapsed() < STORM {
                    match self.client.query(sql.clone()).await {
                        Ok(answer) => {
                            ensure!(answer.trim() == expected, "the answer was {answer:?}");
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                    }
                }
                Ok(())
            }
        });
        futures::future::try_join_all(clients).await?;
        Ok(Storm { answered: answered.into_inner(), refused: refused.into_inner(), took: started.elapsed() })
    }

    /// Resident memory of its process and that process's children, in bytes; shared pages count in each.
    fn resident_bytes(&self) -> Result<u64> {
        resident_bytes(self.process.id().pid)
    }
}

/// A whole small table: the statement and the rows it counts, the same for every client.
fn small_aggregate(_client: u64) -> (String, u64) {
    ("SELECT count(), max(value) >= min(value) FROM default.small".to_owned(), SMALL)
}

/// A hundredth of a large table, another one for each client.
fn range_aggregate(client: u64) -> (String, u64) {
    let from = client * (LARGE / CLIENTS as u64);
    let to = from + LARGE / 100;
    (
        format!(
            "SELECT count(), max(value) >= min(value) FROM default.large WHERE key >= {from} AND key < {to}"
        ),
        LARGE / 100,
    )
}

/// What clients got.
#[derive(Default, Clone, Copy)]
struct Storm {
    answered: u64,
    refused: u64,
    took: Duration,
}

impl Storm {
    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.took += other.took;
    }

    fn per_second(self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }
}

/// `VmRSS` (proc(5)) of a process and all that descend from it.
fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("an engine has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let mut bytes = line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = fs::read_to_string(thread?.path().join("children"))?;
        for child in children.split_whitespace() {
            bytes += resident_bytes(child.parse()?)?;
        }
    }
    Ok(bytes)
}

/// Where the sources are: the folder that holds our own `target/debug`.
fn repository() -> Result<PathBuf> {
    let shown = Command::new("git").args(["rev-parse", "--show-toplevel"]).output().context("run git")?;
    ensure!(
        shown.status.success(),
        "this benchmark builds from the repository's history: run it inside the repository"
    );
    Ok(PathBuf::from(String::from_utf8(shown.stdout)?.trim_end()))
}

fn source_of_first(repository: &Path) -> PathBuf {
    repository.join("target/first-version/source")
}

/// Builds the first version's engine beside ours, with the profile it had; its path.
fn build_first(repository: &Path) -> Result<PathBuf> {
    let source = source_of_first(repository);
    if !source.join("Cargo.toml").is_file() {
        fs::create_dir_all(&source)?;
        let mut archive = Command::new("git")
            .current_dir(repository)
            .args(["archive", FIRST])
            .stdout(Stdio::piped())
            .spawn()
            .context("run git")?;
        let bytes = archive.stdout.take().context("git has no output")?;
        let unpacked =
            Command::new("tar").arg("-xC").arg(&source).stdin(bytes).status().context("run tar")?;
        ensure!(
            archive.wait()?.success() && unpacked.success(),
            "commit {FIRST} is not to be had: a clone with the whole history has it (`git fetch --unshallow`)"
        );
    }
    eprintln!("building the first version's engine (some minutes the first time)");
    let target = repository.join("target/first-version/build");
    let built = Command::new("cargo")
        .current_dir(&source)
        .args(["build", "--locked", "-p", "clickhouse-embedded"])
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .context("run cargo")?;
    ensure!(built.success(), "the first version's engine does not build");
    Ok(target.join("debug/clickhouse-embedded"))
}

/// Lines of a crate's sources up to each file's test module.
struct Lines {
    all: f64,
    code: f64,
}

fn lines_of_code(folder: &Path) -> Result<Lines> {
    let (mut all, mut code) = (0_u32, 0_u32);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs")
                && path.file_stem().is_none_or(|s| s != "tests")
            {
                let text = fs::read_to_string(&path)?;
                for line in text.lines().take_while(|line| *line != "#[cfg(test)]") {
                    all += 1;
                    let line = line.trim();
                    code += u32::from(!line.is_empty() && !line.starts_with("//"));
                }
            }
        }
    }
    Ok(Lines { all: f64::from(all), code: f64::from(code) })
}
