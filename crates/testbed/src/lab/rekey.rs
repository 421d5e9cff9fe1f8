//! A transfer that outlives a session's keys (120 s, WireGuard's `REKEY_AFTER_TIME`), between two ends of ours
//! and with wireguard-go at either end.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use super::pair::Pair;

/// The sink's TCP port.
const PORT: u16 = 9000;
/// How long is sent, s.
const SECONDS: &str = "150";
/// A session younger than this at the end is not the first one.
const RENEWED_S: f64 = 100.0;

/// One transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// `tun` or `userspace`.
    pub mode: &'static str,
    /// Which ends are ours: that which dials and sends, that which is dialled.
    pub ours: [bool; 2],
}

impl Case {
    /// Both modes, with their like, with wireguard-go dialled, and with wireguard-go dialling.
    fn all() -> impl Iterator<Item = Self> {
        ["tun", "userspace"]
            .into_iter()
            .flat_map(|mode| [[true, true], [true, false], [false, true]].map(|ours| Self { mode, ours }))
    }

    /// The longest time in which no byte arrived, s. An error when no keys were renewed.
    fn longest_stall(self) -> Result<f64> {
        let pair = Pair::create()?;
        let (to, port) = (format!("{}:{PORT}", pair.sides[1].inner), PORT.to_string());
        let (_line, dial) = pair.bad_line(&["--rate", "10", "--rtt", "20"])?;
        let mut tunnels = Vec::new();
        let _sink = if self.ours[1] {
            let mut sink = pair.tunnel_end(1, self.mode, None, &["--serve", &port])?;
            ensure!(sink.line()? == "ready", "the sink does not listen");
            sink
        } else {
            tunnels.push(pair.wireguard_go(1, None)?);
            pair.sink(PORT)?
        };
        // Within the line: what stalls is the rekey, and no full queue.
        let send = ["--send", &to, "--seconds", SECONDS, "--warmup", "5", "--limit", "1000000"];
        let mut source = if self.ours[0] {
            pair.tunnel_end(0, self.mode, Some(dial), &send)?
        } else {
            tunnels.push(pair.wireguard_go(0, Some(dial))?);
            pair.end(0, &[&["--mode", "external"], &send[..]].concat())?
        };
        let sent = source.line()?;
        let sent: serde_json::Value = serde_json::from_str(&sent).with_context(|| sent.clone())?;
        let age = if self.ours[0] {
            sent["handshake_age_s"].as_f64().context("the end did not say how old its session is")?
        } else {
            let shown = pair.sides[0].namespace.run("wg", &["show", "all", "latest-handshakes"])?;
            let at: f64 = shown.split_whitespace().next_back().unwrap_or_default().parse()?;
            SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() - at
        };
        ensure!(age < RENEWED_S, "the session is {age:.0} s old: its keys were not renewed");
        sent["longest_stall_s"].as_f64().context("the end did not say how long it stood still")
    }
}

/// Each case's longest time without a byte, s; all run at the same time, for two and a half minutes.
pub fn longest_stalls() -> Vec<(Case, Result<f64>)> {
    std::thread::scope(|scope| {
        let running: Vec<_> =
            Case::all().map(|case| (case, scope.spawn(move || case.longest_stall()))).collect();
        running
            .into_iter()
            .map(|(case, run)| (case, run.join().unwrap_or_else(|_| bail!("it panicked"))))
            .collect()
    })
}
