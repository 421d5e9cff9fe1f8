//! `storage-service`: the daemon in the cloud. It owns the catalog, answers every query over both
//! tiers, and moves expired rows to the NAS.
//!
//! ```text
//!  callers ──▶ api ──▶ router ──▶ hot engine ──url()──▶ api (cold ticket) ──▶ gateway
//!                        │lease
//!                     catalog ◀── migrator ──▶ hot engine, gateway
//! ```
//!
//! [`start`] builds the rooms and lets one supervisor run their loops; beside those there is a task for
//! each connection.

pub mod accounts;
pub mod api;
pub mod catalog;
pub mod consistency;
pub mod hot;
pub mod link;
pub mod migrator;
pub mod router;
pub mod start;
