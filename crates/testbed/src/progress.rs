//! Progress on a terminal, and plain lines where there is none (a pipe, a build log).

use std::io::IsTerminal;

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
pub fn log(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
}
