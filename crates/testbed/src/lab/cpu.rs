//! Processor time of a process (proc(5)).

use anyhow::{Context, Result};

/// Clock ticks per second: Linux's USER_HZ on every machine we build for.
const HZ: f64 = 100.0;

/// User and system seconds that process `pid` has used, all threads.
///
/// # Errors
/// When there is no such process.
pub fn seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name, in brackets, may hold anything; utime and stime are the 12th and 13th after it.
    let (_, rest) = stat.rsplit_once(')').context("a process's stat")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || -> Result<f64> { Ok(fields.next().context("a process's times")?.parse()?) };
    Ok((next()? + next()?) / HZ)
}
