//! What must be known of the hot engine before a query can be planned, and its errors as ours.

use std::time::Duration;

use clickhouse_http::client::{Client, Error};
use hybrid_planner::HEAD_REPLACED;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::QueryError;

/// Longest wait for the hot engine's facts.
const FACTS_WAIT: Duration = Duration::from_secs(10);
/// `FUNCTION_THROW_IF_VALUE_IS_NON_ZERO`.
const THROWN: i32 = 395;
/// How often dead nodes are tried and facts are read again.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Facts of the hot engine that plans depend on.
pub struct HotFacts {
    hot: Client,
    database: String,
    timezone: Mutex<Option<String>>,
}

impl HotFacts {
    /// Nothing is asked yet.
    pub fn new(hot: Client, database: String) -> Self {
        Self { hot, database, timezone: Mutex::new(None) }
    }

    /// Database of unqualified names.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The engine's time zone. It changes only with the engine's configuration; the prober keeps it
    /// fresh, so that only the first query of all may have to ask.
    pub async fn timezone(&self) -> Result<String, QueryError> {
        let known = self.timezone.lock().clone();
        match known {
            Some(timezone) => Ok(timezone),
            None => self.refresh().await,
        }
    }

    async fn refresh(&self) -> Result<String, QueryError> {
        let asked = self.hot.query("SELECT timezone() FORMAT TSVRaw").readonly().deadline(FACTS_WAIT);
        let timezone = asked.text().await?.trim().to_owned();
        *self.timezone.lock() = Some(timezone.clone());
        Ok(timezone)
    }
}

impl super::Router {
    /// The prober: tries dead nodes again and keeps the facts fresh, until `stop`. A change of the hot
    /// engine's state is logged once.
    pub async fn probe(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut well = true;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let round = async {
                self.clients.queries.probe().await;
                self.facts.refresh().await
            };
            let Some(found) = stop.run_until_cancelled(round).await else { return };
            match &found {
                Err(error) if well => tracing::warn!("{error}"),
                Ok(_) if !well => tracing::info!("hot ClickHouse answers again"),
                _ => {}
            }
            well = found.is_ok();
        }
    }
}

impl From<Error> for QueryError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Server { code: THROWN, .. } if text.contains(HEAD_REPLACED) => {
                let from = text.find(HEAD_REPLACED).unwrap_or_default();
                let said = text.get(from..).unwrap_or_default();
                Self::HeadReplaced(said.split(": while ").next().unwrap_or_default().to_owned())
            }
            Error::Server { code, .. } => Self::Engine { code, message: text },
            Error::Unreachable { .. } => Self::HotUnavailable(text),
            Error::Deadline { .. } => Self::Deadline(text),
            _ => Self::HotBroken(text),
        }
    }
}
