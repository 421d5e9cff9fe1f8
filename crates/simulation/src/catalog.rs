//! The catalog beyond its book: who it is, whether it is trusted, and what becomes of it when its file is lost or
//! put back. The decisions are those of [`moves::trust`].

use std::collections::BTreeMap;

use moves::{
    Book, Change, Trouble,
    trust::{self, Verdict},
    world::Answer,
};
use storage_types::{MigrationId, MoveId, gateway_api::BatchFacts};

use crate::{
    calls::Callee,
    journal,
    nas::NasState,
    state::{Sim, State},
    truth::Life,
};

/// A start of a service: its catalog, and which start of it.
pub type Sender = (u64, u64);

/// See the module.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Its id.
    pub id: u64,
    /// The version of the witness that it wrote last.
    pub noted: Option<u64>,
    /// Its starts.
    pub epochs: Vec<u64>,
    /// The sender all of whose batches it has learnt.
    pub succeeds: Option<Sender>,
    /// The file was put back to an older state once.
    pub is_copy: bool,
    /// A move was planned, or found.
    pub has_moves: bool,
    /// Queries are answered from it.
    pub trusted: bool,
    /// The gateway takes its batches.
    pub claimed: bool,
    /// The gateway has another one's: nothing is moved.
    pub refused: bool,
}

impl Catalog {
    /// A new one, never started.
    pub fn new(id: u64) -> Self {
        Self {
            id,
            noted: None,
            epochs: Vec::new(),
            succeeds: None,
            is_copy: false,
            has_moves: false,
            trusted: false,
            claimed: false,
            refused: false,
        }
    }

    /// The service starts.
    pub fn start(&mut self, random: u64) {
        self.epochs.push(self.epochs.last().copied().unwrap_or(0) + 1 + random % 1_000);
        (self.trusted, self.claimed, self.refused) = (false, false, false);
    }

    fn sender(&self) -> Sender {
        (self.id, self.epochs.last().copied().unwrap_or(0))
    }
}

/// The first start, before anything fails.
pub fn begin(state: &mut State) {
    state.catalog.start(0);
    (state.catalog.trusted, state.catalog.claimed) = (true, true);
    state.nas.sender = Some(state.catalog.sender());
}

/// The file is lost, or put back to how it stood once; the process dies with it.
pub fn lose(state: &mut State) {
    match state.catalog_backup.take() {
        None if state.random.percent(60) => {
            state.catalog_backup = Some((state.book.clone(), state.catalog.clone()))
        }
        Some((book, catalog)) if state.random.percent(50) => {
            state.note(|| "the catalog is put back to an older state".into());
            (state.book, state.catalog) = (book, Catalog { is_copy: true, ..catalog });
            state.truth.put_back = true;
            gone(state);
        }
        _ => forget(state),
    }
}

/// The file is lost, or an operator has removed it.
pub fn forget(state: &mut State) {
    state.note(|| "the catalog is lost".into());
    state.book = Book::new(1, 0);
    state.catalog = Catalog::new(state.catalog.id + 1 + state.random.below(1_000));
    state.spool.clear();
    gone(state);
}

/// An older copy is trusted where nothing was deleted that it does not know, and the gateway may not have been told of
/// what was published last: what users dropped meanwhile may be in batches that nobody knows of any more.
fn gone(state: &mut State) {
    for fact in &mut state.truth.facts {
        fact.forgiven |= matches!(fact.life, Life::Dropped(_));
    }
    state.dead = true;
    // The ids that it would have counted on from are forgotten with it.
    state.truth.last_batch = 0;
    state.truth.forget_changes(state.event);
}

/// What the service does at its start, until the catalog is trusted and the gateway takes its batches.
pub async fn settle(sim: &Sim) -> Answer<()> {
    if !sim.with(|state| state.catalog.trusted) {
        establish_trust(sim).await?;
    }
    claim(sim).await
}

