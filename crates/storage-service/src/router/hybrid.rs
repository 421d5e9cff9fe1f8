//! Running a plan on the hot engine, with its cold reads flowing in.

use std::{sync::Arc, time::Duration};

use clickhouse_http::client::{Client, Query as Request};
use clickhouse_sql::quote;
use futures::{StreamExt, TryStreamExt};
use hybrid_planner::{ColdScan, Plan};
use storage_types::gateway_api::ColdQuery;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    HotBytes, QueryError, Router,
    cold::{ColdProgress, ColdRead},
    format::AnswerFormat,
    query_log::QueryRecord,
    tickets::TicketBook,
};

/// Cold reads of one query.
const MAX_COLD_READS: usize = 64;
/// Cold reads that are opened before the hot engine is asked; the rest when it comes for them.
const OPENED_FIRST: usize = 4;
/// Cold streams at once; what a gateway serves unless it is told otherwise.
pub(super) const COLD_AT_ONCE: usize = 8;
/// Longest wait for places among them.
const COLD_PLACE_WAIT: Duration = Duration::from_secs(60);
/// Longest time without a byte from the hot engine: an aggregate may think long before its first row.
const HOT_SILENCE: Duration = Duration::from_secs(900);
/// Most cold bytes that go to the hot engine as external tables.
const EXTERNAL_LIMIT_BYTES: u64 = 64 << 20;

/// `url()` must neither try twice, nor ask HEAD, nor split into ranges, nor give up on a cold query
/// that takes long to its first row (our own stream ends when the NAS is away).
const URL_SETTINGS: [(&str, &str); 8] = [
    ("http_max_tries", "1"),
    ("http_make_head_request", "0"),
    ("http_connection_timeout", "5"),
    ("http_receive_timeout", "1200"),
    ("max_http_get_redirects", "0"),
    ("max_download_threads", "1"),
    ("engine_url_skip_empty_files", "0"),
    ("schema_inference_use_cache_for_url", "0"),
];

/// ClickHouse 26.7 may read a projection in the head's place, and there compares other block numbers than the
/// rows': rows that came late would be missing, without an error. Off where a text compares them.
const PROJECTIONS: &str = "optimize_use_projections";

/// One run of a planned query.
pub(super) struct Run<'a> {
    pub router: &'a Router,
    pub query_id: &'a str,
    pub format: &'a AnswerFormat,
    /// The caller's harmless settings.
    pub settings: &'a [(String, String)],
    pub record: &'a Arc<QueryRecord>,
    /// Where the hot engine fetches cold rows by `url()`; `None`: they go to it as external tables.
    pub base: Option<&'a Url>,
    /// Cancelled when the query ends, however it ends.
    pub stop: &'a CancellationToken,
}

