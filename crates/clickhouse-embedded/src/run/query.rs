//! A query whose output streams.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::chdb::{Counts, Parameters, RawConnection};
use crate::engine::literal;
use crate::failure::{Failure, code};
use crate::output_pipe::OutputPipe;
use crate::reply::Reply;
use crate::statement::Query;

/// Runs `query` and leads its output, in its own format or `default_format`, through a pipe in `folder` into
/// `reply`.
pub fn run(
    folder: &Path,
    connection: &mut RawConnection,
    query: &Query,
    default_format: &str,
    parameters: &Parameters,
    reply: &mut Reply,
) -> Result<Counts, Failure> {
    let format = query.format.as_deref().unwrap_or(default_format);
    if !is_format_name(format) {
        return Err(Failure::new(code::UNKNOWN_FORMAT, format!("Unknown format {format}")));
    }
    reply.set_format(format);
    let (pipe, reader) = OutputPipe::create(folder)
        .map_err(|error| Failure::new(code::CANNOT_OPEN_FILE, format!("no pipe for the output: {error}")))?;
    let outfile = format!("\nINTO OUTFILE {} TRUNCATE ", literal(&pipe.path().to_string_lossy()));
    let mut sql = query.body.clone();
    sql.extend_from_slice(outfile.as_bytes());
    sql.extend_from_slice(format!("FORMAT {format}").as_bytes());
    if let Some(settings) = &query.settings {
        sql.extend_from_slice(b" SETTINGS");
        sql.extend_from_slice(settings);
    }
    let (outcome, pumped) = std::thread::scope(|scope| {
        let pump = scope.spawn(|| pump(reader, reply));
        let outcome = connection.query(&sql, format, parameters).map(|output| output.counts());
        // Our writing end: without it the pump reads to the end of what the engine wrote.
        drop(pipe);
        (outcome, pump.join())
    });
    let counts = outcome.map_err(|text| Failure::from_engine(&text.replace(&outfile, "\n")))?;
    match pumped {
        Ok(Ok(0)) if format == "Native" => {
            let header = super::empty_native::header(connection, query, parameters)?;
            reply.write(&header)?;
        }
        Ok(Ok(_)) => {}
        Ok(Err(failure)) => return Err(failure),
        Err(_) => return Err(Failure::new(code::UNKNOWN_EXCEPTION, "the output's reader failed")),
    }
    Ok(counts)
}

fn is_format_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Reads the pipe to its end; returns the bytes it saw. Dropping `reader` early stops the engine.
fn pump(mut reader: File, reply: &mut Reply) -> Result<u64, Failure> {
    let mut piece = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                reply.write(&piece[..count])?;
                total += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Failure::new(code::CANNOT_OPEN_FILE, format!("the output's pipe: {error}")));
            }
        }
    }
}
