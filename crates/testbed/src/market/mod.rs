//! Market data: MarketPrism's eight tables and rows for them, real or made alike.

mod distribution;
mod files;
pub mod fit;
mod fitted;
mod generator;
mod layout;
mod load;
mod rows;
pub mod tables;
mod trickle;

use std::path::PathBuf;

use clickhouse_sql::accounts::{ColdRows, server_script};
pub use files::Files;
pub use layout::Layout;
pub use load::{Loaded, Plan, Source, load, load_trades};

use crate::stack::Options;

/// `deploy/sql`: every file's name and text.
pub fn deploy_files() -> Vec<(&'static str, String)> {
    let databases = [tables::HOT, tables::COLD, "storage_internal"];
    let accounts = |cold_rows| server_script(&databases, "http://data-storage-service:8002", cold_rows);
    let mut files: Vec<_> = Layout::ALL.into_iter().map(|layout| (layout.file(), layout.sql())).collect();
    files.push(("accounts.sql", accounts(ColdRows::ByQueryAccount)));
    files.push(("accounts-25.8.sql", accounts(ColdRows::BySpliceAccount)));
    files
}

/// A stack in `dir` that manages the eight tables.
pub fn options(dir: impl Into<PathBuf>) -> Options {
    let mut options = Options::new(dir);
    options.config.tables = tables::managed();
    options
}
