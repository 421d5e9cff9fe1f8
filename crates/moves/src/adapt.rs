//! When the head is not what it was: it has other columns, or another table answers to its name.

use crate::{
    failure::{StepError, Wait},
    mover::{ANY_BLOCK, Mover},
    publish::is_cut_by_content,
    record::{Batch, Decision, Move, PartLook, RowSet, sum},
    sabotage::{Rule, holds},
    state::{BatchState, MoveState},
    world::{Head as _, HeadLook, Nas as _, World},
};

impl<W: World> Mover<W> {
    /// The head has other columns. A head that has all rows is read again, with them. Where rows have left it,
    /// columns that were only added do no harm: those rows never had them.
    pub(crate) async fn adapt(&self, record: &Move, what: &str) -> Result<(), StepError> {
        let look = self.world.head().look(&record.table).await?;
        if !look.is_head_of(record) {
            return self.compare_heads(record, what).await;
        }
        let added = record.table.columns.iter().all(|column| look.table.columns.contains(column))
            && record.table.time_type == look.table.time_type;
        if record.state != MoveState::Reclaiming {
            // With columns gone, rows cannot be compared; nothing can have left unnoticed while none is asked for.
            let table = &record.table;
            if !added && self.nothing_proven(record) {
                return self.again(record, what);
            }
            let changes = self.settled_changes(record).await?;
            let now = self.world.head().parts(table, record.rows, added).await?;
            if record.difference(&now, &changes).is_whole() {
                return self.again(record, what);
            }
        }
        if !added {
            return Err(Wait::passing(what, "bring back the columns that the move was opened with"));
        }
        self.world.nas().ensure(&look.table).await?;
        self.advance(record, [], |m| m.grown_to = look.table.columns)?;
        Ok(())
    }

    /// Another table answers to the head's name. It may be a copy of the old one (`EXCHANGE TABLES` after an
    /// ALTER by copying), or empty. Or it is the same and counts from a lower number: then its rows may be new ones
    /// or those that were there, and nothing is deleted of them on an operator's word either.
    pub(crate) async fn compare_heads(&self, record: &Move, what: &str) -> Result<(), StepError> {
        let head = self.world.head();
        let look = head.look(&record.table).await?;
        if look.is_head_of(record) {
            return Err(Wait::pause(0));
        }
        // Only then do numbers that are looked at stay what they are.
        head.keep_block_numbers(&record.table).await?;
        let watermark = head.watermark(&record.table, record.rows.window).await?;
        let now = head.parts(&record.table, everything(record), true).await?;
        // An empty table may have been put in its place, or have been emptied there by somebody's DELETE.
        let deleted = now.is_empty() && head.changes(&record.table, 0).await?.deletes;
        let proven = self.all_proven(record).map(|(_, sent)| sent).filter(|sent| sent.rows > 0);
        let same = proven.is_some_and(|sent| sent == sum(&now));
        let rows = RowSet { watermark, ..record.rows };
        match (record.state, record.decision) {
            (MoveState::Planned, _) if same || self.nothing_proven(record) => self.again(record, what),
            (MoveState::Published, _) if same => self.again(record, what),
            (MoveState::Planned | MoveState::Published, Some(Decision::KeepHot)) => self.again(record, what),
            (MoveState::Reclaiming, _) if now.is_empty() => self.reclaimed(record),
            // It was put back to an older state: what was deleted is there again.
            (MoveState::Reclaiming, _) if same => self.adopt(record, look, rows, now),
            // The archive is what is left. Before publishing, what else was done to them is not known.
            (MoveState::Published, decision) if now.is_empty() && (!deleted || decision.is_some()) => {
                self.adopt(record, look, rows, now)
            }
            (state, Some(Decision::KeepCold))
                if look.place == record.place && state != MoveState::Reclaiming =>
            {
                self.advance(record, [], |m| m.decision = None)?;
                Err(counts_again(record, what))
            }
            (_, Some(Decision::KeepCold)) => self.adopt(record, look, rows, now),
            _ if look.place == record.place => Err(counts_again(record, what)),
            (state, _) => Err(Wait::operator(
                format!("{what}, and has not the rows that were sent"),
                state != MoveState::Planned,
            )),
        }
    }

    /// The move goes on over another head: it has none of its rows, or rows that do not count.
    fn adopt(
        &self,
        record: &Move,
        look: HeadLook,
        rows: RowSet,
        now: Vec<PartLook>,
    ) -> Result<(), StepError> {
        let batches = self.batches(record.id);
        let live = batches.into_iter().filter(|batch| batch.state != BatchState::Dropped);
        let (proven, others): (Vec<Batch>, Vec<Batch>) = live.partition(|batch| batch.proven);
        let sent = proven.iter().filter_map(|batch| batch.proof).sum();
        let published = record.state == MoveState::Planned;
        if published && is_cut_by_content(&proven) && holds(Rule::Slices) {
            return self.keep_hot(record, "rows that are cut by content have left with their table");
        }
        let shown = proven.into_iter().filter(|_| published);
        let shown = shown.map(|b| Batch { state: BatchState::Published, ..b }.into());
        let dropped =
            others.into_iter().map(|b| Batch { state: BatchState::Dropped, manifest: None, ..b }.into());
        let now_s = self.now();
        self.advance(record, shown.chain(dropped), |m| {
            m.place = look.place;
            m.rows = rows;
            m.parts = now;
            m.left = true;
            m.decision = None;
            m.grown_to = look.table.columns;
            if published {
                m.state = MoveState::Published;
                m.sent = Some(sent);
                m.published_at = now_s;
                m.told = false;
            }
        })?;
        // Mutations of another table have other numbers.
        self.forget_look(record.id);
        Ok(())
    }

    pub(crate) fn nothing_proven(&self, record: &Move) -> bool {
        !self.batches(record.id).iter().any(|batch| batch.proven && !batch.retired)
    }
}

fn counts_again(record: &Move, what: &str) -> StepError {
    let (database, table) = &record.table.head;
    let (window, id) = (record.rows.window, record.id);
    let then = match record.state {
        MoveState::Reclaiming => format!("then `storagectl move keep-cold {id}`"),
        _ => format!("or keep those of {database}.{table} with `storagectl move keep-hot {id}`"),
    };
    StepError::Wait(Wait {
        what: format!("{what}, and has not the rows that were sent"),
        help: format!(
            "to keep the archive's rows of {window} move those of {database}.{table} out, and insert what is new of \
             them again afterwards; {then}"
        ),
        operator: true,
        unsafe_to_read: record.state != MoveState::Planned,
        ..Wait::default()
    })
}

/// Every row of the move's window, whatever its number: of a head that counts from one again.
pub(crate) fn everything(record: &Move) -> RowSet {
    RowSet { watermark: ANY_BLOCK, ..record.rows }
}
