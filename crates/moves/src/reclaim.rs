//! From published to reclaimed: both copies are kept for the grace time, then proven, then the head's is
//! deleted.
//!
//! Every deletion needs both looks of the same step ([`crate::receipt`]): after a restart, and after every
//! deletion that came to less than all, they are taken again.

use crate::{
    failure::{StepError, Wait},
    lineage::Difference,
    mover::Mover,
    receipt::{ColdWhole, Deletable, Elsewhere, HeadWhole},
    record::{Batch, Decision, Move, PartLook, sum},
    sabotage::{Rule, holds},
    state::{BatchState, MoveState},
    world::{Answer, Changes, Deletion, Head as _, Journal as _, Nas as _, Witness, World},
};

/// While a move is only waiting, the head is asked this often whether somebody changes its rows.
const WATCH_MS: u64 = 15_000;
/// Pause between two looks at a proof or a deletion that takes its time.
const LOOK_MS: u64 = 500;

impl<W: World> Mover<W> {
    /// The next step of a published move.
    pub(crate) async fn keep_or_reclaim(&self, record: &Move) -> Result<(), StepError> {
        if record.cancelled || record.decision == Some(Decision::KeepHot) {
            return self.cancel_published(record).await;
        }
        if !record.told {
            return self.tell(record).await;
        }
        self.same_head(record).await?;
        if record.decision == Some(Decision::KeepCold) {
            return self.keep_cold(record).await;
        }
        let changes = self.settled_changes(record).await?;
        if !self.has_looked_after(record.id, changes.latest) {
            self.look_again(record, &changes).await?;
        }
        self.wait_for_grace(record)?;
        let drained =
            self.world.journal().is_drained(&record.table.logical, record.rows.window, record.changed_in);
        if !drained && holds(Rule::LeasesOfHead) {
            return Err(Wait::passing("queries that read the head's copy are still running", ""));
        }
        self.delete(record).await
    }

    async fn tell(&self, record: &Move) -> Result<(), StepError> {
        let batches = self.batches(record.id);
        let ids = |published: bool| -> Vec<_> {
            let wanted = batches.iter().filter(|b| match b.state {
                BatchState::Published => published,
                // One that was proven, and was found again after a loss of the catalog, stays.
                BatchState::Dropped => !published && !b.retired && !b.proven,
                _ => false,
            });
            wanted.map(|b| b.id).collect()
        };
        self.world.nas().published(&ids(true)).await?;
        // From here on an older catalog would not know what the NAS knows.
        self.witness(record).await?;
        let spent = ids(false);
        if !spent.is_empty() {
            self.world.nas().retire(&spent, Elsewhere::NeverProven).await?;
        }
        let retired = batches.iter().filter(|b| spent.contains(&b.id)).cloned();
        let retired = retired.map(|batch| Batch { retired: true, ..batch }.into());
        self.advance(record, retired, |m| m.told = true)?;
        Ok(())
    }

    /// Notes on the hot server that this catalog, in its version of now, has something that an older copy of it
    /// would not know; answers the version.
    pub(crate) async fn witness(&self, record: &Move) -> Answer<u64> {
        let journal = self.world.journal();
        let version = journal.read(|book| book.version);
        let before = record.rows.window.hi;
        self.world.head().witness(Witness { catalog: journal.catalog(), version, before }).await?;
        Ok(version)
    }

    /// The operator has said that cold is right: what the head has of these rows now is what it should have.
    async fn keep_cold(&self, record: &Move) -> Result<(), StepError> {
        let changes = self.settled_changes(record).await?;
        let now = self.world.head().parts(&record.table, record.rows, true).await?;
        self.advance(record, [], |m| {
            m.parts = now;
            m.left = true;
            m.decision = None;
        })?;
        self.note_looked_after(record.id, changes.latest);
        Ok(())
    }

    /// Somebody's mutation has run: if it changed rows of the move, the head is right.
    async fn look_again(&self, record: &Move, changes: &Changes) -> Result<(), StepError> {
        let now = self.world.head().parts(&record.table, record.rows, true).await?;
        self.compare_with(record, &now, changes)?;
        if record.parts.is_empty() && record.sent == Some(sum(&now)) {
            // It was found again on the NAS: the head has all of its rows, and from now on it is told what becomes of them.
            self.advance(record, [], |m| (m.parts, m.left) = (now, false))?;
        }
        self.note_looked_after(record.id, changes.latest);
        Ok(())
    }

    fn compare_with(&self, record: &Move, now: &[PartLook], changes: &Changes) -> Result<(), StepError> {
        self.on_difference(record, record.difference(now, changes))
    }

    fn on_difference(&self, record: &Move, found: Difference) -> Result<(), StepError> {
        if !(found.changed || found.grown) {
            return Ok(());
        }
        if found.is_whole() && record.state == MoveState::Published {
            self.again(record, "its rows in the head were changed after it was published")?;
            return Err(Wait::pause(0));
        }
        let what = match (record.state, found.grown) {
            (_, true) => {
                "rows were added to the head's rows of the move (an ATTACH of old block numbers, an UPDATE): they are hidden"
            }
            _ => {
                "rows of the move have left the head while others were changed: which copy is right cannot be told"
            }
        };
        Err(Wait::operator(what, true))
    }

