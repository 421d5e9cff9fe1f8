//! The hot engine, as the steps ask it: statements of [`crate::hot`], their failures told apart.

use fault_points::{Moment, Step};
use moves::{
    ManagedTable, Move, PartLook, RowSet, Trouble,
    receipt::Deletable,
    world::{Answer, Changes, Deletion, Head, HeadLook, Witness},
};
use storage_types::TimeRange;

use super::{Real, at};
use crate::{
    hot::{self, HotError, head_of},
    migrator::trust::WITNESSED,
};

/// What a failed statement is to a move.
pub(in crate::migrator) fn trouble(error: HotError) -> Trouble {
    let text = error.to_string();
    match error.code() {
        Some(clickhouse_http::NOT_ENOUGH_SPACE) => Trouble::Full(format!("hot engine: {text}")),
        _ if error.is_passing() => Trouble::HotAway(text),
        _ => Trouble::HotRefuses(text),
    }
}

/// Another table answers to the head's name.
pub(super) fn replaced(table: &ManagedTable) -> Trouble {
    Trouble::HeadReplaced(format!("{} is not the table that the move was opened on", head_of(table)))
}

/// The block numbers in a part's name, `partition_min_max_level[_mutation]`.
fn blocks(part: &str, partition_id: &str) -> Option<(u64, u64)> {
    let numbers = part.strip_prefix(partition_id)?.strip_prefix('_')?;
    let mut numbers = numbers.split('_').map(str::parse::<u64>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

impl Head for Real {
    async fn look(&self, table: &ManagedTable) -> Answer<HeadLook> {
        let unmanaged = |reason: String| Trouble::Unmanaged(format!("{}: {reason}", table.logical));
        let config = self.tables.iter().find(|config| config.logical == table.logical);
        let config = config.ok_or_else(|| unmanaged("it is no longer in the configuration".into()))?;
        let described = self.hot.describe(config).await.map_err(trouble)?.map_err(unmanaged)?;
        let head = head_of(&described.table);
        // The count first: another table that comes between the two is one that has another UUID.
        let highest = self.hot.watermark(&head).await.map_err(trouble)?;
        let place = self.hot.place(&head).await.map_err(trouble)?;
        let place = place.ok_or_else(|| unmanaged("it does not exist".into()))?;
        Ok(HeadLook { place, table: described.table, highest })
    }

    async fn keep_block_numbers(&self, table: &ManagedTable) -> Answer<()> {
        self.hot.keep_block_numbers(&head_of(table)).await.map_err(trouble)
    }

    async fn watermark(&self, table: &ManagedTable, _window: TimeRange) -> Answer<u64> {
        self.hot.watermark(&head_of(table)).await.map_err(trouble)
    }

    async fn histogram(
        &self,
        table: &ManagedTable,
        rows: RowSet,
        seconds: i64,
    ) -> Answer<Vec<(TimeRange, u64)>> {
        self.hot.histogram(table, &rows, seconds).await.map_err(trouble)
    }

    async fn classes(&self, table: &ManagedTable, rows: RowSet, divisor: u32) -> Answer<Vec<u64>> {
        self.hot.classes(table, &rows, divisor).await.map_err(trouble)
    }

    async fn row_bytes(&self, table: &ManagedTable) -> Answer<u64> {
        self.hot.row_bytes(&head_of(table)).await.map_err(trouble)
    }

    async fn parts(&self, table: &ManagedTable, rows: RowSet, hashed: bool) -> Answer<Vec<PartLook>> {
        let found = self.hot.head_proof(table, &rows, hashed).await.map_err(trouble)?;
        let looks = found.into_iter().map(|part| {
            let blocks = blocks(&part.part, &part.partition_id);
            let blocks = blocks.ok_or_else(|| Trouble::HotRefuses(format!("part name {:?}", part.part)))?;
            Ok(PartLook { blocks, rows_in_part: part.rows_in_part, proof: part.proof, part: part.part })
        });
        looks.collect()
    }

    async fn changes(&self, table: &ManagedTable, watermark: u64) -> Answer<Changes> {
        let found = self.hot.changes_since(&head_of(table), watermark).await.map_err(trouble)?;
        Ok(Changes {
            pending: found.pending.into_iter().next(),
            defaults: found.defaults,
            deletes: found.deletes,
            expires: found.expires,
            latest: found.latest,
        })
    }

    async fn witness(&self, witness: Witness) -> Answer<()> {
        let noted = hot::Witness {
            catalog: witness.catalog,
            version: witness.version,
            before: witness.before,
            at: u32::try_from(super::now()).unwrap_or(0),
        };
        self.hot.write_witness(noted).await.map_err(trouble)?;
        let kept = self.catalog.set_note(WITNESSED, &witness.version.to_string());
        kept.map_err(|error| Trouble::Local(error.to_string()))
    }

    async fn delete(&self, what: Deletable<'_>) -> Answer<()> {
        at(Step::Delete, Moment::BeforeEffect).await;
        let record = what.record();
        let head = head_of(&record.table);
        // A statement cannot name a table by its UUID: who answers to the name is asked right before.
        let place = self.hot.place(&head).await.map_err(trouble)?;
        if place.as_ref() != Some(&record.place) {
            return Err(replaced(&record.table));
        }
        for part in what.whole_parts() {
            // `false`: merged or changed since the look. What is left is looked at again.
            self.hot.drop_part(&head, part).await.map_err(trouble)?;
            at(Step::Delete, Moment::PartDropped).await;
        }
        if what.others() {
            self.hot.delete_rows(&record.table, &record.rows, &marker(record)).await.map_err(trouble)?;
        }
        at(Step::Delete, Moment::AfterEffect).await;
        Ok(())
    }

    async fn deletion(&self, record: &Move) -> Answer<Deletion> {
        self.hot.deletion_of(&head_of(&record.table), &marker(record)).await.map_err(trouble)
    }
}

fn marker(record: &Move) -> String {
    record.id.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_numbers_are_read_from_part_names() {
        assert_eq!(blocks("20260110_3_17_2", "20260110"), Some((3, 17)));
        assert_eq!(blocks("2026-1-x_3_17_2_40", "2026-1-x"), Some((3, 17)));
        assert_eq!(blocks("all_1_1_0", "all"), Some((1, 1)));
        assert_eq!(blocks("all_1_1_0", "other"), None);
    }
}
