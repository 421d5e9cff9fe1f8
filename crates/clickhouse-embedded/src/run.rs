//! One request's statement, on a thread that may block: prepared, run, answered.
//!
//! Three ways through the library (see [`crate::statement`]): a query's output comes through a pipe that
//! a second thread reads, an insert's data are appended as they arrive, anything else is one call.
//!
//! Cancellation: the caller's going away kills the statement by its tag, closes the pipe's reading end or
//! breaks the body off; each of them ends the engine's call, so this thread always comes back.

mod command;
mod empty_native;
pub mod insert;
mod query;
mod settings;

use std::io::Read;
use std::sync::Arc;

use clickhouse_http::server::RequestParameters;

use crate::chdb::{Counts, RawConnection};
use crate::confine::{self, Confinement};
use crate::engine::Engine;
use crate::external::{self, Spooled};
use crate::failure::{Failure, code};
use crate::registry::{Entry, Registry};
use crate::reply::{Reply, gone};
use crate::sessions::{self, Sessions};
use crate::statement::{self, Statement};

/// The longest statement taken, whatever `max_query_size` asks for.
const MAX_QUERY_BYTES: usize = 64 << 20;
/// ClickHouse's own default of `max_query_size`.
const DEFAULT_QUERY_BYTES: usize = 256 << 10;

/// What one request asks for.
pub struct Job {
    /// The URL's parameters.
    pub parameters: RequestParameters,
    /// The body, decoded.
    pub body: Box<dyn Read + Send>,
    /// The external tables' files.
    pub external: Vec<Spooled>,
    /// 0: may write; 1: reads only; 2: reads only, and may change settings.
    pub read_only: u8,
    /// The query among those that run.
    pub entry: Entry,
    /// Who keeps the engine in its folders.
    pub confinement: Confinement,
}

/// What every statement needs.
pub struct Service {
    /// The engine.
    pub engine: Engine,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// The running queries.
    pub registry: Arc<Registry>,
}

/// Runs `job` on a connection of its own, or on its session's, and answers through `reply`.
pub fn run(service: &Service, mut job: Job, mut reply: Reply) {
    let outcome = match job.parameters.session_id.clone() {
        None => once(service, &mut job, &mut reply),
        Some(session) => in_session(service, &session, &mut job, &mut reply),
    };
    if reply.finish(outcome).is_err() {
        tracing::debug!(query_id = job.entry.id(), "the client left before the end of its answer");
    }
}

/// A connection for this statement alone: whatever is set on it ends with it.
fn once(service: &Service, job: &mut Job, reply: &mut Reply) -> Result<Counts, Failure> {
    let mut connection = service.engine.connect()?;
    settings::choose_database(&mut connection, &job.parameters)?;
    external::create(&mut connection, &job.external, &job.parameters)?;
    let _ = job.entry.tag().set(job.entry.id().to_owned());
    settings::apply(&mut connection, &job.parameters, Some(job.entry.id()), job.read_only)?;
    execute(service, &mut connection, job, reply, 0)
}

/// The session's connection: what the request's URL sets is undone afterwards, what its statement sets
/// stays. `readonly` cannot be undone, so the statement carries it instead.
fn in_session(service: &Service, id: &str, job: &mut Job, reply: &mut Reply) -> Result<Counts, Failure> {
    let timeout = sessions::timeout(job.parameters.session_timeout.as_deref())?;
    let mut lease = service.sessions.take(&service.engine, id, timeout, job.parameters.session_check)?;
    let mut tag = job.entry.id().to_owned();
    let old_tag = std::mem::take(&mut lease.tag);
    let Some(connection) = lease.connection() else { return Err(gone()) };
    let before = settings::Before::of(connection, &job.parameters)?;
    let outcome = settings::choose_database(connection, &job.parameters)
        .and_then(|()| external::create(connection, &job.external, &job.parameters))
        .and_then(|()| settings::tag(connection, &tag, &old_tag))
        .and_then(|kept| {
            tag = kept;
            let _ = job.entry.tag().set(tag.clone());
            settings::apply(connection, &job.parameters, None, 0)
        })
        .and_then(|()| execute(service, connection, job, reply, job.read_only));
    // A late kill of this query must not meet what the connection does next, so it gets another tag first.
    let idle = format!("idle-{}", uuid::Uuid::new_v4().simple());
    match settings::tag(connection, &idle, &tag) {
        Ok(kept) => tag = kept,
        Err(failure) => tracing::warn!(%failure, "a session keeps the tag of its last query"),
    }
    before.restore(connection);
    external::remove(connection, &job.external);
    lease.tag = tag;
    outcome
}