    fn wait_for_grace(&self, record: &Move) -> Result<(), StepError> {
        let (now, grace) = (self.now(), i64::try_from(self.settings.grace_s).unwrap_or(i64::MAX));
        if record.published_at > now {
            // It was published by a clock that was ahead.
            self.advance(record, [], |m| m.published_at = now)?;
        }
        let left = record.published_at.min(now).saturating_add(grace).saturating_sub(now);
        match u64::try_from(left) {
            Ok(left) if left > 0 => Err(Wait::pause(left.saturating_mul(1000).min(WATCH_MS))),
            _ => Ok(()),
        }
    }

    /// Both proofs, then the deletion.
    async fn delete(&self, record: &Move) -> Result<(), StepError> {
        let world = &self.world;
        let batches = self.batches(record.id);
        let published: Vec<&Batch> = batches.iter().filter(|b| b.state == BatchState::Published).collect();
        let ids: Vec<_> = published.iter().map(|batch| batch.id).collect();
        let found = match world.nas().prove(self.nonce(record.id), &ids).await? {
            Ok(found) => found,
            Err(0) => return Err(Wait::pause(LOOK_MS)),
            Err(done) => {
                let what = format!("the NAS is proving its copy: {done} of {} batches", ids.len());
                return Err(StepError::Wait(Wait { what, pause_ms: LOOK_MS, ..Wait::default() }));
            }
        };
        if holds(Rule::FreshNonce) {
            self.forget_nonce(record.id);
        }
        let found = if holds(Rule::ColdProof) {
            found
        } else {
            published.iter().filter_map(|batch| batch.proof.map(|proof| (batch.id, proof))).collect()
        };
        let cold = match ColdWhole::from_proofs(&published, &found) {
            Ok(cold) => cold,
            Err(why) => return self.cold_is_damaged(record, &why).await,
        };
        self.same_head(record).await?;
        let changes = self.settled_changes(record).await?;
        let now = world.head().parts(&record.table, record.rows, true).await?;
        let what = match Deletable::new(record, &cold, &now, &changes) {
            Ok(what) => what,
            Err(found) => return self.on_difference(record, found),
        };
        if record.state == MoveState::Published {
            // A NAS that was put back to an older state may not know that it has the only copy from now on.
            world.nas().published(&ids).await?;
            // The witness first: without it nothing may be deleted, and it alone does no harm.
            let deleted_in = self.witness(record).await?;
            self.advance(record, [], |m| {
                m.state = MoveState::Reclaiming;
                m.deleted_in = deleted_in;
                m.parts.clone_from(&now);
            })?;
        }
        if !now.is_empty() {
            world.head().delete(what).await?;
        }
        Ok(())
    }

    /// The NAS has other rows than were sent, or has lost them.
    pub(crate) async fn cold_is_damaged(&self, record: &Move, why: &str) -> Result<(), StepError> {
        tracing::error!(move_id = %record.id, why, "the cold copy is not what was sent");
        let changes = self.settled_changes(record).await?;
        let now = self.world.head().parts(&record.table, record.rows, true).await?;
        let whole = HeadWhole::from_parts(record, &now, &changes);
        if record.state == MoveState::Published && whole.is_some() {
            self.again(record, why)?;
            return Err(Wait::pause(0));
        }
        let what = format!("the cold copy is damaged, and the head has lost its rows: {why}");
        Err(StepError::Wait(Wait {
            what,
            help: "restore the cold table from a backup of the NAS".into(),
            operator: true,
            unsafe_to_read: true,
            ..Wait::default()
        }))
    }

    /// The next step of a move whose rows are being deleted.
    pub(crate) async fn finish_deletion(&self, record: &Move) -> Result<(), StepError> {
        self.same_head(record).await?;
        if record.decision == Some(Decision::KeepCold) {
            return self.keep_cold(record).await;
        }
        match self.world.head().deletion(record).await? {
            _ if !holds(Rule::HiddenUntilGone) => {}
            Deletion::Running(None) => return Err(Wait::pause(LOOK_MS)),
            Deletion::Running(Some(why)) => {
                let help = "the rows are hidden meanwhile; see system.mutations of the hot engine";
                return Err(Wait::passing(format!("the head's rows cannot be deleted: {why}"), help));
            }
            Deletion::Absent | Deletion::Done => {}
        }
        let left = self.world.head().parts(&record.table, record.rows, false).await?;
        if sum(&left).rows > 0 && holds(Rule::HiddenUntilGone) {
            return self.delete(record).await;
        }
        self.reclaimed(record)
    }

    pub(crate) fn reclaimed(&self, record: &Move) -> Result<(), StepError> {
        let now = self.now();
        self.advance(record, [], |m| {
            m.state = MoveState::Reclaimed;
            m.reclaimed_at = now;
        })?;
        let rows = record.sent.map_or(0, |sent| sent.rows);
        tracing::info!(move_id = %record.id, table = record.table.logical, rows, "reclaimed");
        Ok(())
    }
}
