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

/// A stack in `dir` that manages the eight tables.
pub fn options(dir: impl Into<PathBuf>) -> Options {
    let mut options = Options::new(dir);
    options.config.tables = tables::managed();
    options
}