async fn establish_trust(sim: &Sim) -> Answer<()> {
    let witness = sim.call(Callee::Hot, "read the witness", |state| Ok(state.witness)).await?;
    let verdict = sim.with(|state| {
        let Catalog { id, noted, .. } = state.catalog;
        trust::verdict(witness, noted, id, state.book.version)
    });
    match verdict {
        Verdict::Trusted => {}
        Verdict::Learn { newer } => {
            learn(sim).await?;
            sim.with(|state| state.book.version = state.book.version.max(newer) + 1);
        }
        // The hot server is never put back.
        Verdict::LookAgain { .. } => return Err(Trouble::Local("the witness is lost".into())),
    }
    sim.with(|state| state.catalog.trusted |= !state.dead);
    Ok(())
}

/// Takes over every batch of the gateway that the catalog does not have.
async fn learn(sim: &Sim) -> Answer<()> {
    let (sender, facts) = sim.call(Callee::Nas, "list the batches", |state| Ok(listed(state))).await?;
    let mut found: BTreeMap<MoveId, Vec<BatchFacts>> = BTreeMap::new();
    for facts in facts {
        found.entry(facts.manifest.move_id).or_default().push(facts);
    }
    sim.with(|state| {
        if state.dead {
            return;
        }
        let Some(migration) = MigrationId::from_u64(2) else { return };
        let (table, now_s) = (state.described(), i64::try_from(state.now_ms() / 1_000).unwrap_or(0));
        for (id, facts) in found {
            let known = state.book.get(id).cloned();
            let changes: Vec<Change> =
                trust::restored(known.as_deref(), id, migration, &table, &facts, now_s);
            journal::take_over(state, changes);
        }
        state.catalog.succeeds = sender;
    });
    Ok(())
}

fn listed(state: &State) -> (Option<Sender>, Vec<BatchFacts>) {
    use storage_types::BatchState as OnNas;
    let facts = state.nas.batches.values().map(|copy| {
        let on_nas = match copy.state {
            NasState::Announced | NasState::Held => OnNas::Sending,
            NasState::Proving => OnNas::Received,
            NasState::Proven => OnNas::Proven,
            NasState::Published => OnNas::Published,
            NasState::Retired => OnNas::Retired,
            NasState::Spent => OnNas::Aborted,
        };
        BatchFacts { state: on_nas, manifest: copy.manifest.clone() }
    });
    (state.nas.sender, facts.collect())
}

/// Has the gateway take this catalog's batches, unless it has those of a catalog that this one does not know all of.
async fn claim(sim: &Sim) -> Answer<()> {
    let known = sim.call(Callee::Nas, "gateway status", |state| Ok(state.nas.sender)).await?;
    let (learns, refused) = sim.with(|state| {
        let catalog = &state.catalog;
        let known = known.filter(|known| catalog.succeeds != Some(*known));
        let own = known.is_none_or(|(id, epoch)| id == catalog.id && catalog.epochs.contains(&epoch));
        let other = known.is_some_and(|(id, _)| id != catalog.id);
        (!own && other && !catalog.has_moves, !own && (!other || catalog.has_moves))
    });
    if refused {
        sim.with(|state| {
            state.note(|| "  the gateway is another catalog's: nothing is moved".into());
            state.catalog.refused = !state.dead;
        });
        return Ok(());
    }
    if learns {
        learn(sim).await?;
    }
    sim.call(Callee::Nas, "claim", move |state| {
        if state.nas.sender != known {
            return Err(Trouble::Stale("another sender is in force".into()));
        }
        let epochs = &mut state.catalog.epochs;
        let behind = known.is_some_and(|(_, epoch)| epochs.last().is_none_or(|last| *last < epoch));
        if let Some((_, epoch)) = known.filter(|_| behind) {
            epochs.push(epoch + 1);
        }
        state.nas.sender = Some(state.catalog.sender());
        Ok(())
    })
    .await?;
    sim.with(|state| state.catalog.claimed = !state.dead);
    Ok(())
}
