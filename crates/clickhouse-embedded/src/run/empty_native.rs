//! The header of a Native answer without rows, which the engine's own output leaves out.
//!
//! A block of no rows still tells names and types; clients (clickhouse-connect, our own) learn a result's
//! columns from it. `DESCRIBE (query)` names them without running the query again.

use crate::chdb::{Parameters, RawConnection};
use crate::failure::Failure;
use crate::statement::Query;
use crate::statement::lexer::Lexer;

/// The block: column count, row count 0, then name and type of each column.
pub fn header(
    connection: &mut RawConnection,
    query: &Query,
    parameters: &Parameters,
) -> Result<Vec<u8>, Failure> {
    let engine = |text: String| Failure::from_engine(&text);
    // SHOW and its kin are cheap, and DESCRIBE does not take them: those run once more, with names.
    let mut sql = Vec::new();
    if query.is_select {
        sql.extend_from_slice(b"DESCRIBE TABLE (");
    }
    sql.extend_from_slice(&query.body);
    if query.is_select {
        sql.extend_from_slice(b"\n)");
    }
    let output = connection.query(&sql, "RowBinaryWithNamesAndTypes", parameters).map_err(engine)?;
    let (count, rest) = varint(output.bytes());
    let texts: Vec<&[u8]> = Values(rest).collect();
    let columns: Vec<(&[u8], &[u8])> = if query.is_select {
        // Every column of DESCRIBE's answer is a String; the first two are name and type.
        texts
            .get(2 * count..)
            .unwrap_or_default()
            .chunks_exact(count.max(2))
            .map(|row| (row[0], row[1]))
            .collect()
    } else {
        let names = texts.iter().take(count);
        names.zip(texts.iter().skip(count)).map(|(name, kind)| (*name, *kind)).collect()
    };
    let mut block = Vec::new();
    push_varint(&mut block, columns.len());
    push_varint(&mut block, 0);
    for (name, kind) in columns {
        for text in [name.to_vec(), on_one_line(kind)] {
            push_varint(&mut block, text.len());
            block.extend_from_slice(&text);
        }
    }
    Ok(block)
}

/// A type's name without the line breaks that DESCRIBE puts into a named tuple's, as Native writes it.
fn on_one_line(kind: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(kind.len());
    let mut copied = 0;
    // Only white space between tokens changes: a break after a comma is a space, any other is nothing.
    for token in Lexer::new(kind) {
        let blank = &kind[copied..token.start];
        if !blank.contains(&b'\n') {
            line.extend_from_slice(blank);
        } else if line.last() == Some(&b',') {
            line.push(b' ');
        }
        line.extend_from_slice(&kind[token.start..token.end]);
        copied = token.end;
    }
    line
}

/// The strings of a RowBinary answer whose columns are all strings.
pub fn strings(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    Values(bytes)
}

/// Strings with a length before each, as RowBinary writes them.
struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (length, rest) = varint(self.0);
        let value = rest.get(..length)?;
        self.0 = &rest[length..];
        Some(value)
    }
}

/// A LEB128 number and what follows it.
fn varint(bytes: &[u8]) -> (usize, &[u8]) {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (value, &bytes[index + 1..]);
        }
    }
    (value, &[])
}

fn push_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    #[test]
    fn types_are_put_on_one_line() {
        let pretty = b"Array(Tuple(\n    a Enum8('\n    x' = 1),\n    `b\n` Tuple(\n        c Int8)))";
        assert_eq!(super::on_one_line(pretty), b"Array(Tuple(a Enum8('\n    x' = 1), `b\n` Tuple(c Int8)))");
    }
}
