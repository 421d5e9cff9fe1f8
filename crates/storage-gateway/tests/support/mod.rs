//! Real processes for the gateway's tests: a `clickhouse-embedded`, a `storage-gateway`, and a hand
//! that makes batches the way the service does. Every process is killed when its value is dropped.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use clickhouse_http::client::{Client, NodeList};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use storage_types::{
    BatchId, CatalogId, Column, Manifest, MoveId, Proof, SENDER_HEADER, Sender, TimeRange,
    gateway_api::{BatchStatus, Claim, EnsureTable, GatewayStatus},
    manifest::{MANIFEST_VERSION, Origin},
    schema_hash,
};
use testbed::{
    faults::{Faults, Point},
    process::peak_rss_bytes,
    stack::free_port,
    wait::eventually,
};
use url::Url;

pub const TOKEN: &str = "a-token-for-tests-only";
/// Who sends, where a test does not say otherwise.
pub const SENDER: Sender = Sender { catalog: CatalogId::from_parts(1_800_000_000_000, 1), epoch: 1 };
pub const CHUNK: u64 = 64 * 1024;
/// 2024-08-01 00:00:00 UTC.
pub const T0: i64 = 1_722_470_400;
const PATIENCE: Duration = Duration::from_secs(60);

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The cold ClickHouse, as the gateway's own client sees it.
pub struct Engine {
    process: testbed::engine::Engine,
    pub client: Client,
}

impl Engine {
    pub async fn start(dir: &Path) -> Self {
        let process = testbed::engine::Engine::start(dir.join("engine")).await.unwrap();
        let url = Url::parse(&process.client().url).unwrap();
        Self { process, client: Client::new(NodeList::single(url, testbed::engine::OWNER, "")).unwrap() }
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
    }

    pub async fn restart(&mut self) {
        self.process.restart().await.unwrap();
        self.client.probe().await;
    }

    pub async fn run(&self, sql: &str) {
        self.client.query(sql).execute().await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    pub async fn text(&self, sql: &str) -> String {
        let text = self.client.query(sql).text().await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        text.trim().to_owned()
    }

    pub async fn number(&self, sql: &str) -> u64 {
        self.text(sql).await.parse().unwrap()
    }
}

/// What differs from the usual configuration.
#[derive(Clone)]
pub struct Settings {
    pub min_free_bytes: u64,
    pub max_batch_raw_bytes: u64,
    pub cloud: String,
    /// `storage.archive`.
    pub archive: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        // Port 9 (discard) answers nobody.
        Self {
            min_free_bytes: 1 << 20,
            max_batch_raw_bytes: 1 << 30,
            cloud: "http://127.0.0.1:9".into(),
            archive: "open",
        }
    }
}

/// A running gateway.
pub struct Gateway {
    dir: PathBuf,
    port: u16,
    config: PathBuf,
    process: Option<Process>,
    http: reqwest::Client,
}

impl Gateway {
    pub async fn start(dir: &Path, engine: &Engine, settings: &Settings) -> Self {
        // Installs the TLS provider that reqwest asks for even where no TLS is spoken.
        let _ = link::Peer::new("http://127.0.0.1".parse().unwrap(), None, PATIENCE, 0);
        let dir = dir.join("gateway");
        fs::create_dir_all(dir.join("faults")).unwrap();
        let port = free_port(&[]).unwrap();
        let token = dir.join("token");
        fs::write(&token, TOKEN).unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let config = dir.join("local_storage.yaml");
        let text = format!(
            r#"
service: {{name: "gw", deployment: "nas", listen: "127.0.0.1:{port}", data_dir: "{data}", token_file: "{token}", drain_seconds: 5, log_format: "text"}}
storage: {{type: "embedded", url: "http://127.0.0.1:{engine}", data_path: "{data}", compression: "zstd_ultra", decompression_threads: 2, archive: "{archive}"}}
connection:
  cloud_endpoint: "{cloud}"
  token_file: "{token}"
  heartbeat_interval: 1
  timeout: 2
limits: {{min_free_bytes: {min_free}, max_batch_raw_bytes: {max_raw}, max_concurrent_queries: 2}}
"#,
            data = dir.join("data").display(),
            token = token.display(),
            engine = engine.process.address().port(),
            cloud = settings.cloud,
            archive = settings.archive,
            min_free = settings.min_free_bytes,
            max_raw = settings.max_batch_raw_bytes,
        );
        fs::write(&config, text).unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut gateway = Self { dir, port, config, process: None, http };
        gateway.restart().await;
        gateway
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to end and answers its exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        let mut process = self.process.take().unwrap();
        let pid = process.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        eventually("the gateway ends", async || process.0.try_wait().unwrap()).await.unwrap().code()
    }

