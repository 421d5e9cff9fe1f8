//! The catalog beyond its book: who it is, whether it is trusted, and what becomes of it when its file is lost or
//! put back. The decisions are those of [`moves::trust`] and [`moves::claim`].

use std::collections::{BTreeMap, BTreeSet};

use moves::{
    BatchState, Book, Change, Trouble,
    claim::{self, Standing},
    trust::{self, Verdict},
    world::Answer,
};
use storage_types::{BatchId, CatalogId, MigrationId, MoveId, Sender, gateway_api::BatchFacts};

use crate::{
    calls::Callee,
    effects, journal,
    nas::NasState,
    row::Row,
    state::{Lease, Sim, State},
    truth::Life,
};

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

    /// Who says so to the gateway.
    pub fn sender(&self) -> Option<Sender> {
        let epoch = self.epochs.last().copied().unwrap_or(0);
        CatalogId::from_u64(self.id).map(|catalog| Sender { catalog, epoch })
    }
}

/// What one service has for itself.
pub struct Service {
    book: Book,
    catalog: Catalog,
    spool: BTreeMap<BatchId, Vec<Row>>,
    leases: Vec<Lease>,
    dead: bool,
}

impl Service {
    /// Another one, which has moved other tables before.
    pub fn second(state: &mut State) -> Self {
        let mut catalog = Catalog::new(state.catalog.id + 1_000_000);
        catalog.start(state.random.next());
        catalog.has_moves = true;
        Self { book: Book::new(1, 0), catalog, spool: BTreeMap::new(), leases: Vec::new(), dead: false }
    }

    /// The other one's turn.
    pub fn swap(&mut self, state: &mut State) {
        std::mem::swap(&mut self.book, &mut state.book);
        std::mem::swap(&mut self.catalog, &mut state.catalog);
        std::mem::swap(&mut self.spool, &mut state.spool);
        std::mem::swap(&mut self.leases, &mut state.leases);
        std::mem::swap(&mut self.dead, &mut state.dead);
    }
}

/// The first start, before anything fails.
pub fn begin(state: &mut State) {
    state.catalog.start(0);
    (state.catalog.trusted, state.catalog.claimed) = (true, true);
    state.nas.sender = state.catalog.sender();
}

/// Somebody copies the file, some time.
pub fn copy(state: &mut State) {
    if state.plan.suffers(8) && state.catalog_backup.is_none() && state.random.one_in(8) {
        state.catalog_backup = Some((state.book.clone(), state.catalog.clone()));
    }
}

/// The file is lost, or put back to how it stood once; the process dies with it.
pub fn lose(state: &mut State) {
    // What a copy that goes on makes, and what was made before, cannot be told apart once it is lost too.
    if state.truth.put_back || state.hot.counts_again {
        return;
    }
    match state.catalog_backup.take() {
        Some((book, catalog)) if state.random.percent(50) => {
            state.note(|| "the catalog is put back to an older state".into());
            gone(state);
            (state.book, state.catalog) = (book, Catalog { is_copy: true, ..catalog });
            state.truth.put_back = true;
        }
        _ => forget(state),
    }
}

/// The file is lost, or an operator has removed it.
pub fn forget(state: &mut State) {
    state.note(|| "the catalog is lost".into());
    gone(state);
    state.book = Book::new(1, 0);
    state.catalog = Catalog::new(state.catalog.id + 1 + state.random.below(1_000));
    state.spool.clear();
}

/// What the catalog knew is forgotten. The gateway may not have been told of what was published last: what users dropped
/// meanwhile may be in batches that nobody knows of any more.
fn gone(state: &mut State) {
    let is_told = |id: &BatchId| {
        let batch = state.book.batch(*id).filter(|batch| batch.state == BatchState::Published);
        batch.and_then(|batch| state.book.get(batch.move_id)).is_some_and(|record| record.told)
    };
    let told = state.truth.encoded.iter().filter(|(id, _)| is_told(id));
    let known: BTreeSet<_> = told.flat_map(|(_, rows)| rows).map(|row| row.id).collect();
    for (id, fact) in (0..).zip(&mut state.truth.facts) {
        fact.forgiven |= matches!(fact.life, Life::Dropped(_)) && !known.contains(&id);
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
    claim_gateway(sim).await
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
        let (own, had_moves) = (state.catalog.sender(), state.catalog.has_moves);
        let (table, now_s) = (state.described(), i64::try_from(state.now_ms() / 1_000).unwrap_or(0));
        for (id, facts) in found {
            let known = state.book.get(id).cloned();
            let changes: Vec<Change> =
                trust::restored(known.as_deref(), id, migration, &table, &facts, now_s);
            journal::take_over(state, changes);
            let learnt = state.book.get(id).filter(|record| record.opened).map(|record| record.rows);
            learnt.into_iter().for_each(|rows| effects::shadowed(state, rows));
        }
        let stands_in = |sender: &Sender| own.is_some_and(|own| claim::may_succeed(*sender, own, had_moves));
        if let Some(sender) = sender.filter(stands_in) {
            state.catalog.succeeds = Some(sender);
        }
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
async fn claim_gateway(sim: &Sim) -> Answer<()> {
    let known = sim.call(Callee::Nas, "gateway status", |state| Ok(state.nas.sender)).await?;
    let standing = sim.with(|state| {
        let Catalog { epochs, succeeds, has_moves, .. } = &state.catalog;
        let own = state.catalog.sender()?;
        Some(claim::standing(known, own, epochs, *succeeds, *has_moves))
    });
    if matches!(standing, Some(Standing::OlderCopy | Standing::Another)) {
        sim.with(|state| {
            state.note(|| "  the gateway is another catalog's: nothing is moved".into());
            state.catalog.refused = !state.dead;
        });
        return Ok(());
    }
    if standing == Some(Standing::Lost) {
        learn(sim).await?;
    }
    sim.call(Callee::Nas, "claim", move |state| {
        if state.nas.sender != known {
            return Err(Trouble::Stale("another sender is in force".into()));
        }
        let epochs = &mut state.catalog.epochs;
        let last = epochs.last().copied().unwrap_or(0);
        if let Some(known) = known.filter(|known| known.epoch > last) {
            epochs.push(known.epoch + 1);
        }
        state.nas.sender = state.catalog.sender();
        Ok(())
    })
    .await?;
    sim.with(|state| state.catalog.claimed = !state.dead);
    Ok(())
}
