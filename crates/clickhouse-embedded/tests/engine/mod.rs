//! A real `clickhouse-embedded` process of a test's own, on a free port, ended with the test.
//!
//! The library comes from `LIBCHDB_PATH` or the cache; without it the test fails with the program's own
//! words on how to get it.
#![allow(dead_code)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use tempfile::TempDir;

/// The one user of the test's engine.
pub const USER: &str = "tester";
/// Its password.
pub const PASSWORD: &str = "p:ss wörd";

/// A running engine.
pub struct Engine {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// The native protocol's port, where it was asked for.
    pub tcp_port: Option<u16>,
    log: Arc<Mutex<String>>,
    /// Ends with the supervisor.
    logging: Option<std::thread::JoinHandle<()>>,
    /// The folder it works in.
    pub folder: PathBuf,
    kept: Option<TempDir>,
    client: reqwest::Client,
}

/// An answer.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text, white space at the end left out.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end().to_owned()
    }

    /// A header's value; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The exception's code, 0 for none.
    pub fn code(&self) -> i32 {
        self.header("x-clickhouse-exception-code").parse().unwrap_or(0)
    }
}

/// Writes a file that only its owner may read.
pub fn secret(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

impl Engine {
    /// Starts one in a fresh folder.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one in a fresh folder, with more arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut engine = Self::start_in(folder.path(), arguments);
        engine.kept = Some(folder);
        engine
    }

    /// Starts one in `folder`.
    pub fn start_in(folder: &Path, arguments: &[&str]) -> Self {
        let password = folder.join("password");
        secret(&password, &format!("{PASSWORD}\n"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_clickhouse-embedded"))
            .arg("--data")
            .arg(folder.join("engine"))
            .args(["--listen", "127.0.0.1:0", "--user", USER, "--password-file"])
            .arg(&password)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut reason = String::new();
            child.stderr.take().unwrap().read_to_string(&mut reason).unwrap();
            panic!("clickhouse-embedded did not start: {reason}");
        }
        // The log must not fill its pipe: somebody has to read it.
        let pipe = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        let logging = std::thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                eprintln!("{line}");
                kept.lock().push_str(&(line + "\n"));
            }
        });
        let listening: serde_json::Value = serde_json::from_str(&line).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(120)).build().unwrap();
        let url = listening["url"].as_str().unwrap().to_owned();
        let tcp_port = listening["tcp_port"].as_u64().map(|port| port as u16);
        Self {
            child,
            url,
            tcp_port,
            log,
            logging: Some(logging),
            folder: folder.to_owned(),
            kept: None,
            client,
        }
    }

    /// A request with the right password; `query` is the URL's query string, already encoded pairs.
    pub fn request(&self, method: reqwest::Method, pairs: &[(&str, &str)]) -> reqwest::RequestBuilder {
        self.client.request(method, &self.url).query(pairs).basic_auth(USER, Some(PASSWORD))
    }

    /// Sends a request and reads its answer whole.
    pub async fn send(request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    /// The same, where the connection may break.
    pub async fn send_or_not(request: reqwest::RequestBuilder) {
        let _ = request.send().await;
    }

    /// Sends a request; as much of its answer as arrives.
    pub async fn whatever_comes(request: reqwest::RequestBuilder) -> String {
        let mut answer = Vec::new();
        let mut response = request.send().await.unwrap();
        while let Ok(Some(piece)) = response.chunk().await {
            answer.extend_from_slice(&piece);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// POSTs `sql` with parameters.
    pub async fn ask_with(&self, pairs: &[(&str, &str)], sql: impl Into<Vec<u8>>) -> Answer {
        Self::send(self.request(reqwest::Method::POST, pairs).body(sql.into())).await
    }

    /// POSTs `sql`.
    pub async fn ask(&self, sql: &str) -> Answer {
        self.ask_with(&[], sql).await
    }

    /// POSTs `sql`, which must succeed; its answer's text.
    pub async fn ok(&self, sql: &str) -> String {
        let answer = self.ask(sql).await;
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
        answer.text()
    }

    /// Asks `sql` until its answer is `wanted`.
    pub async fn until(&self, sql: &str, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.ok(sql).await;
            if answer == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{sql}: {answer}, not {wanted}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The supervisor's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The engine's own process, the supervisor's one child.
    pub fn engine_pid(&self) -> Option<u32> {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Sends `signal` (`KILL`, `STOP`) to the engine's own process.
    pub fn signal_engine(&self, signal: &str) {
        let pid = self.engine_pid().expect("an engine runs").to_string();
        assert!(Command::new("kill").arg(format!("-{signal}")).arg(pid).status().unwrap().success());
    }

    /// What the supervisor has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// `http://`-less address of the HTTP interface.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// Waits until `/ping` is answered.
    pub async fn until_up(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let ping = format!("{}/ping", self.url);
        while self.client.get(&ping).send().await.is_err() {
            assert!(Instant::now() < deadline, "the engine does not come back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn memory_mib(&self, line: &str) -> u64 {
        let pid = self.engine_pid().expect("an engine runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|found| found.starts_with(line)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    /// The most memory that the engine has had resident, MiB.
    pub fn peak_rss_mib(&self) -> u64 {
        self.memory_mib("VmHWM")
    }

    /// The memory that the engine has resident, MiB.
    pub fn rss_mib(&self) -> u64 {
        self.memory_mib("VmRSS")
    }

    /// `kill -9`, and wait until it is gone.
    pub fn kill_hard(mut self) -> Option<TempDir> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.kept.take()
    }

    /// SIGTERM, and the exit code.
    pub fn stop(self) -> i32 {
        self.stop_with_log().0
    }

    /// The same, with all that the supervisor has logged.
    pub fn stop_with_log(self) -> (i32, String) {
        self.end_by("TERM")
    }

    /// The same by another signal.
    pub fn end_by(mut self, signal: &str) -> (i32, String) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").arg(format!("-{signal}")).arg(pid).status().unwrap();
        assert!(status.success());
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        self.logging.take().unwrap().join().unwrap();
        (code, self.log())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of the machine; `None`, and said, where it is missing. CI owes the proof.
pub fn tool(name: &str, package: &str) -> Option<PathBuf> {
    let found = std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|f| f.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs {name} (Debian: {package}) for this test");
        println!("SKIPPED: {name} is not on this machine (Debian: {package})");
    }
    found
}
