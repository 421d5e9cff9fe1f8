//! What a managed table is, in the engine's own words, and whether it can be managed at all.

use clickhouse_sql::{TableName, quote};
use serde::Deserialize;
use storage_config::TableConfig;
use storage_types::{Column, time_sql};

use super::{EngineText, Hot, HotError, METADATA, in_system_table, in_tables, shortest_ttl_rule};
use moves::ManagedTable;

/// A table and what of it matters beyond [`ManagedTable`].
#[derive(Debug, Clone)]
pub struct Described {
    /// The table.
    pub table: ManagedTable,
    /// Its engine clause.
    pub engine: EngineText,
}

/// Why a table cannot be managed: a sentence for its owner.
pub type Refused = String;

#[derive(Deserialize)]
struct TableRow {
    engine: String,
    engine_full: String,
    partition_key: String,
    sorting_key: String,
    create_table_query: String,
}

#[derive(Deserialize)]
struct ColumnRow {
    name: String,
    data_type: String,
    default_kind: String,
}

impl Hot {
    /// Describes a configured table; `Ok(Err(reason))` when it exists in a form that cannot be moved
    /// without changing or losing rows.
    pub async fn describe(&self, config: &TableConfig) -> Result<Result<Described, Refused>, HotError> {
        let head = TableName::new(&config.hot_database, &config.hot_table);
        // String literals (comments, defaults) may hold any word: they are cut out before TTL is looked for.
        let sql = format!(
            r"SELECT engine, engine_full, partition_key, sorting_key,
                     replaceRegexpAll(create_table_query, '\'(?:[^\'\\\\]|\\\\.)*\'', '') AS create_table_query
              FROM system.tables WHERE {}",
            in_tables(&head)
        );
        let found: Vec<TableRow> = self.rows("describe the table", sql, METADATA).await?;
        let Some(row) = found.into_iter().next() else {
            return Ok(Err(format!("table {head} does not exist on the hot engine")));
        };
        let sql = format!(
            "SELECT name, type AS data_type, default_kind FROM system.columns WHERE {} ORDER BY position",
            in_system_table(&head)
        );
        let columns: Vec<ColumnRow> = self.rows("describe the columns", sql, METADATA).await?;
        Ok(judge(config, row, columns))
    }

    /// Seconds from a row's time to the moment the engine may delete it by TTL: the shortest rule.
    /// `Ok(None)`: no rule deletes. `Err(reason)` inside: nobody can say.
    pub async fn ttl_seconds(&self, described: &Described) -> Result<Result<Option<i64>, Refused>, HotError> {
        let Some(ttl) = &described.engine.ttl else { return Ok(Ok(None)) };
        let Some(rules) = shortest_ttl_rule(ttl) else {
            return Ok(Err(format!("its TTL ({ttl}) changes rows in a way that cannot be followed")));
        };
        let mut shortest = None;
        for rule in rules {
            match self.ttl_rule_seconds(&described.table, &rule).await {
                Ok(seconds) => shortest = Some(shortest.map_or(seconds, |s: i64| s.min(seconds))),
                Err(error) if error.is_passing() => return Err(error),
                Err(_) => {
                    return Ok(Err(format!(
                        "its TTL ({rule}) does not depend on {} alone",
                        described.table.time_column
                    )));
                }
            }
        }
        Ok(Ok(shortest))
    }

    async fn ttl_rule_seconds(&self, table: &ManagedTable, rule: &str) -> Result<i64, HotError> {
        #[derive(Deserialize)]
        struct Row {
            seconds: i64,
        }
        const PROBE: i64 = 1_700_006_400;
        let sql = format!(
            "SELECT toInt64(toUnixTimestamp(toDateTime({rule}, 'UTC'))) - {PROBE} AS seconds \
             FROM (SELECT CAST(toDateTime({PROBE}, 'UTC'), {}) AS {})",
            quote::string(&table.time_type),
            quote::ident(&table.time_column)
        );
        let rows: Vec<Row> = self.rows("evaluate the TTL", sql, METADATA).await?;
        rows.first()
            .map(|row| row.seconds)
            .ok_or_else(|| HotError::Unexpected { what: "evaluate the TTL", reason: "no answer".into() })
    }

    /// Removes the table's TTL; the rows stay.
    pub async fn remove_ttl(&self, table: &TableName) -> Result<(), HotError> {
        self.run("remove the TTL", format!("ALTER TABLE {table} REMOVE TTL"), METADATA).await
    }
}

