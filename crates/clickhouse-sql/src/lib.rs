//! ClickHouse's SQL as text: the one place that reads it, quotes for it, and says what a reader may not
//! write.
//!
//! Pure: text in, answers out. It knows tokens, not grammar: who needs clauses and tables builds them
//! from [`Tokens`] (`hybrid-planner`).
//!
//! - [`lexer`]: tokens that end where ClickHouse's end; [`Tokens`]: one statement of them.
//! - [`quote`]: names and texts into SQL, and back to what they are for the engine.
//! - [`outside`], [`settings`]: the functions that reach beyond the tables, the settings that do no harm.
//! - [`accounts`]: what the account that runs callers' texts may do, as grants.
//! - [`judge`]: a statement held against both, by resolved names, wherever in the text they stand.

pub mod accounts;
pub mod judge;
pub mod lexer;
mod number;
pub mod outside;
pub mod quote;
mod refused;
pub mod settings;
mod sources;
mod table_name;
mod token;
mod tokens;

pub use lexer::{LexError, tokenize};
pub use refused::Refused;
pub use sources::{CLAUSES, IN_CALLS};
pub use table_name::TableName;
pub use token::{Kind, Token};
pub use tokens::Tokens;

/// Longest statement that is read.
pub const MAX_QUERY_BYTES: usize = 1 << 20;
/// Deepest nesting of brackets.
pub const MAX_DEPTH: usize = 200;