    pub async fn restart(&mut self) {
        self.kill();
        let log = fs::File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_storage-gateway"))
            .arg("--config")
            .arg(&self.config)
            .env("STORAGE_FAULT_DIR", self.dir.join("faults"))
            .env("RUST_LOG", "info,storage_gateway=debug")
            .env_remove("DEPLOYMENT_TYPE")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(Process(child));
        let ready = format!("http://127.0.0.1:{}/readyz", self.port);
        eventually("the gateway answers", async || {
            // Without an engine it never is ready, but it answers.
            self.http.get(&ready).send().await.ok()
        })
        .await
        .unwrap();
    }

    pub async fn ready(&self) {
        eventually("the gateway is ready", async || {
            let (status, _) = self.call(Method::GET, "/readyz", Vec::new()).await;
            (status == StatusCode::OK).then_some(())
        })
        .await
        .unwrap();
    }

    /// Most memory it ever had resident, MiB.
    pub fn peak_rss_mib(&self) -> u64 {
        peak_rss_bytes(self.process.as_ref().unwrap().0.id()).unwrap() >> 20
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.request_of(SENDER, method, path)
    }

    /// As somebody else than the usual sender.
    pub fn request_of(&self, sender: Sender, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, self.url(path)).bearer_auth(TOKEN);
        request.header(SENDER_HEADER, sender.to_string())
    }

    /// The usual sender is the one in force.
    pub async fn claim(&self) {
        let claim = Claim { sender: SENDER, replaces: None };
        let (status, json) = self.post("/v1/claim", &claim).await;
        assert_eq!(status, StatusCode::OK, "{json}");
    }

    pub async fn status(&self) -> GatewayStatus {
        let (_, json) = self.call(Method::GET, "/v1/status", Vec::new()).await;
        serde_json::from_value(json).unwrap()
    }

    /// Status and JSON (null when the answer is none).
    pub async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> (StatusCode, Value) {
        let answer = self.request(method, path).body(body).send().await.unwrap();
        let status = answer.status();
        let bytes = answer.bytes().await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub async fn post<B: serde::Serialize>(&self, path: &str, body: &B) -> (StatusCode, Value) {
        self.call(Method::POST, path, serde_json::to_vec(body).unwrap()).await
    }

    /// Status and error code.
    pub async fn refused(&self, method: Method, path: &str, body: Vec<u8>) -> (u16, String) {
        let (status, json) = self.call(method, path, body).await;
        (status.as_u16(), json["code"].as_str().unwrap_or_default().to_owned())
    }

    pub async fn ensure(&self, batch: &Batch) {
        let (status, json) = self.post("/v1/tables", &batch.table()).await;
        assert_eq!(status, StatusCode::OK, "{json}");
    }

    pub async fn announce(&self, batch: &Batch) -> (StatusCode, Value) {
        self.post("/v1/batches", &batch.manifest).await
    }

    pub async fn put(&self, batch: &Batch, n: usize) -> (u16, String) {
        let path = format!("/v1/batches/{}/chunks/{n}", batch.manifest.batch);
        self.refused(Method::PUT, &path, batch.chunk(n).to_vec()).await
    }

    /// Announces and sends everything.
    pub async fn send(&self, batch: &Batch) {
        let (status, json) = self.announce(batch).await;
        assert!(status.is_success(), "{json}");
        let status: BatchStatus = serde_json::from_value(json).unwrap();
        for range in status.missing {
            for n in range.first..=range.last {
                assert_eq!(self.put(batch, n as usize).await, (204, String::new()));
            }
        }
    }

    pub async fn commit(&self, batch: &Batch) -> (StatusCode, Value) {
        self.call(Method::POST, &format!("/v1/batches/{}/commit", batch.manifest.batch), Vec::new()).await
    }

    /// Commits until the outcome is known.
    pub async fn settle(&self, batch: &Batch) -> (StatusCode, Value) {
        eventually("the batch is settled", async || {
            let path = format!("/v1/batches/{}/commit", batch.manifest.batch);
            let answer = self.request(Method::POST, &path).send().await.ok()?;
            let status = answer.status();
            let json = answer.json().await.ok()?;
            (status != StatusCode::ACCEPTED && status != StatusCode::SERVICE_UNAVAILABLE)
                .then_some((status, json))
        })
        .await
        .unwrap()
    }

    pub async fn prove(&self, batch: &Batch) {
        let (status, json) = self.settle(batch).await;
        assert_eq!(status, StatusCode::OK, "{json}");
        let status: BatchStatus = serde_json::from_value(json).unwrap();
        assert_eq!(status.proof, Some(batch.manifest.proof));
    }

    /// Lets the next pass of `point` wait to be killed.
    pub fn arm(&self, point: Point) {
        self.faults().arm(point).unwrap();
    }

    /// Where points are armed and proofs skipped.
    pub fn faults(&self) -> Faults {
        Faults::new(self.dir.join("faults"))
    }

    pub async fn reached(&self, point: Point) {
        self.faults().held(point, PATIENCE).await.unwrap();
    }

    pub fn release(&self, point: Point) {
        self.faults().release(point).unwrap();
    }
}

