//! Watches a migration and asks the questions all the while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use indicatif::ProgressBar;
use storage_types::{MigrationId, service_api::MigrationReport};

use super::{
    MIGRATION_LIMIT,
    questions::{self, Reference},
};
use testbed::{
    clients::Service,
    progress::{self, log},
};

/// Questions asked while rows moved.
#[derive(Debug, Default)]
pub(super) struct During {
    /// How many.
    pub(super) asked: u64,
    /// How many were not answered by the reference.
    pub(super) different: u64,
}

/// Waits for the migration's end, asking the questions round and round.
pub(super) async fn watch(
    service: &Service,
    id: MigrationId,
    rows: u64,
    references: &[Reference],
) -> Result<(MigrationReport, During)> {
    let bar = progress::count(rows, "moving", "rows");
    let (ended, asked, different) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let asking = async {
        while !ended.load(Ordering::Relaxed) {
            for reference in references {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let one = questions::ask(service, reference).await;
                asked.fetch_add(1, Ordering::Relaxed);
                if let Some(difference) = one.difference {
                    different.fetch_add(1, Ordering::Relaxed);
                    bar.suspend(|| log(format!("  DIFFERS  {}: {difference}", reference.question.name)));
                }
            }
        }
    };
    let mut lines = Lines::default();
    let watching = async {
        let report = service
            .finished(id, MIGRATION_LIMIT, |report| lines.show(report, &bar, asked.load(Ordering::Relaxed)))
            .await;
        ended.store(true, Ordering::Relaxed);
        report
    };
    let (report, ()) = tokio::join!(watching, asking);
    bar.finish_and_clear();
    Ok((report?, During { asked: asked.into_inner(), different: different.into_inner() }))
}

/// What was last shown, so that a log gets one line per change only.
#[derive(Default)]
struct Lines {
    last: String,
}

impl Lines {
    fn show(&mut self, report: &MigrationReport, bar: &ProgressBar, asked: u64) {
        bar.set_position(report.rows_published);
        let current =
            report.moves.iter().find(|m| !matches!(m.state.as_str(), "reclaimed" | "aborted" | "planned"));
        let now = current.map_or_else(|| "finishing".to_owned(), |m| format!("{} {}", m.table, m.state));
        bar.set_message(format!("{now}, {asked} asked"));
        let done = report.moves.iter().filter(|m| m.state.as_str() == "reclaimed").count();
        let line =
            format!("  {done}/{} moves done, {} rows in cold", report.moves.len(), report.rows_published);
        if !progress::on_terminal() && line != self.last {
            log(format!("{line}, {asked} questions asked"));
            self.last = line;
        }
    }
}
