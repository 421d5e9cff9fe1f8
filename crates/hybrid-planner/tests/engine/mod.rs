//! A real engine for a test: `clickhouse-embedded` on a folder of its own, asked over HTTP.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The engine; killed when dropped.
pub struct Engine {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Engine {
    /// Starts the engine and waits until it says where it listens.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let exe = std::env::current_exe().unwrap();
        let debug: PathBuf = exe.ancestors().nth(2).unwrap().into();
        let binary = debug.join("clickhouse-embedded");
        assert!(binary.is_file(), "build the engine first: cargo build -p clickhouse-embedded");
        let mut child = Command::new(binary)
            .arg("--data")
            .arg(folder.path())
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let at = line.find("127.0.0.1:").unwrap_or_else(|| panic!("the engine did not start: {line:?}"));
        let address = line[at..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
        Self { child, address, _folder: folder }
    }

    /// Runs a statement; the answer, or the engine's error.
    pub fn run(&self, sql: &str, parameters: &str) -> Result<String, String> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!(
            "POST /?{parameters} HTTP/1.1\r\nHost: engine\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            sql.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(sql.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let split = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&answer[..split]).to_ascii_lowercase();
        let body = &answer[split + 4..];
        let body = if head.contains("transfer-encoding: chunked") { dechunk(body) } else { body.to_vec() };
        let text = String::from_utf8_lossy(&body).into_owned();
        if head.starts_with("http/1.1 200") && !text.contains("__exception__") { Ok(text) } else { Err(text) }
    }

    /// Runs statements that must succeed.
    pub fn all(&self, statements: &[String]) {
        for sql in statements {
            self.run(sql, "insert_allow_materialized_columns=1").unwrap_or_else(|e| panic!("{sql}\n{e}"));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn dechunk(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = body.windows(2).position(|w| w == b"\r\n") {
        let size = String::from_utf8_lossy(&body[..end]);
        let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
    }
    out
}
