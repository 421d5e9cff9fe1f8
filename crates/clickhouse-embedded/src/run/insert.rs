//! An insert whose data stream in.

use std::io::Read;

use crate::chdb::{Counts, Parameters, RawConnection};
use crate::failure::Failure;
use crate::statement::Insert;

/// What is handed to the engine at once.
const PIECE_BYTES: usize = 256 << 10;

/// Runs `insert` over the bytes of `data`. When `data` break off, the insert is cancelled: whole parts
/// that the engine has flushed by then stay, as on any ClickHouse, and the caller gets an error.
pub fn run(
    connection: &mut RawConnection,
    insert: &Insert,
    parameters: &Parameters,
    mut data: impl Read,
) -> Result<Counts, Failure> {
    let engine = |text: String| Failure::from_engine(&text);
    let mut stream = connection.insert(&insert.head, &insert.format, parameters).map_err(engine)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = fill(&mut data, &mut piece).map_err(|error| super::body_failure(&error))?;
        if count == 0 {
            return stream.finish().map_err(engine);
        }
        stream.append(&piece[..count]).map_err(engine)?;
    }
}

/// Reads until `piece` is full or the data end: the engine takes large pieces best.
fn fill(data: &mut impl Read, piece: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match data.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
