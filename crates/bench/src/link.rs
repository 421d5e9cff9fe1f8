//! How much a link carries: our tunnel in both modes and wireguard-go with the kernel's TCP, between the
//! same two namespaces, in turns.
//!
//! On an unlimited line one TCP stream, three rounds, medians. On bad lines (our own UDP proxy: rate,
//! round trip, loss) two streams with BBR over the kernel's TCP, sixteen over the userspace stack, once.
//! Processor time is that of both tunnels and both ends of the stream; what the kernel spends on its own
//! account is not in it. The veth pair hands bursts over whole, as a network card with offloads does.

use anyhow::{Context, Result, ensure};

use super::{Arguments, Figures};
use testbed::lab::{namespace, pair::Pair, rekey};

/// The sink's TCP port.
const PORT: u16 = 9000;
/// Streams on a bad line: `migration.connections` as shipped, and the most that measuring finds for the
/// userspace stack.
const KERNEL_STREAMS: &str = "2";
const USERSPACE_STREAMS: &str = "16";
const ROUNDS: usize = 3;
/// How long is sent on a bad line before it is measured, seconds.
const WARM_UP: &str = "6";
/// How long it is measured.
const LINE_SECONDS: &str = "8";
/// The line of the flood, and the garbage beside it.
const FLOOD_MBIT_S: u32 = 100;

/// The line on which others are to have their room.
const COURTESY_MBIT_S: u32 = 20;

/// What carries the packets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Tun,
    Userspace,
    WireguardGo,
}

impl Carrier {
    const ALL: [Self; 3] = [Self::Tun, Self::Userspace, Self::WireguardGo];

    const fn key(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::Userspace => "userspace",
            Self::WireguardGo => "wireguard_go",
        }
    }
}

/// A line of the grid: Mbit/s, round trip in ms, loss in percent.
#[derive(Clone, Copy)]
struct Cell(u32, u32, f64);

impl Cell {
    fn key(self) -> String {
        format!("{}_{}_{}", self.0, self.1, self.2.to_string().replace('.', ""))
    }
}

/// What one run measured.
struct Run {
    mbit_s: f64,
    cpu_s_per_gb: f64,
    rtt_ms: f64,
}

/// The parts of this benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// One stream on an unlimited line.
    Unlimited,
    /// Lines with a rate, a round trip and loss.
    Lines,
    /// The round trip of others beside a transfer.
    Courtesy,
    /// Garbage beside a transfer.
    Flood,
    /// The longest stall over a rekey (three minutes).
    Rekey,
}

pub(super) fn run(arguments: &Arguments) -> Result<Figures> {
    namespace::available().map_err(anyhow::Error::msg)?;
    let mut figures = Figures::default();
    let wanted = |part: Part| arguments.part.is_empty() || arguments.part.contains(&part);
    if wanted(Part::Unlimited) {
        unlimited(&mut figures, if arguments.quick { "3" } else { "5" })?;
    }
    if wanted(Part::Lines) {
        lines(&mut figures, arguments.quick)?;
    }
    if wanted(Part::Courtesy) {
        courtesy(&mut figures)?;
    }
    if wanted(Part::Flood) {
        flood(&mut figures)?;
    }
    if wanted(Part::Rekey) && !arguments.quick {
        rekey(&mut figures)?;
    }
    Ok(figures)
}

fn unlimited(figures: &mut Figures, seconds: &str) -> Result<()> {
    let mut runs: [Vec<Run>; 3] = Default::default();
    for round in 1..=ROUNDS {
        for (carrier, runs) in Carrier::ALL.into_iter().zip(&mut runs) {
            eprintln!("unlimited line, round {round} of {ROUNDS}: {}", carrier.key());
            runs.push(measure(carrier, None, 0, seconds).with_context(|| carrier.key())?);
        }
    }
    let of = |carrier: usize, what: fn(&Run) -> f64| median(runs[carrier].iter().map(what).collect());
    for (n, carrier) in Carrier::ALL.into_iter().enumerate() {
        let key = carrier.key();
        figures.add(&format!("{key}_mbit_s"), of(n, |r| r.mbit_s), "one TCP stream, Mbit/s");
        figures.add(&format!("{key}_cpu_s_per_gb"), of(n, |r| r.cpu_s_per_gb), "processor seconds per GB");
        figures.add(&format!("{key}_rtt_ms"), of(n, |r| r.rtt_ms), "round trip of one byte, ms");
    }
    for (n, key) in [(0, "tun_vs_wireguard_go"), (1, "userspace_vs_wireguard_go")] {
        figures.add(key, of(n, |r| r.mbit_s) / of(2, |r| r.mbit_s), "its rate over wireguard-go's");
    }
    Ok(())
}

