//! The TTL guard: a table's own TTL deletes rows whether they were archived or not.

use storage_config::TableConfig;

use crate::hot::{Described, Hot, HotError};

/// A day, seconds.
const DAY: i64 = 86_400;

/// What the guard says about a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TtlVerdict {
    /// No rule deletes before a row is archived, or the operator knows.
    Safe,
    /// Rows could be deleted unarchived; the reason is for the operator.
    Deletes(String),
}

/// Judges the TTL of a table: it must keep rows for `retention_days` plus the longest absence of the
/// NAS that is to cost nothing.
pub async fn judge_ttl(
    hot: &Hot,
    described: &Described,
    config: &TableConfig,
    retention_days: u32,
    outage_days: u32,
) -> Result<TtlVerdict, HotError> {
    if config.ttl_acknowledged {
        return Ok(TtlVerdict::Safe);
    }
    let needed = i64::from(retention_days) + i64::from(outage_days);
    let name = &config.logical;
    let advice = format!("take it over with `storagectl table adopt {name}`, or set ttl_acknowledged");
    Ok(match hot.ttl_seconds(described).await? {
        Ok(None) => TtlVerdict::Safe,
        Ok(Some(seconds)) if seconds >= needed.saturating_mul(DAY) => TtlVerdict::Safe,
        Ok(Some(seconds)) => TtlVerdict::Deletes(format!(
            "its TTL deletes rows after {:.1} days, archived or not; {retention_days} days of retention and an \
             outage of {outage_days} need {needed}; {advice}",
            seconds as f64 / DAY as f64
        )),
        Err(reason) => {
            TtlVerdict::Deletes(format!("{reason}, so it may delete rows that are not archived; {advice}"))
        }
    })
}
