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

pub use files::Files;
pub use layout::Layout;
pub use load::{Loaded, Plan, Source, load, load_trades};

use crate::stack::Options;

/// `deploy/sql`: every file's name and text.
pub fn deploy_files() -> Vec<(&'static str, String)> {
    let databases = [tables::HOT, tables::COLD, "storage_internal"];
    let accounts = clickhouse_sql::accounts::server_script(&databases, "http://data-storage-service:8002");
    let mut files: Vec<_> = Layout::ALL.into_iter().map(|layout| (layout.file(), layout.sql())).collect();
    files.push(("accounts.sql", accounts));
    files
}

/// A stack in `dir` that manages the eight tables.
pub fn options(dir: impl Into<PathBuf>) -> Options {
    let mut options = Options::new(dir);
    options.config.tables = tables::managed();
    options
}