fn lines(figures: &mut Figures, quick: bool) -> Result<()> {
    let cells = if quick {
        vec![Cell(100, 20, 1.0), Cell(100, 80, 1.0)]
    } else {
        let rates = [5, 20, 100].into_iter();
        rates.flat_map(|r| [20, 80].map(|t| [0.0, 0.1, 1.0].map(|l| Cell(r, t, l)))).flatten().collect()
    };
    for cell in cells {
        for carrier in Carrier::ALL {
            eprintln!("{} Mbit/s, {} ms, {} % loss: {}", cell.0, cell.1, cell.2, carrier.key());
            let name = format!("{}_{}", carrier.key(), cell.key());
            let run = measure(carrier, Some(cell), 0, LINE_SECONDS).with_context(|| name.clone())?;
            figures.add(&format!("{name}_mbit_s"), run.mbit_s, "goodput on that line, Mbit/s");
            figures.add(&format!("{name}_share"), run.mbit_s / f64::from(cell.0), "of the line's rate");
        }
    }
    Ok(())
}

/// The longest time in which no byte arrived over a rekey.
fn rekey(figures: &mut Figures) -> Result<()> {
    eprintln!("10 Mbit/s, 20 ms, 150 s: both modes, with themselves and with wireguard-go");
    for (case, stall) in rekey::longest_stalls() {
        let (key, with) = match case.ours {
            [true, true] => ("rekey_stall_s", "its like"),
            [true, false] => ("rekey_to_wireguard_go_stall_s", "wireguard-go, which is dialled"),
            _ => ("rekey_from_wireguard_go_stall_s", "wireguard-go, which dials"),
        };
        let key = format!("{}_{key}", case.mode);
        let stall = stall.with_context(|| key.clone())?;
        figures.add(&key, stall, &format!("longest stall over a rekey with {with}, s"));
    }
    Ok(())
}

fn flood(figures: &mut Figures) -> Result<()> {
    for carrier in [Carrier::Tun, Carrier::Userspace] {
        let key = carrier.key();
        let line = Cell(FLOOD_MBIT_S, 20, 0.0);
        let rates = [0, FLOOD_MBIT_S].map(|flood| {
            eprintln!("{} Mbit/s beside {flood} Mbit/s of garbage: {key}", line.0);
            measure(carrier, Some(line), flood, LINE_SECONDS).map(|run| run.mbit_s)
        });
        let [quiet, flooded] = rates;
        let what = "rate while as much garbage as the line carries comes to the port, over that without";
        figures.add(&format!("{key}_flood_share"), flooded? / quiet?, what);
    }
    Ok(())
}

