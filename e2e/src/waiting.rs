//! Moves that wait for something that fails, seen by the service's API.

use std::time::Duration;

use anyhow::{Context as _, Result};
use storage_types::{
    MigrationId, MoveState,
    service_api::{MigrationState, WaitReport},
};
use testbed::{fixture::Fixture, wait::within};

/// Longest wait for a move to say so, or to end.
const LIMIT: Duration = Duration::from_secs(20);

/// Until a move of the migration says that it waits, and for what: a text with one of `words` in it. It has to say what would help.
///
/// # Errors
/// With what the migration says instead.
pub async fn waits_for(fixture: &Fixture, id: MigrationId, words: &[&str]) -> Result<WaitReport> {
    let what = format!("a move says that it waits for {words:?}");
    let told = within(LIMIT, &what, async || {
        let report = fixture.service.migration(id).await.ok()?;
        let over = report.state != MigrationState::Running;
        let mut waits = report.moves.into_iter().filter_map(|record| record.waits_for);
        let said = |wait: &WaitReport| words.iter().any(|word| wait.what.contains(word));
        let told = waits.find(|wait| !wait.help.is_empty() && said(wait)).map(Ok);
        told.or_else(|| over.then(|| Err(anyhow::anyhow!("the migration is over and never said so"))))
    });
    match told.await.and_then(|told| told) {
        Ok(wait) => Ok(wait),
        Err(error) => {
            let report = fixture.service.migration(id).await;
            Err(error).with_context(|| format!("{report:#?}"))
        }
    }
}

/// Until the migration has ended, with every move of it reclaimed and none given up.
///
/// # Errors
/// When that does not come about.
pub async fn ends_by_itself(fixture: &Fixture, id: MigrationId) -> Result<()> {
    let report = fixture.service.finished(id, LIMIT, |_| ()).await?;
    let whole = |record: &storage_types::service_api::MoveReport| {
        record.state == MoveState::Reclaimed && record.reason.is_none()
    };
    anyhow::ensure!(
        !report.moves.is_empty() && report.moves.iter().all(whole) && report.errors.is_empty(),
        "{report:#?}"
    );
    Ok(())
}

/// Every row that was written is seen once, in both tables.
///
/// # Errors
/// What is not so, or that the question failed.
pub async fn exact(fixture: &Fixture) -> Result<()> {
    let verdict = fixture.oracle().finish().await?;
    anyhow::ensure!(verdict.violations.is_empty(), "{:?}", verdict.violations);
    Ok(())
}
