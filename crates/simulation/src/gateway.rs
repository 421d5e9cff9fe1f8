//! The NAS and the spool as the steps see them.

use moves::{
    Batch, ManagedTable, Move, Trouble,
    receipt::Elsewhere,
    record::PartRows,
    sabotage::{Rule, holds},
    world::{Answer, Commit, Encoded, Nas, Spool},
};
use storage_types::{BatchId, BatchState, Manifest, Origin, Proof, gateway_api::BatchStatus};

use crate::{
    calls::Callee,
    effects::{alike, has_mixed},
    head,
    hot::Part,
    nas::{Copy, Job, NasState},
    row::{Row, proof},
    state::{Sim, State},
    truth::Life,
};

impl Spool for Sim {
    async fn encode(&self, record: &Move, batch: &Batch, _: &str) -> Answer<Encoded> {
        self.call(Callee::Hot, "encode", |state| {
            head::is_there(state, &record.place)?;
            let columns = record.table.columns.len();
            let read = head::slice(state, record, batch);
            let read_from = match batch.slice.ranks {
                None => read_from(&read, columns),
                Some(_) => Vec::new(),
            };
            let rows: Vec<Row> = read.into_iter().map(|(_, row)| row).collect();
            state.note(|| {
                let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
                format!("  read {:?} of batch {}: rows {ids:?}", batch.slice, batch.id.get() & 0xffff)
            });
            if rows.is_empty() {
                return Err(Trouble::NoRows);
            }
            let found = proof(&rows, columns);
            let bytes = rows.len() as u64;
            state.truth.encoded.insert(batch.id, rows.clone());
            state.spool.insert(batch.id, rows);
            Ok(Encoded { manifest: manifest(record, batch, found, bytes), read_from })
        })
        .await
    }

    fn spooled(&self, batch: BatchId) -> Option<u64> {
        self.with(|state| state.spool.get(&batch).map(|rows| rows.len() as u64))
    }

    fn remove(&self, batch: BatchId) {
        self.with(|state| {
            if !state.dead {
                state.spool.remove(&batch);
            }
        });
    }
}

fn read_from(read: &[(&Part, Row)], columns: usize) -> Vec<PartRows> {
    let of_part = |rows: &[(&Part, Row)]| PartRows {
        part: rows.first().map_or_else(String::new, |(part, _)| part.name()),
        proof: proof(rows.iter().map(|(_, row)| row), columns),
    };
    read.chunk_by(|(a, _), (b, _)| std::ptr::eq(*a, *b)).map(of_part).collect()
}

fn manifest(record: &Move, batch: &Batch, found: Proof, bytes: u64) -> Manifest {
    Manifest {
        version: 1,
        batch: batch.id,
        move_id: record.id,
        table: record.table.logical.clone(),
        cold_database: String::new(),
        cold_table: String::new(),
        columns: record.table.columns.clone(),
        schema_hash: String::new(),
        time_column: String::new(),
        range: batch.slice.range,
        partition_ids: Vec::new(),
        proof: found,
        raw_bytes: bytes,
        encoded_bytes: bytes,
        blake3: String::new(),
        codec: String::new(),
        engine_version: String::new(),
        chunk_bytes: 1,
        chunks: Vec::new(),
        origin: Some(Origin {
            server: record.place.server.clone(),
            head: record.place.table.clone(),
            window: record.rows.window,
            watermark: record.rows.watermark,
        }),
    }
}

impl Nas for Sim {
    async fn ensure(&self, _: &ManagedTable) -> Answer<String> {
        self.call(Callee::Nas, "ensure the cold table", |_| Ok("ts".into())).await
    }