fn judge(config: &TableConfig, row: TableRow, columns: Vec<ColumnRow>) -> Result<Described, Refused> {
    let head = TableName::new(&config.hot_database, &config.hot_table);
    if row.engine.starts_with("Replicated") || row.engine.starts_with("Shared") {
        return Err(format!("{head} is a {}; replicated heads are not supported", row.engine));
    }
    if row.engine != "MergeTree" {
        return Err(format!(
            "{head} is a {}; only plain MergeTree keeps its rows as they were inserted",
            row.engine
        ));
    }
    let engine = EngineText::parse(&row.engine_full)
        .map_err(|why| format!("the definition of {head} cannot be read: {why}"))?;
    let ttls = row.create_table_query.matches(" TTL ").count();
    if ttls > usize::from(engine.ttl.is_some()) {
        return Err(format!("a column of {head} has a TTL, which would change rows while they are moved"));
    }
    if let Some(column) = columns.iter().find(|c| is_reserved(&c.name)) {
        return Err(format!(
            "{head} has a column named {}, a name that moving needs for itself",
            column.name
        ));
    }
    if let Some(column) = columns.iter().find(|c| is_lost_by_moving(&c.default_kind)) {
        return Err(format!(
            "column {} of {head} is {}: its values would not be moved with the row",
            column.name, column.default_kind
        ));
    }
    let ordinary: Vec<Column> = columns
        .into_iter()
        .filter(|c| c.default_kind != "ALIAS")
        .map(|c| Column { name: c.name, data_type: c.data_type })
        .collect();
    if let Some(column) = ordinary.iter().find(|c| !is_hashable(&c.data_type)) {
        return Err(format!(
            "column {} of {head} is a {}, which cannot be hashed",
            column.name, column.data_type
        ));
    }
    let Some(time) = ordinary.iter().find(|c| c.name == config.time_column) else {
        return Err(format!("{head} has no ordinary column {}", config.time_column));
    };
    if !time_sql::is_time_type(&time.data_type) {
        return Err(format!(
            "time column {} of {head} is a {}; Date, Date32, DateTime or DateTime64 is needed",
            time.name, time.data_type
        ));
    }
    let table = ManagedTable {
        logical: config.logical.clone(),
        head: (head.database, head.table),
        cold: (config.cold_database.clone(), config.cold_table.clone()),
        time_column: config.time_column.clone(),
        time_type: time.data_type.clone(),
        columns: ordinary,
        partition_key: row.partition_key,
        cold_sorting_key: config.cold_order_by.clone().unwrap_or_else(|| row.sorting_key.clone()),
        sorting_key: row.sorting_key,
    };
    Ok(Described { table, engine })
}

/// Names that statements of ours use for something else: ClickHouse's virtual columns, which a column of the
/// table, ALIAS or not, would hide; our own aliases, which would hide the column; and the cold table's `_batch`.
fn is_reserved(column: &str) -> bool {
    matches!(column, "_batch" | "_block_number" | "_part" | "_partition_id" | "_row_exists")
        || column.starts_with("_storage_")
}

/// Whether a column of this kind (`system.columns.default_kind`) holds what only the head has. A MATERIALIZED
/// column is stored, cannot be computed again (`now()`), and no INSERT names it. An EPHEMERAL one is stored
/// nowhere, but other columns are computed from it while a row is inserted. A kind that is not known yet may do either.
fn is_lost_by_moving(default_kind: &str) -> bool {
    !matches!(default_kind, "" | "DEFAULT" | "ALIAS")
}

/// Types whose values `sipHash128` does not take, or does not take alike on both sides.
fn is_hashable(data_type: &str) -> bool {
    !["JSON", "Object(", "Dynamic", "Variant(", "AggregateFunction("].iter().any(|name| {
        data_type.starts_with(name)
            || data_type.contains(&format!("({name}"))
            || data_type.contains(&format!(" {name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TableConfig {
        TableConfig {
            logical: "t".into(),
            hot_database: "hot".into(),
            hot_table: "t".into(),
            cold_database: "cold".into(),
            cold_table: "t".into(),
            time_column: "ts".into(),
            cold_order_by: None,
            ttl_acknowledged: false,
        }
    }

    fn row() -> TableRow {
        TableRow {
            engine: "MergeTree".into(),
            engine_full: "MergeTree PARTITION BY toYYYYMM(ts) ORDER BY ts".into(),
            partition_key: "toYYYYMM(ts)".into(),
            sorting_key: "ts".into(),
            create_table_query: String::new(),
        }
    }

    fn column(name: &str, data_type: &str) -> ColumnRow {
        ColumnRow { name: name.into(), data_type: data_type.into(), default_kind: String::new() }
    }

    #[test]
    fn tables_that_would_lose_or_change_rows_are_refused_with_the_reason() {
        let good = || vec![column("ts", "DateTime"), column("v", "Array(Tuple(a UInt8, b String))")];
        assert!(judge(&config(), row(), good()).is_ok());
        let mut cases: Vec<(TableRow, Vec<ColumnRow>, &str)> = vec![
            (row(), vec![column("v", "UInt8")], "no ordinary column ts"),
            (row(), vec![column("ts", "Nullable(DateTime)")], "time column"),
            (row(), vec![column("ts", "DateTime"), column("j", "Array(JSON)")], "cannot be hashed"),
            (row(), vec![column("ts", "DateTime"), column("_batch", "UInt64")], "_batch"),
        ];
        for (engine, word) in
            [("ReplacingMergeTree", "plain MergeTree"), ("ReplicatedMergeTree", "not supported")]
        {
            cases.push((TableRow { engine: engine.into(), ..row() }, good(), word));
        }
        cases.push((
            TableRow { create_table_query: "(`v` UInt8 TTL ts + 1)".replace("TTL", " TTL "), ..row() },
            good(),
            "column of",
        ));
        for name in ["_block_number", "_part", "_partition_id", "_row_exists", "_storage_rows"] {
            let alias = ColumnRow { default_kind: "ALIAS".into(), ..column(name, "UInt8") };
            cases.push((row(), vec![column("ts", "DateTime"), alias], name));
        }
        for kind in ["MATERIALIZED", "EPHEMERAL", "SOME_NEW_KIND"] {
            let of_kind = ColumnRow { default_kind: kind.into(), ..column("arrived", "DateTime") };
            cases.push((row(), vec![column("ts", "DateTime"), of_kind], "column arrived of"));
        }
        for (row, columns, word) in cases {
            let reason = judge(&config(), row, columns).err().unwrap_or_default();
            assert!(reason.contains(word), "{reason:?} does not name {word:?}");
        }
    }
}