/// What a transfer adds to the round trip of others on a line whose queue holds 1 MB (0.4 s), as the daemons
/// send (giving way), with a limit of 80 % of the line, and without either.
fn courtesy(figures: &mut Figures) -> Result<()> {
    let limit = (f64::from(COURTESY_MBIT_S) * 125_000.0 * 0.8).to_string();
    for carrier in [Carrier::Tun, Carrier::Userspace] {
        for (how, extra) in [
            ("giving_way", &["--give-way"][..]),
            ("limited", &["--give-way", "--limit", &limit]),
            ("greedy", &[]),
        ] {
            let key = format!("{}_{how}", carrier.key());
            eprintln!("{COURTESY_MBIT_S} Mbit/s, 20 ms, a queue of 1 MB: {key}");
            let pair = Pair::create()?;
            let to = format!("{}:{PORT}", pair.sides[1].inner);
            let rate = COURTESY_MBIT_S.to_string();
            let (_line, dial) = pair.bad_line(&["--rate", &rate, "--rtt", "20", "--queue", "1000000"])?;
            let mut sink = pair.tunnel_end(1, carrier.key(), None, &["--serve", &PORT.to_string()])?;
            ensure!(sink.line()? == "ready", "the sink does not listen");
            let send = ["--send", &to, "--connections", "4", "--warmup", "25", "--seconds", "20", "--beside"];
            let sent = pair.tunnel_end(0, carrier.key(), Some(dial), &[&send[..], extra].concat())?.line()?;
            for (figure, of) in [("added_rtt_ms", "median"), ("added_rtt_p95_ms", "95th of 100")] {
                let what = format!("round trip added beside a transfer, {of}, ms");
                figures.add(&format!("{key}_{figure}"), number(&sent, figure)?, &what);
            }
            let share = number(&sent, "mbit_s")? / f64::from(COURTESY_MBIT_S);
            figures.add(&format!("{key}_share"), share, "of the line's rate");
        }
    }
    Ok(())
}

fn measure(carrier: Carrier, cell: Option<Cell>, flood_mbit_s: u32, seconds: &str) -> Result<Run> {
    let pair = Pair::create()?;
    let to = format!("{}:{PORT}", pair.sides[1].inner);
    let (_line, dial) = match cell {
        None => (None, pair.straight()),
        Some(Cell(rate, rtt, loss)) => {
            let (rate, rtt, loss) = (rate.to_string(), rtt.to_string(), (loss / 100.0).to_string());
            let (line, dial) = pair.bad_line(&["--rate", &rate, "--rtt", &rtt, "--loss", &loss])?;
            (Some(line), dial)
        }
    };
    let port = PORT.to_string();
    let bad = cell.is_some();
    let warm_up: f64 = WARM_UP.parse()?;
    let mut send = vec!["--send", &to, "--seconds", seconds, "--warmup", if bad { WARM_UP } else { "1" }];
    let (tunnels, mut sink) = match carrier {
        Carrier::WireguardGo => {
            let tunnels = vec![pair.wireguard_go(1, None)?, pair.wireguard_go(0, Some(dial))?];
            (tunnels, pair.sink(PORT)?)
        }
        _ => (Vec::new(), pair.tunnel_end(1, carrier.key(), None, &["--serve", &port])?),
    };
    if carrier != Carrier::WireguardGo {
        ensure!(sink.line()? == "ready", "the sink does not listen");
    } else if bad {
        send.push("--bbr");
    }
    if bad {
        let streams = if carrier == Carrier::Userspace { USERSPACE_STREAMS } else { KERNEL_STREAMS };
        send.extend(["--connections", streams]);
    }
    let source = |arguments: &[&str]| match carrier {
        Carrier::WireguardGo => pair.end(0, &[&["--mode", "external"], arguments].concat())?.line(),
        _ => pair.tunnel_end(0, carrier.key(), Some(dial), arguments)?.line(),
    };
    let flood = |mbit_s: u32| {
        let (at, mbit_s) = (pair.straight().to_string(), mbit_s.to_string());
        pair.end(0, &["--mode", "external", "--flood", &at, "--flood-mbit-s", &mbit_s, "--seconds", "60"])
    };
    let _flood = (flood_mbit_s > 0).then(|| flood(flood_mbit_s)).transpose()?;
    let rtt_ms = if bad { f64::NAN } else { number(&source(&["--ping", &to])?, "rtt_ms")? };
    let spent = || -> Result<f64> { tunnels.iter().map(|t| t.cpu_s()).sum::<Result<f64>>() };
    let before = spent()? + sink.cpu_s()?;
    let sent = source(&send)?;
    let cpu_s = spent()? + sink.cpu_s()? - before + number(&sent, "cpu_s")?;
    // The processor also worked in the warm-up, which the bytes leave out.
    let share = number(&sent, "seconds")? / (number(&sent, "seconds")? + if bad { warm_up } else { 1.0 });
    Ok(Run {
        mbit_s: number(&sent, "mbit_s")?,
        cpu_s_per_gb: cpu_s * share / (number(&sent, "bytes")? / 1e9),
        rtt_ms,
    })
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