impl Run<'_> {
    /// The caller's text on the hot engine, as a read-only caller. `hides`: rows of the head are left out of it.
    pub(super) async fn hot(&self, sql: &str, hides: bool) -> Result<HotBytes, QueryError> {
        let mut request = self.request(&self.router.clients.queries, sql);
        if hides {
            request = request.setting(PROJECTIONS, "0");
        }
        stream(request.readonly()).await
    }

    /// Our splice of the caller's text, which the engine has judged already, as the query account: it may
    /// read `url()`, so `readonly=2`: still nothing is written, and hanging up still cancels.
    pub(super) async fn hybrid(
        &self,
        plan: &Plan,
        tickets: &mut TicketBook,
        cold: &mut Vec<Arc<ColdProgress>>,
    ) -> Result<HotBytes, QueryError> {
        let Plan::Hybrid { arms, .. } = plan else {
            return Err(QueryError::BadRequest("not a hybrid plan".into()));
        };
        if arms.len() > MAX_COLD_READS {
            return Err(QueryError::TooManyColdReads { arms: arms.len(), limit: MAX_COLD_READS });
        }
        let timezone = self.router.facts.timezone().await?;
        let mut reads: Vec<ColdRead> = (0..).zip(arms).map(|(n, arm)| self.read(n, arm, &timezone)).collect();
        cold.extend(reads.iter().map(|read| Arc::clone(read.progress())));
        self.take_places(&mut reads).await?;
        let first = reads.iter_mut().take(OPENED_FIRST).map(ColdRead::open);
        futures::future::try_join_all(first).await?;
        match self.base {
            Some(base) => self.by_url(plan, reads, base, tickets).await,
            None => self.by_external_tables(plan, arms, reads).await,
        }
    }

    /// Places for the reads that are opened at once, all or none: queries that each held one and waited
    /// for another's would wait for ever.
    async fn take_places(&self, reads: &mut [ColdRead]) -> Result<(), QueryError> {
        let first = reads.len().min(OPENED_FIRST);
        let wanted = u32::try_from(first).unwrap_or(u32::MAX);
        let waiting = Arc::clone(&self.router.cold_places).acquire_many_owned(wanted);
        let Ok(Ok(mut places)) = tokio::time::timeout(COLD_PLACE_WAIT, waiting).await else {
            let waited_s = COLD_PLACE_WAIT.as_secs();
            return Err(QueryError::TooManyQueries { limit: COLD_AT_ONCE, waited_s });
        };
        for read in reads.iter_mut().take(first) {
            read.keep_place(places.split(1));
        }
        Ok(())
    }

    async fn by_url(
        &self,
        plan: &Plan,
        reads: Vec<ColdRead>,
        base: &Url,
        tickets: &mut TicketBook,
    ) -> Result<HotBytes, QueryError> {
        let base = base.as_str().trim_end_matches('/');
        let urls: Vec<String> = reads
            .into_iter()
            .map(|read| format!("{base}/internal/v1/cold/{}", tickets.issue(read)))
            .collect();
        let sql = plan.render(|n, arm| {
            let url = urls.get(n).map(String::as_str).unwrap_or_default();
            format!("url({}, 'Native', {})", quote::string(url), quote::string(&arm.structure))
        });
        let clients = &self.router.clients;
        let splices = clients.splices.as_ref().unwrap_or(&clients.queries);
        let mut request = self.spliced(splices, &sql.unwrap_or_default());
        for (name, value) in URL_SETTINGS {
            request = request.setting(name, value);
        }
        stream(request).await
    }

    async fn by_external_tables(
        &self,
        plan: &Plan,
        arms: &[ColdScan],
        reads: Vec<ColdRead>,
    ) -> Result<HotBytes, QueryError> {
        let name = |n: usize| format!("_storage_cold_{n}");
        let sql = plan.render(|n, _| quote::ident(&name(n)));
        let queries = &self.router.clients.queries;
        let mut request = self.spliced(queries, &sql.unwrap_or_default());
        let mut left = EXTERNAL_LIMIT_BYTES;
        for (n, (arm, read)) in arms.iter().zip(reads).enumerate() {
            let rows = read.collect(left).await.map_err(|error| match error {
                QueryError::ColdTooLarge { .. } => {
                    QueryError::ColdTooLarge { limit_bytes: EXTERNAL_LIMIT_BYTES }
                }
                other => other,
            })?;
            left -= rows.len() as u64;
            request = request.external_table(name(n), arm.structure.clone(), "Native", rows);
        }
        stream(request).await
    }

    fn read(&self, n: u32, arm: &ColdScan, timezone: &str) -> ColdRead {
        let progress = ColdProgress::new(arm.logical.clone(), arm.range, Arc::clone(self.record));
        let query = ColdQuery {
            sql: arm.sql.clone(),
            format: "Native".to_owned(),
            query_id: format!("{}-cold-{n}", self.query_id),
            session_timezone: Some(timezone.to_owned()),
        };
        ColdRead::new(self.router.gateway.clone(), query, progress, self.stop.clone())
    }

    /// A splice of ours.
    fn spliced(&self, client: &Client, sql: &str) -> Request {
        self.request(client, sql).setting("readonly", "2").setting(PROJECTIONS, "0")
    }

    fn request(&self, client: &Client, sql: &str) -> Request {
        let request = client
            .query(sql)
            .database(self.router.facts.database())
            .query_id(self.query_id)
            .format(&self.format.clickhouse)
            .deadline(HOT_SILENCE)
            .setting("priority", 1);
        self.settings.iter().fold(request, |request, (name, value)| request.setting(name, value))
    }
}

async fn stream(request: Request) -> Result<HotBytes, QueryError> {
    let answer = request.stream().await?;
    Ok(answer.map_err(QueryError::from).boxed())
}