/// Rows of one table, encoded as the service encodes them.
pub struct Batch {
    pub manifest: Manifest,
    pub encoded: Vec<u8>,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ts", "DateTime64(3, 'UTC')"),
    ("exchange", "LowCardinality(String)"),
    ("id", "UInt64"),
    ("payload", "String"),
    ("rows", "Nullable(Int32)"),
];
pub const LIVE: &str = "cold.trades";

pub fn columns() -> Vec<Column> {
    COLUMNS
        .iter()
        .map(|(name, data_type)| Column { name: (*name).into(), data_type: (*data_type).into() })
        .collect()
}

impl Batch {
    /// `rows` rows with ids from `first`, spread over thirteen months and two exchanges.
    pub async fn make(engine: &Engine, first: u64, rows: u64) -> Self {
        let batch = BatchId::from_parts(1_800_000_000_000 + first, 7);
        let select = Self::select(first, rows);
        let (raw, proof) = Self::encode_source(engine, &select, batch).await;
        Self::from_native(batch, &raw, proof)
    }

    pub fn select(first: u64, rows: u64) -> String {
        format!(
            "SELECT toDateTime64({T0}, 3, 'UTC') + toIntervalSecond(number % 11000 * 3000) AS ts, \
             toLowCardinality(['binance', 'okx'][1 + number % 2]) AS exchange, number AS id, \
             toString(sipHash64(number)) AS payload, if(number % 3 = 0, NULL, toInt32(number)) AS rows \
             FROM numbers({first}, {rows})"
        )
    }

    pub async fn encode_source(engine: &Engine, select: &str, batch: BatchId) -> (Vec<u8>, Proof) {
        use futures::StreamExt as _;
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        let mut stream = engine
            .client
            .query(format!("SELECT {names}, toUInt64({batch}) AS _batch FROM ({select}) ORDER BY ts"))
            .format("Native")
            .stream()
            .await
            .unwrap();
        let mut raw = Vec::new();
        while let Some(piece) = stream.next().await {
            raw.extend_from_slice(&piece.unwrap());
        }
        let text = engine
            .text(&format!(
                "SELECT count(), {} FROM ({select}) FORMAT TSV",
                storage_types::hash_sql::content_hash(&names)
            ))
            .await;
        let (rows, hash) = text.split_once('\t').unwrap();
        (raw, Proof { rows: rows.parse().unwrap(), content_hash: hash.parse().unwrap() })
    }

    pub fn from_native(batch: BatchId, raw: &[u8], proof: Proof) -> Self {
        Self::cut_native(batch, raw, proof, CHUNK)
    }

