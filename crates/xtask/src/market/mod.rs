//! Market data: MarketPrism's eight tables and rows for them.

pub mod tables;
