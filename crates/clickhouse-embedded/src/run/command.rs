//! A statement with a small answer or none: DDL, SET, ALTER, SYSTEM, INSERT … SELECT, KILL.

use crate::chdb::{Counts, Parameters, RawConnection};
use crate::failure::Failure;
use crate::reply::Reply;

/// Runs `text` as it stands and answers with its output.
pub fn run(
    connection: &mut RawConnection,
    text: &[u8],
    format: &str,
    parameters: &Parameters,
    reply: &mut Reply,
) -> Result<Counts, Failure> {
    let output = connection.query(text, format, parameters).map_err(|text| Failure::from_engine(&text))?;
    reply.set_format(format);
    reply.write(output.bytes())?;
    Ok(output.counts())
}
