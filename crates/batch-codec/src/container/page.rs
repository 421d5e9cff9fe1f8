//! One page: the streams of its columns' leaves, one after the other.

use crate::{
    DecodeError,
    codec::{Budget, Earlier, Tuning, Wire, decode_numbers, decode_text, encode_numbers, encode_text},
    column::{Column, Leaf, Numbers},
    native::{Kind, Type},
};

/// An encoded page.
#[derive(Debug, Default)]
pub(crate) struct EncodedPage {
    pub(crate) payload: Vec<u8>,
    /// Bytes of each column.
    pub(crate) column_bytes: Vec<u64>,
}

/// Encodes the columns of a page.
pub(crate) fn encode(columns: Vec<Column>, tuning: &Tuning) -> EncodedPage {
    let mut leaves = Vec::new();
    let mut column_of = Vec::new();
    let mut column_bytes = vec![0; columns.len()];
    for (at, column) in columns.into_iter().enumerate() {
        column.into_leaves(&mut leaves);
        column_of.resize(leaves.len(), at);
    }
    let mut payload = Vec::new();
    for (at, leaf) in leaves.iter().enumerate() {
        let (earlier, before) = (Earlier(&leaves[..at]), payload.len());
        match leaf {
            Leaf::Numbers(numbers, kind) => encode_numbers(numbers, *kind, earlier, tuning, &mut payload),
            Leaf::Text(text) => encode_text(text, earlier, tuning, &mut payload),
        }
        column_bytes[column_of[at]] += (payload.len() - before) as u64;
    }
    EncodedPage { payload, column_bytes }
}

/// Decodes the `rows` rows of a page.
pub(crate) fn decode(
    payload: &[u8],
    types: &[Type],
    rows: usize,
    budget: &Budget,
) -> Result<Vec<Column>, DecodeError> {
    let mut wire = Wire::new(payload);
    let mut leaves = Vec::new();
    types.iter().try_for_each(|ty| read_leaves(&mut wire, ty, rows, &mut leaves, budget))?;
    wire.end()?;
    let mut leaves = leaves.into_iter();
    let columns = types.iter().map(|ty| Column::from_leaves(ty, &mut leaves)).collect::<Option<_>>();
    columns.ok_or_else(|| DecodeError::Corrupt("a page of other columns".into()))
}

fn read_leaves(
    wire: &mut Wire<'_>,
    ty: &Type,
    rows: usize,
    leaves: &mut Vec<Leaf>,
    budget: &Budget,
) -> Result<(), DecodeError> {
    let mut numbers = |leaves: &mut Vec<Leaf>, width, kind, budget: &Budget| {
        let numbers = decode_numbers(wire, (width, kind), rows, Earlier(leaves), budget, 0)?;
        leaves.push(Leaf::Numbers(numbers, kind));
        Ok::<_, DecodeError>(())
    };
    match ty {
        Type::Number { width, kind } => numbers(leaves, *width, *kind, budget),
        Type::Text => {
            let text = decode_text(wire, rows, Earlier(leaves), budget, 0)?;
            leaves.push(Leaf::Text(text));
            Ok(())
        }
        Type::Nullable(inner) => {
            numbers(leaves, 1, Kind::Unsigned, budget)?;
            read_leaves(wire, inner, rows, leaves, budget)
        }
        Type::Array(inner) => {
            numbers(leaves, 4, Kind::Unsigned, budget)?;
            let elements = match leaves.last() {
                Some(Leaf::Numbers(Numbers::U32(sizes), _)) => {
                    sizes.iter().map(|size| u64::from(*size)).sum::<u64>()
                }
                _ => 0,
            };
            // Every element takes a byte of the budget at least.
            if elements > budget.left() as u64 {
                return Err(DecodeError::Corrupt(format!("arrays of {elements} elements")));
            }
            read_leaves(wire, inner, elements as usize, leaves, budget)
        }
        Type::Tuple(fields) => {
            fields.iter().try_for_each(|field| read_leaves(wire, field, rows, leaves, budget))
        }
        Type::LowCardinality(_) => numbers(leaves, 4, Kind::Unsigned, budget),
    }
}
