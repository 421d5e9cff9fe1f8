//! One request's statement, on a thread that may block: prepared, run, answered.
//!
//! Three ways through the library (see [`crate::statement`]): a query's output comes through a pipe that
//! a second thread reads, an insert's data are appended as they arrive, anything else is one call.
//!
//! Cancellation: the caller's going away kills the statement by its tag, closes the pipe's reading end or
//! breaks the body off; each of them ends the engine's call, so this thread always comes back.

mod command;
mod empty_native;
mod insert;
mod query;

use std::io::Read;

use clickhouse_http::server::RequestParameters;

use crate::chdb::{Counts, RawConnection};
use crate::engine::{Engine, TAG_SETTING, identifier, literal};
use crate::failure::{Failure, code};
use crate::reply::Reply;
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
    /// 0: may write; 1: reads only; 2: reads only, and may change settings.
    pub read_only: u8,
    /// The statement's tag in the engine.
    pub tag: String,
}

/// Runs `job` on a connection of its own and answers through `reply`.
pub fn run(engine: &Engine, mut job: Job, mut reply: Reply) {
    let outcome = engine.connect().and_then(|mut connection| {
        prepare(&mut connection, &job)?;
        execute(engine, &mut connection, &mut job, &mut reply)
    });
    if reply.finish(outcome).is_err() {
        tracing::debug!(tag = job.tag, "the client left before the end of its answer");
    }
}

/// Gives the connection the request's database and settings.
fn prepare(connection: &mut RawConnection, job: &Job) -> Result<(), Failure> {
    let call = |connection: &mut RawConnection, sql: String| {
        connection.query(sql.as_bytes(), "Null", &[]).map(drop).map_err(|text| Failure::from_engine(&text))
    };
    if let Some(database) = &job.parameters.database {
        call(connection, format!("USE {}", identifier(database)))?;
    }
    let mut settings = format!(
        "SET {TAG_SETTING} = {}, implicit_select = 0, allow_introspection_functions = 0",
        literal(&job.tag)
    );
    for (name, value) in &job.parameters.settings {
        if !is_setting_name(name) {
            return Err(Failure::new(code::UNKNOWN_SETTING, format!("Unknown setting '{name}'")));
        }
        if name != TAG_SETTING && name != "readonly" {
            settings.push_str(&format!(", {name} = {}", literal(value)));
        }
    }
    if job.read_only > 0 {
        settings.push_str(&format!(", readonly = {}", job.read_only));
    }
    call(connection, settings)
}

fn is_setting_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
}

fn execute(
    engine: &Engine,
    connection: &mut RawConnection,
    job: &mut Job,
    reply: &mut Reply,
) -> Result<Counts, Failure> {
    let limit = query_limit(&job.parameters)?;
    let (text, whole) = read_text(job, limit)?;
    let output = job.parameters.default_format.clone().unwrap_or_else(|| "TabSeparated".into());
    let parameters = &job.parameters.query_parameters;
    match statement::parse(&text, whole)? {
        Statement::Query(found) => query::run(engine, connection, &found, &output, parameters, reply),
        Statement::Insert(found) => {
            let data = text[found.data_start..].chain(&mut job.body);
            insert::run(connection, &found, parameters, data)
        }
        Statement::Kill | Statement::Command => command::run(connection, &text, &output, parameters, reply),
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
