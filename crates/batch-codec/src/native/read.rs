//! Reads one column of one block.

use super::{
    BlockDictionary, Type, dictionary,
    source::{ReadError, Source, read_numbers, read_text},
};
use crate::column::{Column, Text};

/// Reads a column of `rows` (at least one): what precedes its data, then the data.
pub(crate) fn read_column(
    source: &mut Source<'_>,
    ty: &Type,
    rows: usize,
    dictionaries: &mut Vec<Option<BlockDictionary>>,
) -> Result<Column, ReadError> {
    for _ in 0..ty.dictionaries() {
        if source.u64()? != dictionary::VERSION {
            return Err(ReadError::Unknown("a dictionary version"));
        }
    }
    read_data(source, ty, rows, dictionaries)
}

fn read_data(
    source: &mut Source<'_>,
    ty: &Type,
    rows: usize,
    dictionaries: &mut Vec<Option<BlockDictionary>>,
) -> Result<Column, ReadError> {
    Ok(match ty {
        Type::Number { width, kind } => Column::Numbers(read_numbers(source, *width, rows)?, *kind),
        Type::Text => Column::Text(read_text(source, rows)?),
        Type::Nullable(inner) => {
            let nulls = read_numbers(source, 1, rows)?;
            Column::Nullable { nulls, inner: Box::new(read_data(source, inner, rows, dictionaries)?) }
        }
        Type::Array(inner) => {
            let (sizes, elements) = read_sizes(source, rows)?;
            Column::Array { sizes, inner: Box::new(read_data(source, inner, elements, dictionaries)?) }
        }
        Type::Tuple(fields) => {
            let fields = fields.iter().map(|field| read_data(source, field, rows, dictionaries));
            Column::Tuple(fields.collect::<Result<_, _>>()?)
        }
        Type::LowCardinality(key) => {
            let (dictionary, ids) = dictionary::read(source, key, rows)?;
            dictionaries.push(dictionary);
            Column::Coded(ids)
        }
    })
}

/// Reads on until `text` has `rows` strings; those that are there are taken for good.
pub(super) fn read_strings(source: &mut Source<'_>, rows: usize, text: &mut Text) -> Result<(), ReadError> {
    while text.len() < rows {
        let mut next = *source;
        let length = next.length()?;
        text.push(next.take(length)?);
        *source = next;
    }
    Ok(())
}

/// Sizes of arrays out of their cumulative ends, and the sum.
fn read_sizes(source: &mut Source<'_>, rows: usize) -> Result<(Vec<u32>, usize), ReadError> {
    let length = rows.checked_mul(8).ok_or(ReadError::Unknown("a block without end"))?;
    let ends = source.take(length)?;
    let mut start = 0;
    let sizes = ends
        .as_chunks::<8>()
        .0
        .iter()
        .map(|end| {
            let end = u64::from_le_bytes(*end);
            let size = end.checked_sub(start).and_then(|size| u32::try_from(size).ok());
            start = end;
            size.ok_or(ReadError::Unknown("array ends that fall"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let elements = u32::try_from(start).map_err(|_| ReadError::Unknown("array ends without end"))?;
    Ok((sizes, elements as usize))
}
