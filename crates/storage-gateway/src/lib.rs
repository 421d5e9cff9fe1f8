//! The daemon on the NAS.
//!
//! It receives batches of expired rows, proves them whole, keeps them in its ClickHouse, answers
//! reads of them, and tells the service in the cloud how it stands.
//!
//! | room | what lives there |
//! |---|---|
//! | [`api`] | the HTTP interface |
//! | [`ingest`] | batches on their way in: spool, proof, attach |
//! | [`cold`] | the cold ClickHouse: tables, ledger, proofs, reads |
//! | [`identity`] | who this gateway is, and whose batches it takes |
//! | [`journal`] | what has been promised, in SQLite |
//! | [`connector`] | heartbeats and confirmations to the service |
//! | [`proofs`] | proofs of many batches, as jobs |
//! | [`janitor`] | removes what belongs to nobody |
//! | [`start`] | all of them built from the configuration, their tasks started |
//!
//! Three places know something about a batch, and each is believed only for its own part: the
//! journal for what was promised, the spool's bytes for what was received, the engine's tables for
//! where the rows are. After any crash of any process the other two are looked at again.

pub mod api;
mod clock;
pub mod cold;
pub mod connector;
pub mod error;
pub mod gateway;
pub mod identity;
pub mod ingest;
pub mod janitor;
pub mod journal;
pub mod proofs;
pub mod start;
