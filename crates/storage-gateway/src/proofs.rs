//! Fresh proofs of many batches, as a job that outlives calls and restarts.
//!
//! A caller names its job, and asks again with the same name until all proofs are there: each was computed
//! after the name first came, from the live tables. Each proof is in the journal as soon as it is computed,
//! so that neither a restart nor a lost answer computes it twice; after a day it is forgotten.
//!
//! **Bounds.** One job reads a table at a time, a few batches with one statement, which reads only their
//! time range. A statement that runs out of time or memory is tried again with fewer batches.
//!
//! **Cancellation.** A job that nobody has asked about for ten minutes ends, and with it its statement.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use storage_types::{
    BatchId, BatchState, Manifest, Proof,
    gateway_api::{MAX_BATCH_PAGE, ProofProgress, ProofRequest},
};
use tokio::{sync::watch, time::Instant};

use crate::{
    cold::{TableName, custody, proof},
    error::GatewayError,
    gateway::Gateway,
    journal::JournalError,
};

/// Jobs under way at the same time.
const MAX_JOBS: usize = 32;
/// Most batches of one statement.
const TOGETHER: usize = 16;
/// How long a call waits for the job before it answers how far it is.
const WAIT: Duration = Duration::from_secs(2);
/// A job that nobody asked about for so long is not wanted any more.
const UNWANTED: Duration = Duration::from_secs(600);
/// Pauses after a statement that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The answer to a request.
#[derive(Debug)]
pub enum ProofAnswer {
    /// Ask again.
    Running(ProofProgress),
    /// Every batch's proof, in the order of the request.
    Done(Vec<(BatchId, Proof)>),
}

/// The jobs under way.
#[derive(Default)]
pub struct ProofJobs {
    running: Mutex<HashMap<u64, Arc<Job>>>,
    /// Held by the job that reads a table.
    turns: Mutex<HashMap<TableName, Arc<tokio::sync::Mutex<()>>>>,
}

struct Job {
    asked: Mutex<Instant>,
    /// Changes with every proof and at the end.
    changed: watch::Sender<u64>,
    error: Mutex<Option<String>>,
}

impl ProofJobs {
    fn turn(&self, table: &TableName) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.turns.lock().entry(table.clone()).or_default())
    }

    /// The job of this name, and whether it is new.
    fn job(&self, id: u64) -> Result<(Arc<Job>, bool), GatewayError> {
        let mut running = self.running.lock();
        if let Some(job) = running.get(&id) {
            *job.asked.lock() = Instant::now();
            return Ok((Arc::clone(job), false));
        }
        if running.len() >= MAX_JOBS {
            return Err(GatewayError::Busy {
                what: "too many proof jobs at the same time",
                limit: MAX_JOBS as u64,
            });
        }
        let job = Arc::new(Job {
            asked: Mutex::new(Instant::now()),
            changed: watch::Sender::new(0),
            error: Mutex::default(),
        });
        running.insert(id, Arc::clone(&job));
        Ok((job, true))
    }
}