    async fn announce(&self, manifest: &Manifest) -> Answer<BatchStatus> {
        let manifest = manifest.clone();
        self.call(Callee::Nas, "announce", move |state| {
            admitted(state)?;
            let id = manifest.batch;
            let copy = state.nas.batches.entry(id).or_insert_with(|| Copy {
                manifest: manifest.clone(),
                state: NasState::Announced,
                rows: Vec::new(),
                sent: Vec::new(),
                damaged: None,
                retired_ms: 0,
            });
            if matches!(copy.state, NasState::Retired | NasState::Spent) || copy.manifest != manifest {
                return Err(Trouble::Spent(format!("batch {id} is spent")));
            }
            let missing = match copy.state {
                NasState::Announced => vec![storage_types::gateway_api::ChunkRange { first: 0, last: 0 }],
                _ => Vec::new(),
            };
            Ok(BatchStatus { batch: id, state: BatchState::Sending, missing, proof: None, error: None })
        })
        .await
    }

    async fn send(&self, _: &Move, manifest: &Manifest, status: &BatchStatus) -> Answer<()> {
        let (id, missing) = (manifest.batch, !status.missing.is_empty());
        if !missing {
            return Ok(());
        }
        self.call(Callee::Nas, "send", move |state| {
            admitted(state)?;
            let Some(rows) = state.spool.get(&id).cloned() else {
                return Err(Trouble::Local(format!("batch {id} is not spooled")));
            };
            let Some(copy) = state.nas.batches.get_mut(&id) else {
                return Err(Trouble::NasRefuses(format!("batch {id} is unknown")));
            };
            if copy.state == NasState::Announced {
                copy.sent.clone_from(&rows);
                copy.rows = rows;
                copy.state = NasState::Held;
            }
            Ok(())
        })
        .await
    }

    async fn commit(&self, batch: BatchId) -> Answer<Commit> {
        self.call(Callee::Nas, "commit", move |state| {
            admitted(state)?;
            let Some(copy) = state.nas.batches.get_mut(&batch) else { return Ok(Commit::Incomplete(None)) };
            Ok(match copy.state {
                NasState::Announced => Commit::Incomplete(None),
                NasState::Held | NasState::Proving => {
                    copy.state = NasState::Proving;
                    Commit::Proving(None)
                }
                NasState::Proven | NasState::Published => Commit::Proven(copy.manifest.proof),
                NasState::Retired | NasState::Spent => Commit::Spent("it is spent".into()),
            })
        })
        .await
    }

    async fn holds(&self, batch: BatchId) -> Answer<bool> {
        self.call(Callee::Nas, "holds", move |state| {
            let state = state.nas.batches.get(&batch).map(|copy| copy.state);
            Ok(state.is_some_and(|s| {
                matches!(s, NasState::Held | NasState::Proving | NasState::Proven | NasState::Published)
            }))
        })
        .await
    }

    async fn published(&self, batches: &[BatchId]) -> Answer<()> {
        let batches = batches.to_vec();
        self.call(Callee::Nas, "tell of publishing", move |state| {
            admitted(state)?;
            for id in batches {
                match state.nas.batches.get_mut(&id) {
                    Some(copy) if matches!(copy.state, NasState::Proven | NasState::Published) => {
                        copy.state = NasState::Published;
                    }
                    _ => return Err(Trouble::Spent(format!("batch {id} is not proven here"))),
                }
            }
            Ok(())
        })
        .await
    }

    async fn prove(&self, nonce: u64, batches: &[BatchId]) -> Answer<Result<Vec<(BatchId, Proof)>, u64>> {
        let batches = batches.to_vec();
        let answer = self.call(Callee::Nas, "prove", |state| Ok(ask(state, nonce, &batches))).await?;
        let Ok(found) = answer else { return Ok(answer) };
        self.with(|state| {
            let Some(job) = state.nas.jobs.iter_mut().find(|job| job.nonce == nonce) else { return };
            let computed = job.done.iter().map(|(_, _, event)| *event).min();
            if std::mem::replace(&mut job.delivered, true) {
                state.truth.violated(|| "the answer to an old question for a proof is used again".into());
            }
            state.look(|looks| looks.proven = computed);
        });
        Ok(Ok(found))
    }

