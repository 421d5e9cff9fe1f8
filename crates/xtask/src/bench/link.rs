//! How much a link carries, wireguard-go's and ours, over a veth pair: both ends on this machine.
//!
//! One TCP stream, three runs, medians. Processor time is that of both tunnels and both ends of the
//! stream; what the kernel spends on its own account is not in it.

use anyhow::{Context, Result, ensure};

use super::{Arguments, Figures};
use crate::lab::{namespace, pair::Pair};

/// The sink's TCP port.
const PORT: u16 = 9000;

pub(super) fn run(arguments: &Arguments) -> Result<Figures> {
    namespace::available().map_err(anyhow::Error::msg)?;
    let seconds = if arguments.quick { "2" } else { "5" };
    let (mut rates, mut costs, mut trips) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let pair = Pair::create()?;
        let ends = [0, 1].map(|at| {
            let endpoint = (pair.sides[1 - at].outer, crate::lab::pair::UDP_PORT).into();
            pair.wireguard_go(at, endpoint)
        });
        let [a, b] = ends;
        let (a, b) = (a?, b?);
        let sink = pair.sink(PORT)?;
        let to = format!("{}:{PORT}", pair.sides[1].inner);
        let ping = pair.end(0, &["--mode", "external", "--ping", &to])?.line()?;
        trips.push(number(&ping, "rtt_ms")?);
        let before = a.cpu_s()? + b.cpu_s()? + sink.cpu_s()?;
        let sent = pair.end(0, &["--mode", "external", "--send", &to, "--seconds", seconds])?.line()?;
        let cpu_s = a.cpu_s()? + b.cpu_s()? + sink.cpu_s()? - before + number(&sent, "cpu_s")?;
        rates.push(number(&sent, "mbit_s")?);
        costs.push(cpu_s / (number(&sent, "bytes")? / 1e9));
    }
    let mut figures = Figures::default();
    for mode in ["tun", "userspace"] {
        let runs: Result<Vec<_>> = (0..3).map(|_| ours(mode, seconds)).collect();
        match runs {
            Ok(runs) => {
                let rate = median(runs.iter().map(|r| r.0).collect());
                let cost = median(runs.iter().map(|r| r.1).collect());
                figures.add(
                    &format!("{mode}_mbit_s"),
                    rate,
                    "our tunnel, one TCP stream, Mbit/s (median of 3)",
                );
                figures.add(&format!("{mode}_cpu_s_per_gb"), cost, "processor seconds per GB, both ends");
                let share = rate / median(rates.clone());
                figures.add(&format!("{mode}_vs_wireguard_go"), share, "its rate over wireguard-go's");
            }
            Err(error) => eprintln!("{mode} is left out: {error:#}"),
        }
    }
    figures.add("wireguard_go_mbit_s", median(rates), "wireguard-go, one TCP stream, Mbit/s (median of 3)");
    figures.add("wireguard_go_cpu_s_per_gb", median(costs), "processor seconds per GB, both ends");
    figures.add("wireguard_go_rtt_ms", median(trips), "round trip of one byte, ms");
    Ok(figures)
}

/// Mbit/s and processor seconds per GB of our own tunnel.
fn ours(mode: &str, seconds: &str) -> Result<(f64, f64)> {
    let pair = Pair::create()?;
    let mut sink = pair.tunnel_end(1, mode, &["--serve", &PORT.to_string()])?;
    ensure!(sink.line()? == "ready", "the sink does not listen");
    let to = format!("{}:{PORT}", pair.sides[1].inner);
    let before = sink.cpu_s()?;
    let sent = pair.tunnel_end(0, mode, &["--send", &to, "--seconds", seconds])?.line()?;
    let cpu_s = sink.cpu_s()? - before + number(&sent, "cpu_s")?;
    Ok((number(&sent, "mbit_s")?, cpu_s / (number(&sent, "bytes")? / 1e9)))
}

fn number(line: &str, key: &str) -> Result<f64> {
    ensure!(!line.is_empty(), "an end of the link failed");
    let line: serde_json::Value = serde_json::from_str(line).context("what an end printed")?;
    line[key].as_f64().with_context(|| format!("an end printed no {key}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
