//! The nouns of Hybrid Storage: ids, time ranges, batch manifests, lifecycle states, and the
//! bodies of both HTTP APIs. Pure: no I/O, no clock, no randomness.

pub mod gateway_api;
pub mod hash_sql;
pub mod ids;
pub mod lifecycle;
pub mod manifest;
mod secret;
mod sender;
pub mod service_api;
pub mod time_range;
pub mod time_sql;

pub use ids::{BatchId, CatalogId, GatewayId, MigrationId, MoveId};
pub use lifecycle::{BatchState, MoveState};
pub use manifest::{ChunkEntry, Column, ContentHash, Manifest, Origin, Proof, schema_hash};
pub use secret::Secret;
pub use sender::{InvalidSender, SENDER_HEADER, Sender};
pub use time_range::TimeRange;
