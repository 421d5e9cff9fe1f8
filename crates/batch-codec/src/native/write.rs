//! Writes blocks, in the order of their rows, out of the columns of a row group.

use super::{ColumnName, Type, dictionary};
use crate::column::{Column, Text};

/// Appends a varint.
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Keys of a row group as they were read back; see [`super::Dictionary`].
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) keys: Text,
    pub(crate) flags: Vec<u64>,
    pub(crate) counts: Vec<u32>,
    pub(crate) lists: Vec<u32>,
}

/// A column whose rows are still page by page.
#[derive(Debug)]
pub(crate) enum Rows {
    /// In their order already.
    Whole(Column),
    /// Strings, the most of what there is to move, are written from where they are: pages, and the row
    /// at which each begins.
    Texts(Vec<Text>, Vec<usize>),
}

/// A row group being written out, block after block.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    columns: Vec<Rows>,
    /// Where the rows are in the pages; `None` when they are in order.
    places: Option<Vec<u32>>,
    /// Rows of the present column that were written.
    partly: usize,
    dictionaries: Vec<Keys>,
    /// Rows written.
    row: usize,
    /// Elements written of each array, depth first over all columns.
    elements: Vec<usize>,
    /// Of each dictionary: blocks and entries of `lists` written.
    dictionary_at: Vec<(usize, usize)>,
    /// Group key to block key, all `NONE` between blocks.
    inverse: Vec<u32>,
    /// Arrays and dictionaries of the block's columns so far.
    array: usize,
    dictionary: usize,
}

const NONE: u32 = u32::MAX;

/// The parts of a row group contradict each other; which do.
pub(crate) type Contradiction = &'static str;

/// Where the walk over a block's columns is.
struct Walk<'a> {
    out: &'a mut Vec<u8>,
    array: usize,
    dictionary: usize,
}

impl BlockWriter {
    pub(crate) fn new(columns: Vec<Rows>, places: Option<Vec<u32>>, dictionaries: Vec<Keys>) -> Self {
        let dictionary_at = vec![(0, 0); dictionaries.len()];
        let arrays = columns
            .iter()
            .map(|column| match column {
                Rows::Whole(column) => arrays(column),
                Rows::Texts(..) => 0,
            })
            .sum();
        let inverse = vec![NONE; dictionaries.iter().map(|d| d.keys.len()).max().unwrap_or(0)];
        let elements = vec![0; arrays];
        Self {
            columns,
            places,
            partly: 0,
            dictionaries,
            row: 0,
            elements,
            dictionary_at,
            inverse,
            array: 0,
            dictionary: 0,
        }
    }