    async fn retire(&self, batches: &[BatchId], rows_are: Elsewhere<'_>) -> Answer<()> {
        let batches = batches.to_vec();
        let unproven = matches!(rows_are, Elsewhere::NeverProven);
        self.call(Callee::Nas, "retire", move |state| {
            admitted(state)?;
            for id in batches {
                rows_are_elsewhere(state, id, unproven);
                let now = state.uptime_ms;
                let Some(copy) = state.nas.batches.get_mut(&id) else { continue };
                copy.state = match copy.state {
                    NasState::Proven | NasState::Published | NasState::Retired => NasState::Retired,
                    _ => NasState::Spent,
                };
                copy.retired_ms = now;
            }
            Ok(())
        })
        .await
    }
}

/// Calls that change something are taken from the sender in force only.
fn admitted(state: &State) -> Answer<()> {
    let in_force = state.nas.sender == state.catalog.sender() || !holds(Rule::Sender);
    if in_force { Ok(()) } else { Err(Trouble::Stale("another sender is in force".into())) }
}

/// Starts the job, or says how far it is.
fn ask(state: &mut State, nonce: u64, batches: &[BatchId]) -> Result<Vec<(BatchId, Proof)>, u64> {
    let uptime = state.uptime_ms;
    let jobs = &mut state.nas.jobs;
    if !jobs.iter().any(|job| job.nonce == nonce) {
        let batches = batches.to_vec();
        jobs.push(Job { nonce, batches, done: Vec::new(), asked_ms: uptime, delivered: false });
    }
    let Some(job) = jobs.iter_mut().find(|job| job.nonce == nonce) else { return Err(0) };
    job.asked_ms = uptime;
    if job.done.len() < job.batches.len() {
        return Err(job.done.len() as u64);
    }
    Ok(job.done.iter().filter_map(|(id, found, _)| found.map(|found| (*id, found))).collect())
}

/// What is retired must be somewhere else, unless the user has removed it.
fn rows_are_elsewhere(state: &mut State, id: BatchId, unproven: bool) {
    let Some(copy) = state.nas.batches.get(&id) else { return };
    let proven = state.book.batch(id).is_some_and(|batch| batch.proven);
    let rows: Vec<Row> = copy.sent.clone();
    let held = matches!(copy.state, NasState::Proven | NasState::Published);
    let looked = state.running_move().and_then(|id| state.looks.get(&id)).copied().unwrap_or_default();
    // Before publishing parts are only counted: what left and what came under old numbers can look like nothing.
    let published = state.running_move().and_then(|id| state.book.get(id)).is_some_and(|m| m.sent.is_some());
    let mixed =
        state.running_move().and_then(|id| state.book.get(id)).is_some_and(|m| has_mixed(state, m.rows));
    let counted = (!published && state.truth.attached) || mixed;
    if proven && unproven {
        state.truth.violated(|| format!("batch {id} was proven and is retired without a look"));
    }
    let head: Vec<Row> = state.hot.rows().map(|(_, row)| *row).collect();
    for row in rows.iter().filter(|_| held) {
        let Some(fact) = state.truth.of(row.id).cloned() else { continue };
        let in_head = state.hot.rows().any(|(_, r)| r.id == row.id);
        let elsewhere = state.nas.batches.iter().any(|(other, copy)| {
            *other != id
                && matches!(copy.state, NasState::Proven | NasState::Published)
                && copy.sent.iter().any(|r| r.id == row.id)
        });
        // Equal rows stand for each other.
        let replaced = alike(&head, row) >= alike(&rows, row);
        if replaced && !in_head && !elsewhere {
            state.truth.change(row.id, |fact| fact.forgiven = true);
        }
        if in_head || elsewhere || replaced || fact.forgiven {
            continue;
        }
        match fact.life {
            Life::Deleted => {}
            Life::Dropped(event) if !proven || counted || event > looked.heeds_rows() => {
                state.truth.change(row.id, |fact| fact.forgiven = true);
            }
            Life::Dropped(_) | Life::Alive => {
                state
                    .truth
                    .violated(|| format!("the last copy of row {} is retired with batch {id}", row.id));
            }
        }
    }
}
