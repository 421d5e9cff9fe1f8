//! Sizes, rates and durations as people write them.
//!
//! `50MB` is 50·10⁶ bytes, `50MiB` is 50·2²⁰; `10MB/s` is bytes per second; `24h`, `30s`, `7d` are
//! durations and a plain number is seconds. Whole numbers only: `1.5GB` is `1500MB`.

use std::time::Duration;

use crate::node::Node;

const SIZES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];
const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Bytes, from a number or a text with a unit.
pub(crate) fn bytes(node: &Node) -> Result<u64, String> {
    match node {
        Node::Int(n) => {
            u64::try_from(*n).map_err(|_| format!("{n} is not a size (bytes, or \"50MB\", \"512KiB\")"))
        }
        Node::Text(text) => with_unit(text, &SIZES)
            .ok_or_else(|| format!("{text:?} is not a size (bytes, or \"50MB\", \"512KiB\")")),
        other => Err(format!("expected a size, found {} (write \"50MB\")", other.kind())),
    }
}

/// Bytes per second of `10MB/s`.
pub(crate) fn per_second(text: &str) -> Option<u64> {
    with_unit(text.strip_suffix("/s")?, &SIZES)
}

/// A duration, from seconds or a text with a unit.
pub(crate) fn duration(node: &Node) -> Result<Duration, String> {
    let wrong =
        |shown: String| format!("{shown} is not a duration (seconds, or \"30s\", \"10m\", \"24h\", \"2d\")");
    match node {
        Node::Int(n) => u64::try_from(*n).map(Duration::from_secs).map_err(|_| wrong(n.to_string())),
        Node::Text(text) => {
            with_unit(text, &TIMES).map(Duration::from_millis).ok_or_else(|| wrong(format!("{text:?}")))
        }
        other => Err(wrong(other.kind().to_owned())),
    }
}

/// Digits and a unit, nothing else; `None` also on overflow.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (unit, factor) = units.iter().find(|(unit, _)| {
        text.strip_suffix(unit)
            .is_some_and(|rest| rest.trim_end().bytes().last().is_some_and(|b| b.is_ascii_digit()))
    })?;
    let digits = text.strip_suffix(unit)?.trim_end();
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Node {
        Node::Text(s.into())
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes(&text("50MB")), Ok(50_000_000));
        assert_eq!(bytes(&text("512 KiB")), Ok(512 * 1024));
        assert_eq!(bytes(&Node::Int(7)), Ok(7));
        for bad in ["", "MB", "-1MB", "1.5GB", "50mb", "99999999TB", "1e3B", "50MB/s"] {
            assert!(bytes(&text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(per_second("10MB/s"), Some(10_000_000));
        for bad in ["10MB", "10MB/m", "fast", "off"] {
            assert_eq!(per_second(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration(&text("24h")), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration(&text("250ms")), Ok(Duration::from_millis(250)));
        assert_eq!(duration(&Node::Int(30)), Ok(Duration::from_secs(30)));
        for bad in ["", "h", "24 hours", "1h30m", "-5s"] {
            assert!(duration(&text(bad)).is_err(), "{bad}");
        }
    }
}