    /// Appends column `at` of a block of the next `rows` rows, which must be there, or as much of it as
    /// brings `out` to about `enough` bytes; true when the column is complete. The block's head goes before
    /// the first column; behind the last the next block's turn has come.
    pub(crate) fn write(
        &mut self,
        (names, types): (&[ColumnName], &[Type]),
        rows: usize,
        at: usize,
        enough: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool, Contradiction> {
        let (Some(name), Some(ty), true) = (names.get(at), types.get(at), at < self.columns.len()) else {
            return Err("a block of other columns");
        };
        if self.partly == 0 {
            self.begin(name, ty, (names.len(), rows), at, out);
        }
        let mut column = std::mem::replace(&mut self.columns[at], Rows::Texts(Vec::new(), Vec::new()));
        match &mut column {
            Rows::Texts(pages, starts) => {
                while self.partly < rows && out.len() < enough {
                    self.write_string(pages, starts, self.row + self.partly, out)?;
                    self.partly += 1;
                }
            }
            Rows::Whole(column) => {
                let mut walk = Walk { out, array: self.array, dictionary: self.dictionary };
                if rows > 0 {
                    self.write_data(column, ty, self.row, rows, &mut walk)?;
                }
                (self.array, self.dictionary) = (walk.array, walk.dictionary);
                self.partly = rows;
            }
        }
        self.columns[at] = column;
        if self.partly < rows {
            return Ok(false);
        }
        self.partly = 0;
        if at + 1 == names.len() {
            self.row += rows;
        }
        Ok(true)
    }

    /// What precedes a column's data.
    fn begin(
        &mut self,
        name: &ColumnName,
        ty: &Type,
        (columns, rows): (usize, usize),
        at: usize,
        out: &mut Vec<u8>,
    ) {
        if at == 0 {
            put_varint(columns as u64, out);
            put_varint(rows as u64, out);
            (self.array, self.dictionary) = (0, 0);
        }
        for word in [&name.name, &name.type_name] {
            put_varint(word.len() as u64, out);
            out.extend_from_slice(word);
        }
        if rows > 0 {
            (0..ty.dictionaries()).for_each(|_| out.extend_from_slice(&dictionary::VERSION.to_le_bytes()));
        }
    }

    #[inline]
    fn write_string(
        &self,
        pages: &[Text],
        starts: &[usize],
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Contradiction> {
        let place = match &self.places {
            Some(places) => *places.get(row).ok_or("a block of other rows")? as usize,
            None => row,
        };
        let page = starts.partition_point(|start| *start <= place).saturating_sub(1);
        let string = pages.get(page).ok_or("a block of other rows")?.get(place - starts[page]);
        put_varint(string.len() as u64, out);
        out.extend_from_slice(string);
        Ok(())
    }

    fn write_data(
        &mut self,
        column: &Column,
        ty: &Type,
        from: usize,
        rows: usize,
        walk: &mut Walk<'_>,
    ) -> Result<(), Contradiction> {
        match (column, ty) {
            (Column::Numbers(numbers, _), _) => numbers.write_le(from, from + rows, walk.out),
            (Column::Text(text), _) => write_text(text, from, rows, walk.out),
            (Column::Nullable { nulls, inner }, Type::Nullable(ty)) => {
                nulls.write_le(from, from + rows, walk.out);
                self.write_data(inner, ty, from, rows, walk)?;
            }
            (Column::Array { sizes, inner }, Type::Array(ty)) => {
                let mut end = 0_u64;
                for size in &sizes[from..from + rows] {
                    end += u64::from(*size);
                    walk.out.extend_from_slice(&end.to_le_bytes());
                }
                let start = self.elements[walk.array];
                self.elements[walk.array] += end as usize;
                walk.array += 1;
                self.write_data(inner, ty, start, end as usize, walk)?;
            }
            (Column::Tuple(fields), Type::Tuple(types)) => {
                for (field, ty) in fields.iter().zip(types) {
                    self.write_data(field, ty, from, rows, walk)?;
                }
            }
            (Column::Coded(ids), Type::LowCardinality(key)) => {
                walk.dictionary += 1;
                if rows > 0 {
                    self.write_coded(&ids[from..from + rows], key, walk)?;
                }
            }
            _ => return Err("a column of another type"),
        }
        Ok(())
    }

    fn write_coded(&mut self, ids: &[u32], key: &Type, walk: &mut Walk<'_>) -> Result<(), Contradiction> {
        let at = walk.dictionary - 1;
        let Keys { keys, flags, counts, lists } = &self.dictionaries[at];
        let (block, start) = self.dictionary_at[at];
        let (Some(flags), Some(count)) = (flags.get(block), counts.get(block)) else {
            return Err("a block without its dictionary");
        };
        let list = lists.get(start..start + *count as usize).ok_or("a dictionary without its keys")?;
        self.dictionary_at[at] = (block + 1, start + list.len());
        let width = dictionary::index_width(*flags).ok_or("a dictionary index type")?;
        if width < 4 && list.len() > 1 << (8 * width) {
            return Err("a dictionary too large for its indices");
        }
        walk.out.extend_from_slice(&flags.to_le_bytes());
        walk.out.extend_from_slice(&(list.len() as u64).to_le_bytes());
        for (local, id) in list.iter().enumerate() {
            if *id as usize >= keys.len() {
                return Err("an index to no key");
            }
            let bytes = keys.get(*id as usize);
            match key {
                Type::Number { width, .. } if *width != bytes.len() => return Err("a key of another length"),
                Type::Number { .. } => {}
                _ => put_varint(bytes.len() as u64, walk.out),
            }
            walk.out.extend_from_slice(bytes);
            self.inverse[*id as usize] = local as u32;
        }
        walk.out.extend_from_slice(&(ids.len() as u64).to_le_bytes());
        for id in ids {
            let local = self.inverse.get(*id as usize).copied().unwrap_or(NONE);
            if local == NONE {
                return Err("an index to no key of its block");
            }
            walk.out.extend_from_slice(&u64::from(local).to_le_bytes()[..width]);
        }
        list.iter().for_each(|id| self.inverse[*id as usize] = NONE);
        Ok(())
    }
}

fn arrays(column: &Column) -> usize {
    match column {
        Column::Numbers(..) | Column::Text(_) | Column::Coded(_) => 0,
        Column::Nullable { inner, .. } => arrays(inner),
        Column::Array { inner, .. } => 1 + arrays(inner),
        Column::Tuple(fields) => fields.iter().map(arrays).sum(),
    }
}

fn write_text(text: &Text, from: usize, rows: usize, out: &mut Vec<u8>) {
    for row in from..from + rows {
        let string = text.get(row);
        put_varint(string.len() as u64, out);
        out.extend_from_slice(string);
    }
}