/// Runs the statement. `read_only` is the level that the connection does not enforce by itself.
fn execute(
    service: &Service,
    connection: &mut RawConnection,
    job: &mut Job,
    reply: &mut Reply,
    read_only: u8,
) -> Result<Counts, Failure> {
    let limit = query_limit(&job.parameters)?;
    let (text, whole) = read_text(job, limit)?;
    let statement = statement::parse(&text, whole)?;
    if job.confinement == Confinement::NamesOnly {
        let end = if let Statement::Insert(found) = &statement { found.head.len() } else { text.len() };
        confine::refuse_files(&text[..end])?;
    }
    if read_only > 0 && !matches!(statement, Statement::Query(_)) {
        return Err(Failure::new(code::READONLY, "default: Cannot execute query in readonly mode"));
    }
    let output = job.parameters.default_format.clone().unwrap_or_else(|| "TabSeparated".into());
    let parameters = &job.parameters.query_parameters;
    let folder = &service.engine.folders().tmp;
    match statement {
        Statement::Query(mut found) => {
            found.narrow(read_only);
            query::run(folder, connection, &found, &output, parameters, reply)
        }
        Statement::Insert(found) => {
            let data = text[found.data_start..].chain(&mut job.body);
            insert::run(connection, &found, parameters, data)
        }
        Statement::Kill => {
            command::run(connection, &service.registry.translate(&text), &output, parameters, reply)
        }
        Statement::Command => command::run(connection, &text, &output, parameters, reply),
    }
}

fn query_limit(parameters: &RequestParameters) -> Result<usize, Failure> {
    let Some(asked) = parameters.setting("max_query_size") else { return Ok(DEFAULT_QUERY_BYTES) };
    let asked: usize = asked
        .parse()
        .map_err(|_| Failure::new(code::BAD_ARGUMENTS, "max_query_size is not a number of bytes"))?;
    Ok(if asked == 0 { MAX_QUERY_BYTES } else { asked.min(MAX_QUERY_BYTES) })
}

/// The statement's text: the URL's part, a line end, and the body's beginning. The flag says whether the
/// body ended within `limit`.
fn read_text(job: &mut Job, limit: usize) -> Result<(Vec<u8>, bool), Failure> {
    let mut text = job.parameters.query.clone().into_bytes();
    if !text.is_empty() {
        text.push(b'\n');
    }
    // A long URL is within the server's own limit; the body may add as much again.
    let limit = limit + 1 + text.len();
    let mut piece = vec![0; 64 << 10];
    while text.len() < limit {
        let room = piece.len().min(limit - text.len());
        let count = job.body.read(&mut piece[..room]).map_err(|error| body_failure(&error))?;
        if count == 0 {
            return Ok((text, true));
        }
        text.extend_from_slice(&piece[..count]);
    }
    Ok((text, false))
}

/// What a broken body is to ClickHouse: a broken connection, or bytes that do not decompress.
fn body_failure(error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::ConnectionAborted => {
            Failure::new(code::NETWORK_ERROR, format!("Cannot read the request's body: {error}"))
        }
        _ => Failure::new(code::CANNOT_DECOMPRESS, format!("Cannot decode the request's body: {error}")),
    }
}
