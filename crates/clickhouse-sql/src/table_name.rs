//! The name of a table.

use std::fmt;

use crate::quote;

/// A table in one engine; both parts unquoted. `Display` quotes them with backticks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Database, unquoted.
    pub database: String,
    /// Table, unquoted.
    pub table: String,
}

impl TableName {
    /// From unquoted parts.
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        Self { database: database.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quote::ident(&self.database), quote::ident(&self.table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_itself_quoted() {
        assert_eq!(TableName::new("d", "t.u").to_string(), "`d`.`t.u`");
    }
}
