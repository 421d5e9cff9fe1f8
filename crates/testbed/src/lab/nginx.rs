//! nginx as the reverse proxy between the daemons: as shipped, with its buffering left on for answers
//! and off for uploads, and without its limit on an upload's size.

use std::{
    fmt::Write as _,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::tool;
use crate::process::{self, ProcessId, Running};

/// Longest wait until it listens.
const READY: Duration = Duration::from_secs(10);

/// A port on loopback, and what stands behind it.
#[derive(Debug, Clone)]
pub struct Site {
    /// Where it listens.
    pub listen: u16,
    /// Base URL of the daemon behind.
    pub to: String,
    /// Certificate chain and key, both PEM; without them HTTP is spoken.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// A running nginx; ends when it is dropped.
#[derive(Debug)]
pub struct Nginx(Running);

impl Nginx {
    /// Whether there is one on this machine.
    ///
    /// # Errors
    /// When there is none: the error names the package.
    pub fn installed() -> Result<PathBuf> {
        tool::find("nginx", "nginx-light")
    }

    /// Starts it in `dir` (made when it is not there), with its log in `log`, and waits until it
    /// listens. A `detached` one is not reached by what the terminal sends us.
    ///
    /// # Errors
    /// When it is not installed, or ends, or does not listen in time.
    pub fn start(dir: &Path, log: &Path, sites: &[Site], detached: bool) -> Result<Self> {
        let program = Self::installed()?;
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        fs::write(dir.join("nginx.conf"), configuration(sites)).context("write nginx.conf")?;
        let mut command = Command::new(program);
        command.arg("-p").arg(dir).args(["-c", "nginx.conf", "-e", "stderr"]);
        let mut running = Running::start(command, log, detached)?;
        let deadline = Instant::now() + READY;
        for site in sites {
            while TcpStream::connect(("127.0.0.1", site.listen)).is_err() {
                running.check().context("start nginx")?;
                ensure!(Instant::now() < deadline, "nginx does not listen within {} s", READY.as_secs());
                std::thread::sleep(process::POLL);
            }
        }
        // What answered was nginx, and not somebody who has its port.
        running.check().context("start nginx")?;
        Ok(Self(running))
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.0.id()
    }

    /// Lets it outlive us.
    pub fn leave(self) {
        self.0.leave();
    }
}

/// One process, nothing outside its folder.
fn configuration(sites: &[Site]) -> String {
    let mut text = String::from(
        "daemon off; master_process off; pid nginx.pid; error_log stderr;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
",
    );
    for Site { listen, to, tls } in sites {
        let (speaks, certificate) = match tls {
            None => ("", String::new()),
            Some((chain, key)) => {
                let pair = format!(
                    "ssl_certificate \"{}\"; ssl_certificate_key \"{}\";",
                    chain.display(),
                    key.display()
                );
                (" ssl", pair)
            }
        };
        let to = to.trim_end_matches('/');
        let _ = writeln!(
            text,
            "  server {{ listen 127.0.0.1:{listen}{speaks}; {certificate} client_max_body_size 0;
    location / {{ proxy_pass {to}; proxy_http_version 1.1; proxy_request_buffering off; proxy_read_timeout 300s; }} }}"
        );
    }
    text.push_str("}\n");
    text
}
