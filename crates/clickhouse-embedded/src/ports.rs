//! Where the engine listens: what it is asked at start, and how the supervisor passes the answer on.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

/// The ports that the engine listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Ports {
    /// HTTP.
    pub http: u16,
    /// The native protocol, where it is served.
    pub tcp: Option<u16>,
}

/// The file in the run folder that [`start_statements`] writes.
pub const FILE: &str = "ports.json";

/// What the library's engine runs first: it opens its listeners, then writes their ports to [`FILE`] (named
/// relative to the folder of user files, its working folder).
#[must_use]
pub fn start_statements(with_tcp: bool) -> String {
    let (listeners, tcp) = match with_tcp {
        true => ("QUERIES DEFAULT", ", getServerPort('tcp_port') AS tcp"),
        false => ("HTTP", ""),
    };
    format!(
        "SYSTEM START LISTEN {listeners}; SELECT getServerPort('http_port') AS http{tcp} \
         INTO OUTFILE '../run/{FILE}' TRUNCATE FORMAT JSONEachRow"
    )
}

/// The ports, once the engine has written them whole.
#[must_use]
pub fn read(run: &Path) -> Option<Ports> {
    serde_json::from_slice(&std::fs::read(run.join(FILE)).ok()?).ok()
}

/// Tells the world: the port file, by rename, then a JSON line on stdout.
///
/// # Errors
/// Neither can be written.
pub fn announce(http: SocketAddr, tcp: Option<u16>, port_file: Option<&Path>) -> anyhow::Result<()> {
    if let Some(file) = port_file {
        let is_other = file.symlink_metadata().is_ok_and(|found| !found.is_file());
        anyhow::ensure!(!is_other, "--port-file {}: there is something else than a file", file.display());
        let fresh = file.with_extension("fresh");
        std::fs::write(&fresh, format!("{http}\n"))
            .and_then(|()| std::fs::rename(&fresh, file))
            .context("--port-file")?;
    }
    let line = serde_json::json!({
        "event": "listening", "url": format!("http://{http}"), "port": http.port(), "tcp_port": tcp,
        "pid": std::process::id(),
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot print the address")?;
    tracing::info!(%http, ?tcp, "listening");
    Ok(())
}
