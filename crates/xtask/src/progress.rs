//! Progress on a terminal, and plain lines where there is none (a pipe, a build log).

use std::{
    io::IsTerminal as _,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Longest silence where no bar is drawn.
pub const SILENCE: Duration = Duration::from_secs(10);

/// Whether people watch: bars are drawn then, else lines are printed.
pub fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}

fn drawn(bar: ProgressBar, template: &str) -> ProgressBar {
    if !on_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar
}

/// Something of unknown length, shown until it is dropped.
pub struct Waiting {
    bar: ProgressBar,
    /// Ends the thread that prints lines.
    _over: Option<mpsc::SyncSender<()>>,
}

impl Waiting {
    /// Says that `what` begins, and again and again that it goes on.
    pub fn new(what: &str) -> Self {
        let bar = drawn(ProgressBar::new_spinner(), "  {spinner} {msg} {elapsed}");
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, _over: (!on_terminal()).then(|| lines(what.to_owned())) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn lines(what: String) -> mpsc::SyncSender<()> {
    eprintln!("{what} …");
    let (sender, over) = mpsc::sync_channel(0);
    let started = Instant::now();
    std::thread::spawn(move || {
        while over.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("  … {what} ({} s)", started.elapsed().as_secs());
        }
    });
    sender
}

/// So many bytes.
pub fn bytes(total: u64, what: &str) -> ProgressBar {
    if !on_terminal() {
        eprintln!("{what} …");
    }
    let bar =
        drawn(ProgressBar::new(total), "  {msg:<28} {bar:30} {bytes:>10}/{total_bytes:<10} {bytes_per_sec}");
    bar.set_message(what.to_owned());
    bar
}

/// A line that stays, on a terminal or not.
pub fn log(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
}
