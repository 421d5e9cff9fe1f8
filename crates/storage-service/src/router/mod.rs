//! Queries over both tiers: read, plan, run, stream.
//!
//! The caller's text is judged first: the planner refuses what it can see, and the engine judges the
//! rest as the query account and under `readonly=1`, either by running it so (hot only), or by explaining
//! it so before our own splice of it runs with `url()` in it (hybrid; `readonly=2`, which still writes
//! nothing; as the splice account, where there is one). `explain.rs` says how far that judgement goes.
//!
//! **Consistency**: a query is planned against one leased version of the catalog, and holds the lease
//! until its answer has ended; nothing its plan names is dropped meanwhile. **Wholeness**: see
//! [`running`]: an answer whose cold rows broke off never ends cleanly. **Cancellation**: everything
//! a query holds hangs on its body; dropping that closes the connections to both engines.
//! **Bounds**: queries at once, waiting for a place, cold reads per query, bytes collected, life.
//!
//! A hot-only query costs the hot engine exactly one request.

pub mod cold;
mod error;
mod explain;
mod format;
pub mod hot;
mod hybrid;
mod query_log;
pub mod running;
mod settings;
pub mod tickets;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use hybrid_planner::{CatalogVersion, Plan, PlanKind, PlanRequest, Query, Route};
use storage_types::service_api::{QueryReport, QueryRequest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use url::Url;

pub use error::QueryError;
pub use running::AnswerBody;

use crate::{
    accounts::QueryClients,
    catalog::{Catalog, Lease},
};
use cold::Gateway;
use format::AnswerFormat;
use hot::HotFacts;
use query_log::{QueryFacts, QueryLog};
use running::{RunningQueries, RunningQuery};
use tickets::{TicketBook, Tickets};

/// Queries that run at once.
const MAX_RUNNING: usize = 64;
/// Longest wait for a place among them.
const PLACE_WAIT: Duration = Duration::from_secs(10);

/// A query's answer, on its way.
pub struct Answer {
    /// `Content-Type`.
    pub content_type: String,
    /// The bytes; its record tells route, plan and counts.
    pub body: AnswerBody,
}

/// Bytes of the hot engine's answer.
type HotBytes = BoxStream<'static, Result<bytes::Bytes, QueryError>>;

/// Answers queries.
pub struct Router {
    clients: QueryClients,
    facts: HotFacts,
    gateway: Gateway,
    catalog: Arc<Catalog>,
    /// Where the hot engine reaches this service.
    internal_url: Option<Url>,
    tickets: Arc<Tickets>,
    log: QueryLog,
    runnings: RunningQueries,
    places: Arc<Semaphore>,
    /// Cold streams at once.
    cold_places: Arc<Semaphore>,
}

/// A query that is planned and leased.
struct Planned {
    plan: Plan,
    catalog: Arc<CatalogVersion>,
    lease: Option<Lease>,
    /// Cold rows may be fetched by `url()`.
    by_url: bool,
}

impl Router {
    /// `database`: the hot engine's database of unqualified names. `internal_url`: how the hot engine
    /// reaches this service; without one, cold rows go to it as external tables.
    pub fn new(
        clients: QueryClients,
        database: String,
        gateway: Gateway,
        catalog: Arc<Catalog>,
        internal_url: Option<Url>,
    ) -> Self {
        Self {
            facts: HotFacts::new(clients.queries.clone(), database),
            clients,
            gateway,
            catalog,
            internal_url,
            tickets: Arc::default(),
            log: QueryLog::default(),
            runnings: RunningQueries::default(),
            places: Arc::new(Semaphore::new(MAX_RUNNING)),
            cold_places: Arc::new(Semaphore::new(hybrid::COLD_AT_ONCE)),
        }
    }

    /// Pending cold reads, for the hot engine to fetch.
    pub fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// How a running or recent query goes.
    pub fn query_report(&self, query_id: &str) -> Option<QueryReport> {
        self.log.find(query_id)
    }

    /// The watch over running answers: one task of the daemon.
    pub async fn watch(&self, stop: CancellationToken) {
        self.runnings.watch(stop).await;
    }

    /// Answers `request`: the body streams; an error means that nothing was sent yet. The caller's span
    /// gets the id (`query_id`), and the answer is logged in it to its end.
    pub async fn answer(&self, request: QueryRequest) -> Result<Answer, QueryError> {
        let query_id = query_id(request.query_id.clone())?;
        tracing::Span::current().record("query_id", &query_id);
        let permit = self.place().await?;
        // Before that, a managed table may not be known as one, and would be read from hot alone.
        self.catalog.settled().await.map_err(QueryError::from)?;
        let (query, format) = self.read(&request)?;
        let (query, settings) = settings::lift(query)?;
        let Planned { plan, catalog, lease, by_url } = self.plan(&query, &settings).await?;
        let opening = self.log.begin(facts(&query_id, &plan, catalog.version));
        let QueryFacts { route, plan: shape, cold_batches, .. } = opening.record().facts();
        tracing::debug!(route, plan = shape, cold_batches, "query planned");
        let stop = CancellationToken::new();
        let mut tickets = TicketBook::new(Arc::clone(&self.tickets), stop.clone());
        let mut cold = Vec::new();
        let run = hybrid::Run {
            router: self,
            query_id: &query_id,
            format: &format,
            settings: &settings,
            record: opening.record(),
            base: self.internal_url.as_ref().filter(|_| by_url),
            stop: &stop,
        };
        let started = match &plan {
            Plan::Passthrough => run.hot(query.text(), false).await,
            Plan::Hot { sql, hides, .. } => run.hot(sql, *hides).await,
            Plan::Hybrid { .. } => run.hybrid(&plan, &mut tickets, &mut cold).await,
        };
        let started = match started {
            Ok(stream) => first_bytes(stream).await,
            Err(error) => Err(error),
        };
        let answer = match started {
            Ok(answer) => answer,
            // What the hot engine says of a cold stream that broke off is not the cause.
            Err(error) => return Err(opening.failed(cold.iter().find_map(|c| c.failure()).unwrap_or(error))),
        };
        let open = RunningQuery { answer, cold, tickets, lease, permit };
        let body = self.runnings.begin(open, opening.keep());
        Ok(Answer { content_type: format.content_type.to_owned(), body })
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        let waiting = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(PLACE_WAIT, waiting).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(QueryError::TooManyQueries { limit: MAX_RUNNING, waited_s: PLACE_WAIT.as_secs() }),
        }
    }

    /// The text that is asked, and the format of the answer. A `format` of the request outranks the
    /// text's own FORMAT clause.
    fn read(&self, request: &QueryRequest) -> Result<(Query, AnswerFormat), QueryError> {
        let query = match (&request.sql, &request.table) {
            (Some(sql), None) => hybrid_planner::read(sql)?,
            (None, Some(_)) => {
                hybrid_planner::read(&hybrid_planner::structured(request, &self.catalog.current())?)?
            }
            _ => return Err(QueryError::BadRequest("give exactly one of sql and table".into())),
        };
        let named = request.format.as_deref().map(AnswerFormat::named).transpose();
        let named = named.map_err(QueryError::BadRequest)?;
        match (named, query.format().map(AnswerFormat::clickhouse)) {
            (Some(format), None) => Ok((query, format)),
            (None, Some(format)) => Ok((query, format)),
            (None, None) => Ok((query, AnswerFormat::clickhouse("JSON"))),
            (Some(format), Some(_)) => Ok((hybrid_planner::read(&query.text_without_format())?, format)),
        }
    }

    async fn plan(&self, query: &Query, settings: &[(String, String)]) -> Result<Planned, QueryError> {
        let current = self.catalog.current();
        let database = self.facts.database();
        if query.logical_tables(&current, database)?.is_empty()
            && !query.needs_explain(&current, database, "UTC", 0)
        {
            return Ok(Planned { plan: Plan::Passthrough, catalog: current, lease: None, by_url: false });
        }
        let timezone = self.facts.timezone().await?;
        let now_unix_ns = now_unix_ns();
        let refs = query.time_ranges(&current, database, &timezone, now_unix_ns)?;
        let lease = self.catalog.lease(&refs).await.map_err(QueryError::from)?;
        let catalog = Arc::clone(&lease.snapshot);
        let judge = query.judge_sql(&catalog, database)?;
        let (mut explain, mut judged) = (None, false);
        if query.needs_explain(&catalog, database, &timezone, now_unix_ns) {
            let sql = query.explain_sql(&catalog, database)?;
            judged = sql == judge;
            explain = Some(self.explain(sql, settings).await?);
        }
        let plan = hybrid_planner::plan(&PlanRequest {
            query,
            catalog: &catalog,
            explain: explain.as_deref(),
            database,
            timezone: &timezone,
            now_unix_ns,
            allow_partial: true,
            allow_float: false,
        })?;
        let hybrid = matches!(plan, Plan::Hybrid { .. });
        if hybrid && !judged {
            self.explain(judge, settings).await?;
        }
        let by_url = hybrid && self.was_judged_whole(query).await?;
        Ok(Planned { plan, catalog, lease: Some(lease), by_url })
    }
}

