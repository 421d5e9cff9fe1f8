//! Stands in for `clickhouse server` in a test, where none can be had: it copies what it was given beside
//! itself (`*.seen`), answers `/ping` on the configured port, and notes a SIGTERM.
#![allow(clippy::unwrap_used, reason = "a part of a test")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let config = Path::new(arguments[2].strip_prefix("--config-file=").unwrap());
    let text = std::fs::read_to_string(config).unwrap();
    std::fs::write("config.seen", &text).unwrap();
    std::fs::copy(config.with_file_name("users.xml"), "users.seen").unwrap();
    std::fs::write("arguments.seen", &arguments[1]).unwrap();
    let names: Vec<String> = std::env::vars().map(|(name, _)| name).filter(|name| name != "TZ").collect();
    std::fs::write("environment.seen", names.join(" ")).unwrap();
    let port = text.split("<http_port>").nth(1).unwrap().split('<').next().unwrap();
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nOk.\n");
        }
    });
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap().recv().await;
    std::fs::write("terminated", "yes").unwrap();
}
