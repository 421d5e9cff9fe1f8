//! Progress on a terminal, and plain lines where there is none (a pipe, a build log).

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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

/// Something of unknown length.
pub fn spinner(what: &str) -> ProgressBar {
    if !on_terminal() {
        eprintln!("{what} …");
    }
    let bar = drawn(ProgressBar::new_spinner(), "  {spinner} {msg} {elapsed}");
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// So many bytes.
pub fn bytes(total: u64, what: &str) -> ProgressBar {
    let bar =
        drawn(ProgressBar::new(total), "  {msg:<28} {bar:30} {bytes:>10}/{total_bytes:<10} {bytes_per_sec}");
    bar.set_message(what.to_owned());
    bar
}

/// So many rows (or whatever `unit` names).
pub fn count(total: u64, what: &str, unit: &str) -> ProgressBar {
    let bar = drawn(
        ProgressBar::new(total),
        &format!("  {{msg:<28}} {{bar:30}} {{human_pos:>10}}/{{human_len:<10}} {unit} {{per_sec}}"),
    );
    bar.set_message(what.to_owned());
    bar
}

/// A line that stays, on a terminal or not.
pub fn say(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
}