/// Awaits the first bytes, so that an error that comes before them is a clean one.
async fn first_bytes(mut stream: HotBytes) -> Result<HotBytes, QueryError> {
    let first: BoxFuture<'_, _> = Box::pin(stream.next());
    match first.await {
        Some(Ok(bytes)) => Ok(futures::stream::iter([Ok(bytes)]).chain(stream).boxed()),
        Some(Err(error)) => Err(error),
        None => Ok(futures::stream::empty().boxed()),
    }
}

fn facts(query_id: &str, plan: &Plan, catalog_version: u64) -> QueryFacts {
    let (route, shape, why_not_partial, cold_batches) = match plan {
        Plan::Passthrough => ("hot", "passthrough", None, 0),
        Plan::Hot { .. } => ("hot", "passthrough", None, 0),
        Plan::Hybrid { kind, route, arms, why_not_partial, .. } => {
            let shape = match kind {
                PlanKind::Union => "union",
                PlanKind::Partial => "partial",
            };
            let route = match route {
                Route::Cold => "cold",
                Route::Hybrid => "hybrid",
            };
            let batches = arms.iter().map(|arm| arm.batches).sum();
            (route, shape, why_not_partial.clone(), batches)
        }
    };
    QueryFacts {
        query_id: query_id.to_owned(),
        route,
        plan: shape,
        catalog_version,
        why_not_partial,
        cold_batches,
    }
}

/// The caller's id when it is fit for a header and a path, else a fresh one.
fn query_id(given: Option<String>) -> Result<String, QueryError> {
    let Some(id) = given.filter(|id| !id.is_empty()) else { return Ok(uuid::Uuid::new_v4().to_string()) };
    if id.len() > 128 || !id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(QueryError::BadRequest("query_id: at most 128 visible ASCII characters".into()));
    }
    Ok(id)
}

fn now_unix_ns() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}