impl Job {
    fn turn(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Resolves once nobody has asked for too long.
    async fn unwanted(&self) {
        loop {
            let until = *self.asked.lock() + UNWANTED;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// Answers what is known of a job, and starts it where it does not run.
pub async fn ask(gateway: &Arc<Gateway>, request: ProofRequest) -> Result<ProofAnswer, GatewayError> {
    let ProofRequest { id, batches } = request;
    if batches.len() > MAX_BATCH_PAGE as usize {
        return Err(GatewayError::InvalidBody(format!("more than {MAX_BATCH_PAGE} batches")));
    }
    check(gateway, &batches).await?;
    let known = gateway.journal.proofs(id, batches.clone()).await?;
    if known.iter().all(Option::is_some) {
        return Ok(answer(&batches, &known, None));
    }
    let (job, new) = gateway.proof_jobs.job(id)?;
    let mut changed = job.changed.subscribe();
    if new {
        let (gateway, job, batches) = (Arc::clone(gateway), Arc::clone(&job), batches.clone());
        let supervisor = gateway.supervisor.clone();
        supervisor.spawn_brief(async move {
            let stop = gateway.supervisor.token();
            tokio::select! {
                () = run(&gateway, id, &job, batches) => {}
                () = job.unwanted() => tracing::info!(job = id, "nobody asks for these proofs any more"),
                () = stop.cancelled() => {}
            }
            gateway.proof_jobs.running.lock().remove(&id);
            job.turn();
        });
    }
    let until = Instant::now() + WAIT;
    loop {
        let known = gateway.journal.proofs(id, batches.clone()).await?;
        let done = known.iter().all(Option::is_some);
        if done || !matches!(tokio::time::timeout_at(until, changed.changed()).await, Ok(Ok(()))) {
            let error = job.error.lock().clone();
            return Ok(answer(&batches, &known, error));
        }
    }
}

fn answer(batches: &[BatchId], known: &[Option<Proof>], error: Option<String>) -> ProofAnswer {
    let proofs: Vec<_> = batches.iter().zip(known).filter_map(|(id, proof)| Some((*id, (*proof)?))).collect();
    if proofs.len() == batches.len() {
        return ProofAnswer::Done(proofs);
    }
    ProofAnswer::Running(ProofProgress { done: proofs.len() as u64, total: batches.len() as u64, error })
}

/// Every batch must have its rows in a live table.
async fn check(gateway: &Gateway, batches: &[BatchId]) -> Result<(), GatewayError> {
    let stages = gateway.journal.stages(batches.to_vec()).await.map_err(|error| match error {
        JournalError::Unknown(batch) => GatewayError::UnknownBatch(batch),
        other => other.into(),
    })?;
    let held = [BatchState::Proven, BatchState::Published, BatchState::Retired];
    match stages.iter().find(|stage| stage.leaves || !held.contains(&stage.state)) {
        Some(stage) => Err(GatewayError::NotProven { batch: stage.batch, state: stage.state.as_str() }),
        None => Ok(()),
    }
}

/// Computes what is missing, for as long as it takes.
async fn run(gateway: &Gateway, id: u64, job: &Job, batches: Vec<BatchId>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match missing(gateway, id, &batches).await {
            Ok(tables) if tables.is_empty() => return,
            Ok(tables) => {
                let mut failed = None;
                for (table, manifests) in tables {
                    let turn = gateway.proof_jobs.turn(&table);
                    let _turn = turn.lock().await;
                    match prove(gateway, id, job, &table, manifests).await {
                        Ok(()) => {}
                        Err(error) => failed = Some(error),
                    }
                }
                match failed {
                    None => return,
                    Some(error) => *job.error.lock() = Some(error.to_string()),
                }
            }
            Err(error) => *job.error.lock() = Some(error.to_string()),
        }
        tracing::warn!(job = id, error = job.error.lock().as_deref(), "proofs are not computed yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Batches without a proof, by table, oldest first.
async fn missing(
    gateway: &Gateway,
    id: u64,
    batches: &[BatchId],
) -> Result<BTreeMap<TableName, Vec<Arc<Manifest>>>, GatewayError> {
    let known = gateway.journal.proofs(id, batches.to_vec()).await?;
    let left = batches.iter().zip(known).filter(|(_, proof)| proof.is_none()).map(|(id, _)| *id).collect();
    let mut tables: BTreeMap<TableName, Vec<Arc<Manifest>>> = BTreeMap::new();
    for facts in gateway.journal.facts(left).await? {
        tables.entry(proof::live(&facts.manifest)).or_default().push(Arc::new(facts.manifest));
    }
    for manifests in tables.values_mut() {
        manifests.sort_by_key(|manifest| manifest.range.lo);
    }
    Ok(tables)
}

/// Proves batches of one table, a few with each statement.
async fn prove(
    gateway: &Gateway,
    id: u64,
    job: &Job,
    table: &TableName,
    manifests: Vec<Arc<Manifest>>,
) -> Result<(), GatewayError> {
    let mut left = VecDeque::from(manifests);
    let mut share = Share::new();
    while let Some(first) = left.front() {
        custody::check(gateway, table).await?;
        let alike = left.iter().take(share.size()).take_while(|m| m.schema_hash == first.schema_hash).count();
        let few: Vec<Arc<Manifest>> = left.iter().take(alike).cloned().collect();
        let read = {
            let _slot = gateway.proof_turn().await?;
            proof::of_batches(&gateway.engine, &few).await
        };
        match read {
            Ok(proofs) => {
                gateway.journal.keep_proofs(id, proofs).await?;
                left.drain(..alike);
                share.fitted();
                *job.error.lock() = None;
                job.turn();
            }
            Err(GatewayError::Engine(error)) if is_too_much(&error) && share.halve(alike) => {
                tracing::info!(job = id, %error, batches = alike, "tried again with fewer batches");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// TIMEOUT_EXCEEDED, TOO_SLOW, MEMORY_LIMIT_EXCEEDED, or no answer in time.
fn is_too_much(error: &clickhouse_http::Error) -> bool {
    matches!(error, clickhouse_http::Error::Deadline { .. }) || matches!(error.code(), Some(159 | 160 | 241))
}

/// How many batches are asked for at once.
struct Share(usize);

impl Share {
    fn new() -> Self {
        Self(TOGETHER)
    }

    fn size(&self) -> usize {
        self.0
    }

    fn fitted(&mut self) {
        self.0 = (self.0 * 2).min(TOGETHER);
    }

    /// After `tried` were too many; `false` when there are no fewer.
    fn halve(&mut self, tried: usize) -> bool {
        self.0 = (tried / 2).max(1);
        tried > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_too_much_is_halved_down_to_one_and_grows_again() {
        let mut share = Share::new();
        for fewer in [8, 4, 2, 1] {
            assert!(share.halve(share.size()));
            assert_eq!(share.size(), fewer);
        }
        assert!(!share.halve(1) && share.size() == 1);
        // A statement may have had fewer than were allowed.
        let mut share = Share::new();
        assert!(share.halve(3) && share.size() == 1);
        for more in [2, 4, 8, 16, 16] {
            share.fitted();
            assert_eq!(share.size(), more);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_is_unwanted_ten_minutes_after_the_last_question() {
        let jobs = ProofJobs::default();
        let (job, new) = jobs.job(7).unwrap();
        assert!(new);
        let begun = Instant::now();
        tokio::time::sleep(UNWANTED / 2).await;
        assert!(!jobs.job(7).unwrap().1);
        job.unwanted().await;
        assert_eq!(begun.elapsed(), UNWANTED + UNWANTED / 2);
        for id in 100..100 + MAX_JOBS as u64 - 1 {
            jobs.job(id).unwrap();
        }
        assert!(matches!(jobs.job(1), Err(GatewayError::Busy { .. })));
    }
}
