//! A table as a stack's configuration lists it.

/// One managed table.
#[derive(Debug, Clone)]
pub struct ManagedTable {
    /// Logical name.
    pub name: String,
    /// `database.table` of the head.
    pub hot: String,
    /// `database.table` on the cold side.
    pub cold: String,
    /// Time column.
    pub time_column: String,
    /// ORDER BY of the cold table; the head's when `None`.
    pub cold_order_by: Option<String>,
}

impl ManagedTable {
    /// A table that has its logical name on both sides, in the databases given.
    pub fn named(name: &str, hot_database: &str, cold_database: &str, time_column: &str) -> Self {
        Self {
            name: name.to_owned(),
            hot: format!("{hot_database}.{name}"),
            cold: format!("{cold_database}.{name}"),
            time_column: time_column.to_owned(),
            cold_order_by: None,
        }
    }
}
