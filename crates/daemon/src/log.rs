//! The log: one line an event, to standard error, so that standard output stays free for answers
//! (`keygen` prints a key there). `RUST_LOG` chooses what is said; without it everything from `info` on.

use std::io::{IsTerminal as _, stderr};

use storage_config::LogFormat;
use tracing_subscriber::EnvFilter;

/// What is said when `RUST_LOG` does not choose. boringtun repeats what the tunnel says better.
const DEFAULT: &str = "info,boringtun=off";

/// Begins to log. JSON lines carry an event's fields beside `timestamp`, `level`, `target` and
/// `message`; text is coloured on a terminal.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).init(),
    }
}
