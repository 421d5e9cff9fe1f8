//! Market data: MarketPrism's eight tables and rows for them, real or made alike.

mod distribution;
mod files;
pub mod fit;
mod fitted;
mod generator;
mod load;
mod rows;
pub mod tables;
mod trickle;

pub use files::Files;
pub use load::{Loaded, Plan, Source, load, load_trades};
