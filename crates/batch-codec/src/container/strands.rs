//! Which rows belong together: the leading columns of few distinct values.

use std::collections::HashMap;

use crate::{column::Column, format::MAX_STRANDS, native::Dictionary};

/// Most columns of a key.
const MAX_KEY_COLUMNS: usize = 4;
/// The key begins among so many columns.
const LEADING: usize = 8;
/// Rows a strand needs on average to be worth its choices.
const WORTHWHILE_ROWS: usize = 32;

/// The strands of a row group.
#[derive(Debug)]
pub(crate) struct Strands {
    /// Rows of each.
    pub(crate) rows: Vec<usize>,
    /// Values of the key columns of each.
    pub(crate) keys: Vec<Vec<Vec<u8>>>,
    /// The strand of each row; empty when there is one strand only.
    pub(crate) of: Vec<u32>,
}

impl Strands {
    /// All rows in one.
    fn one(rows: usize) -> Self {
        Self { rows: vec![rows], keys: vec![Vec::new()], of: Vec::new() }
    }

    /// Looks for the key that is worth it.
    pub(crate) fn find(columns: &[Column], dictionaries: &[Dictionary], rows: usize) -> Self {
        let key = leading(columns);
        for length in (1..=key.len()).rev() {
            let columns: Vec<&[u32]> = key[..length].iter().map(|(ids, _)| *ids).collect();
            let most = (rows / WORTHWHILE_ROWS).clamp(1, MAX_STRANDS);
            if let Some((distinct, of)) = number(&columns, most) {
                let values = |ids: &Vec<u32>| {
                    let word = |(id, (_, d)): (&u32, &(&[u32], usize))| {
                        dictionaries[*d].keys.get(*id as usize).to_vec()
                    };
                    ids.iter().zip(&key).map(word).collect::<Vec<_>>()
                };
                return Self::sorted(distinct.iter().map(values).collect(), of);
            }
        }
        Self::one(rows)
    }

    /// Numbers strands by their keys, unless their rows come grouped: then as they come.
    fn sorted(keys: Vec<Vec<Vec<u8>>>, mut of: Vec<u32>) -> Self {
        if keys.len() <= 1 {
            return Self { rows: vec![of.len()], keys, of: Vec::new() };
        }
        let mut order: Vec<usize> = (0..keys.len()).collect();
        if of.windows(2).any(|pair| pair[0] > pair[1]) {
            order.sort_by(|a, b| keys[*a].cmp(&keys[*b]));
        }
        let mut place = vec![0; keys.len()];
        order.iter().enumerate().for_each(|(to, from)| place[*from] = to as u32);
        let mut rows = vec![0; keys.len()];
        for strand in &mut of {
            *strand = place[*strand as usize];
            rows[*strand as usize] += 1;
        }
        Self { rows, keys: order.iter().map(|from| keys[*from].clone()).collect(), of }
    }

    /// Rows in the order of strands; `None` when that is the order they have.
    pub(crate) fn places(&self) -> Option<Vec<u32>> {
        if self.of.windows(2).all(|pair| pair[0] <= pair[1]) {
            return None;
        }
        let mut next = super::order::starts(&self.rows);
        let mut places = vec![0; self.of.len()];
        for (row, strand) in self.of.iter().enumerate() {
            places[next[*strand as usize]] = row as u32;
            next[*strand as usize] += 1;
        }
        Some(places)
    }
}

/// Indices of the first run of coded columns, each with the number of its dictionary.
fn leading(columns: &[Column]) -> Vec<(&[u32], usize)> {
    let coded = |column: &Column| matches!(column, Column::Coded(_));
    let Some(first) = columns.iter().take(LEADING).position(coded) else { return Vec::new() };
    let before: usize = columns[..first].iter().map(Column::dictionaries).sum();
    columns[first..]
        .iter()
        .take(MAX_KEY_COLUMNS)
        .enumerate()
        .map_while(|(at, column)| match column {
            Column::Coded(ids) => Some((ids.as_slice(), before + at)),
            _ => None,
        })
        .collect()
}

/// Distinct rows of `columns` in the order of their first appearance, and the number of it for each
/// row; `None` when there are more than `most`.
fn number(columns: &[&[u32]], most: usize) -> Option<(Vec<Vec<u32>>, Vec<u32>)> {
    let rows = columns.first()?.len();
    let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
    let (mut distinct, mut of) = (Vec::<Vec<u32>>::new(), Vec::with_capacity(rows));
    let mut last = 0_u32;
    for row in 0..rows {
        let is = |key: &Vec<u32>| columns.iter().zip(key).all(|(ids, id)| ids[row] == *id);
        if !distinct.get(last as usize).is_some_and(is) {
            let key: Vec<u32> = columns.iter().map(|ids| ids[row]).collect();
            last = match known.get(&key) {
                Some(number) => *number,
                None if distinct.len() == most => return None,
                None => {
                    let number = distinct.len() as u32;
                    known.insert(key.clone(), number);
                    distinct.push(key);
                    number
                }
            };
        }
        of.push(last);
    }
    Some((distinct, of))
}
