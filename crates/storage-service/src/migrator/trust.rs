//! Whether this catalog can be trusted: asks the hot server and the gateway, and does what [`moves::trust`] decides.
//!
//! Where the catalog is trusted no query waits for the NAS. Where it is not, no managed table is answered for
//! until it is.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use moves::{
    BatchState, Change, ManagedTable, Move,
    claim::may_succeed,
    trust::{self, Verdict},
    world::Witness,
};
use storage_types::{MoveId, gateway_api::BatchFacts};

use super::{Inner, MigrationError, world::now};
use crate::{catalog::MigrationRecord, hot::head_of};

/// The witness that this catalog wrote last: its version.
pub(super) const WITNESSED: &str = "witnessed";
/// Moves put into the catalog in one transaction.
const AT_ONCE: usize = 500;
/// What was deleted so long before the hot engine started may be there again, seconds: ClickHouse does not sync what it
/// drops, and a power cut takes back what the kernel had not written yet. That is less than a minute; the rest is for
/// clocks that differ, as migrations allow.
const UNSYNCED_S: i64 = 7_200;

impl Inner {
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Acquire)
    }

    /// An engine that has started anew may have been put back to an older state: then it is looked at as at the
    /// service's own start.
    pub(super) async fn distrust_a_restarted_engine(&self) {
        let Ok(started) = self.world().hot.started().await else { return };
        let known = self.hot_started.lock().replace(started);
        // The two figures it is made of are rounded.
        if known.is_some_and(|known| known.abs_diff(started) > 2) {
            tracing::info!(
                "the hot engine has started anew: what was deleted from the head is looked at again"
            );
            self.trusted.store(false, Ordering::Release);
            self.world().catalog.set_rebuilding(true);
        }
    }

    /// Finds out whether the catalog can be trusted, and does what is needed until it can.
    pub(super) async fn establish_trust(&self) -> Result<(), MigrationError> {
        let catalog = &self.world().catalog;
        let witness = self.world().hot.read_witness().await?;
        let noted = catalog.note(WITNESSED)?.and_then(|text| text.parse::<u64>().ok());
        let version = catalog.current().version;
        let witness = witness.map(|found| Witness {
            catalog: found.catalog,
            version: found.version,
            before: found.before,
        });
        match trust::verdict(witness, noted, catalog.id(), version) {
            Verdict::Trusted => {
                let started = self.world().hot.started().await?;
                self.look_at_reclaimed(|record| may_be_back(record, started)).await?;
            }
            Verdict::Learn { newer } => {
                tracing::warn!("rows were moved that this catalog does not know of: the NAS is asked");
                self.learn().await?;
                catalog.adopt_witness(newer)?;
            }
            Verdict::LookAgain { since } => {
                tracing::warn!(
                    "the hot server was put back to an older state: reclaimed moves are looked at again"
                );
                let started = self.world().hot.started().await?;
                let is_newer = |record: &Move| record.deleted_in > since || may_be_back(record, started);
                self.look_at_reclaimed(is_newer).await?;
            }
        }
        self.trusted.store(true, Ordering::Release);
        catalog.set_rebuilding(false);
        Ok(())
    }

    /// Takes over every batch of the gateway that the catalog does not have, page by page. What is already there
    /// is passed over, so that a crash or a lost link only makes it go on where it was.
    pub(super) async fn learn(&self) -> Result<(), MigrationError> {
        let own = *self.sender.lock();
        let sender = self.world().gateway.gateway_status().await?.sender;
        let has_moves = self.has_moves_beside(sender)?;
        let sender = sender.filter(|sender| may_succeed(*sender, own, has_moves));
        if let Some(sender) = sender {
            self.note_learns(sender)?;
        }
        let mut found: BTreeMap<MoveId, Vec<BatchFacts>> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.world().gateway.batches(after).await?;
            for facts in page.batches {
                found.entry(facts.manifest.move_id).or_default().push(facts);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let catalog = &self.world().catalog;
        let tables = catalog.managed_tables();
        let all = self.world().tables.iter().map(|table| table.logical.clone()).collect();
        // Its moves are chosen: those that are found.
        let recovery = MigrationRecord { planned: true, ..MigrationRecord::new(all, 0, "recovery") };
        let mut begun = false;
        let mut take_over = |changes: Vec<Change>| -> Result<(), MigrationError> {
            if !changes.is_empty() && !std::mem::replace(&mut begun, true) {
                catalog.start_migration(&recovery)?;
            }
            Ok(catalog.take_over(changes).map(drop)?)
        };
        let mut changes = Vec::new();
        let mut visible = 0;
        for (id, facts) in found {
            let Some(table) = facts.first().and_then(|first| table_of(&tables, first)) else {
                tracing::warn!(move_id = %id, batches = facts.len(), "batches of a table that is not configured stay unseen");
                continue;
            };
            let known = catalog.move_record(id)?;
            let restored = trust::restored(known.as_ref(), id, recovery.id, table, &facts, now());
            visible += restored.iter().filter(|change| is_published(change)).count();
            changes.extend(restored);
            if changes.len() >= AT_ONCE {
                take_over(std::mem::take(&mut changes))?;
            }
        }
        take_over(changes)?;
        if let Some(sender) = sender {
            self.note_succeeds(sender)?;
        }
        if visible > 0 {
            tracing::warn!(batches = visible, "the catalog has been rebuilt from the gateway");
        }
        Ok(())
    }

    /// The head may have rows again that were deleted since: they are hidden, and deleted once more.
    async fn look_at_reclaimed(&self, wanted: impl Fn(&Move) -> bool) -> Result<(), MigrationError> {
        let catalog = &self.world().catalog;
        let mut again = Vec::new();
        for record in catalog.reclaimed(wanted)? {
            let head = head_of(&record.table);
            let place = self.world().hot.place(&head).await?;
            let Some(place) = place.filter(|place| trust::is_same_table(&record, place)) else { continue };
            // It may be older than the table's first move.
            self.world().hot.keep_block_numbers(&head).await?;
            if self.world().hot.count(&record.table, &record.rows).await? > 0 {
                again.push(trust::reopened(record, place).into());
            }
        }
        if !again.is_empty() {
            tracing::warn!(
                moves = again.len(),
                "their rows are in the head again: hidden, and reclaimed once more"
            );
            catalog.commit(again)?;
        }
        Ok(())
    }
}

/// See [`UNSYNCED_S`].
fn may_be_back(record: &Move, started: i64) -> bool {
    record.reclaimed_at.abs_diff(started) <= UNSYNCED_S.unsigned_abs()
}

fn is_published(change: &Change) -> bool {
    matches!(change, Change::Batch(batch) if batch.state == BatchState::Published)
}

fn table_of<'a>(tables: &'a [ManagedTable], facts: &BatchFacts) -> Option<&'a ManagedTable> {
    tables.iter().find(|table| table.logical == facts.manifest.table)
}