    pub fn cut_native(batch: BatchId, raw: &[u8], proof: Proof, chunk_bytes: u64) -> Self {
        let cutter = batch_codec::ChunkCutter::new(Vec::new(), chunk_bytes);
        let mut encoder = batch_codec::Encoder::new(cutter, batch_codec::Effort::Fast).unwrap();
        encoder.write_all(raw).unwrap();
        let encoded = encoder.finish().unwrap();
        let raw_bytes = encoded.raw_bytes;
        let cut = encoded.w.finish().unwrap();
        let columns = columns();
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            batch,
            move_id: MoveId::from_parts(1_800_000_000_000, 1),
            table: "trades".into(),
            cold_database: "cold".into(),
            cold_table: "trades".into(),
            schema_hash: schema_hash(&columns),
            columns,
            time_column: "ts".into(),
            range: TimeRange::new(T0, T0 + 400 * 86_400),
            partition_ids: vec!["202408".into()],
            proof,
            raw_bytes,
            encoded_bytes: cut.encoded_bytes,
            blake3: cut.blake3,
            codec: batch_codec::CODEC.into(),
            engine_version: "26.7.2.1".into(),
            chunk_bytes,
            chunks: cut.chunks,
            origin: Some(Origin::of_window(TimeRange::new(T0, T0 + 400 * 86_400))),
        };
        Self { manifest, encoded: cut.w }
    }

    /// Cuts other bytes into chunks, so that they pass every chunk's hash.
    pub fn replace_bytes(&mut self, bytes: Vec<u8>) {
        let mut cutter = batch_codec::ChunkCutter::new(Vec::new(), CHUNK);
        cutter.write_all(&bytes).unwrap();
        let cut = cutter.finish().unwrap();
        self.manifest.chunks = cut.chunks;
        self.manifest.encoded_bytes = cut.encoded_bytes;
        self.manifest.blake3 = cut.blake3;
        self.encoded = cut.w;
    }

    pub fn chunk(&self, n: usize) -> &[u8] {
        let from = n * usize::try_from(self.manifest.chunk_bytes).unwrap();
        let length = usize::try_from(self.manifest.chunks[n].bytes).unwrap();
        &self.encoded[from..from + length]
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/v1/batches/{}{rest}", self.manifest.batch)
    }

    pub fn table(&self) -> EnsureTable {
        EnsureTable {
            database: "cold".into(),
            table: "trades".into(),
            columns: columns(),
            partition_by: "(toYYYYMM(ts), exchange)".into(),
            order_by: "ts, exchange, id".into(),
        }
    }
}

/// Nothing is lost, doubled or left over: the live table holds exactly these rows of the batch.
pub async fn assert_exactly_once(engine: &Engine, batch: &Batch) {
    let id = batch.manifest.batch;
    let text = engine
        .text(&format!("SELECT count(), uniqExact(id) FROM {LIVE} WHERE _batch = {id} FORMAT TSV"))
        .await;
    let rows = batch.manifest.proof.rows;
    assert_eq!(text, format!("{rows}\t{rows}"), "batch {id}");
    let proof = engine
        .text(&format!(
            "SELECT {} FROM {LIVE} WHERE _batch = {id}",
            storage_types::hash_sql::content_hash("ts, exchange, id, payload, rows")
        ))
        .await;
    assert_eq!(proof, batch.manifest.proof.content_hash.to_string());
}

/// The rows of a batch that was retired leave the live table by themselves.
pub async fn assert_removed(engine: &Engine, batch: &Batch) {
    let sql = format!("SELECT count() FROM {LIVE} WHERE _batch = {}", batch.manifest.batch);
    eventually("the rows are removed", async || (engine.number(&sql).await == 0).then_some(()))
        .await
        .unwrap();
}

/// No staging table and no spooled chunk is left.
pub async fn assert_tidy(engine: &Engine, gateway: &Gateway) {
    eventually("staging tables and chunks are gone", async || {
        let tables = engine.number("SELECT count() FROM system.tables WHERE name LIKE '\\_stg\\_%'").await;
        let folders = fs::read_dir(gateway.data_dir().join("spool")).unwrap().count();
        (tables == 0 && folders == 0).then_some(())
    })
    .await
    .unwrap();
}

/// A whole stage: engine, gateway, a folder that goes with it.
pub struct Stage {
    pub gateway: Gateway,
    pub engine: Engine,
    pub dir: tempfile::TempDir,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::start(dir.path()).await;
        let gateway = Gateway::start(dir.path(), &engine, &settings).await;
        gateway.ready().await;
        gateway.claim().await;
        Self { gateway, engine, dir }
    }
}
