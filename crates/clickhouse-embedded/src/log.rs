//! The supervisor's log, on stderr. The engine's own log is `log/engine.log` in its folder.

use clap::ValueEnum;

/// The two looks of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// Starts the log; `RUST_LOG` chooses what is logged (default `info`).
pub fn start(format: Format) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Json => log.json().init(),
        Format::Text => log.with_ansi(false).init(),
    }
}
