//! Row groups on the decoder's side.

use super::{order::Order, page};
use crate::{
    DecodeError,
    codec::{Budget, Earlier, Wire, decode_numbers, decode_text},
    column::{Column, Numbers},
    format::{MAX_GROUP_BLOCKS, MAX_GROUP_BYTES, MAX_GROUP_ROWS, MAX_STRANDS},
    native::{BlockWriter, Keys, Kind, Rows, Type},
    shared_out,
};

/// Most memory a raw byte takes on its way: a short string of one digit is an offset, a number, a style
/// and some places while it is rendered.
const MEMORY_PER_RAW_BYTE: usize = 32;

/// What the frame about a group says.
#[derive(Debug)]
pub(crate) struct GroupHead {
    pub(crate) raw_bytes: u64,
    pub(crate) rows: usize,
    block_rows: Vec<u32>,
    dictionaries: Vec<Keys>,
    page_rows: Vec<usize>,
    strand_rows: Vec<usize>,
    order: Order,
    budget: Budget,
}

impl GroupHead {
    /// Reads it. `allowed` is what raw bytes may still come.
    pub(crate) fn read(payload: &[u8], types: &[Type], allowed: u64) -> Result<Self, DecodeError> {
        let corrupt = |what: &str| DecodeError::Corrupt(what.into());
        let mut wire = Wire::new(payload);
        let raw_bytes = wire.varint()?;
        if raw_bytes > allowed {
            return Err(DecodeError::TooLarge { limit_bytes: allowed });
        }
        // What is to be made bounds the work as well: a group of few raw bytes costs little.
        let share = usize::try_from(raw_bytes).unwrap_or(usize::MAX).saturating_mul(MEMORY_PER_RAW_BYTE);
        let budget = Budget::new(share.saturating_add(1 << 20).min(MAX_GROUP_BYTES));
        let rows = wire.count(MAX_GROUP_ROWS, "rows in a group")?;
        let blocks = wire.count(MAX_GROUP_BLOCKS, "blocks in a group")?;
        let block_rows = indices(&mut wire, blocks, &budget)?;
        if block_rows.iter().map(|rows| u64::from(*rows)).sum::<u64>() != rows as u64 {
            return Err(corrupt("blocks of other rows than the group"));
        }
        let count: usize = types.iter().map(Type::dictionaries).sum();
        let mut dictionaries = Vec::new();
        for _ in 0..count {
            dictionaries.push(read_keys(&mut wire, blocks, &budget)?);
        }
        let page_rows = shares(&mut wire, rows, rows.max(1), "pages")?;
        let strand_rows = shares(&mut wire, rows, MAX_STRANDS, "strands")?;
        let order = Order::decode(&mut wire, strand_rows.len(), rows, &budget)?;
        wire.end()?;
        Ok(Self { raw_bytes, rows, block_rows, dictionaries, page_rows, strand_rows, order, budget })
    }
}

fn indices(wire: &mut Wire<'_>, count: usize, budget: &Budget) -> Result<Vec<u32>, DecodeError> {
    match decode_numbers(wire, (4, Kind::Unsigned), count, Earlier(&[]), budget, 0)? {
        Numbers::U32(values) => Ok(values),
        _ => Err(DecodeError::Corrupt("numbers of another width".into())),
    }
}

fn read_keys(wire: &mut Wire<'_>, blocks: usize, budget: &Budget) -> Result<Keys, DecodeError> {
    let count = wire.count(budget.left(), "keys")?;
    let keys = decode_text(wire, count, Earlier(&[]), budget, 0)?;
    let count = wire.count(blocks, "blocks with keys")?;
    let flags = decode_numbers(wire, (8, Kind::Unsigned), count, Earlier(&[]), budget, 0)?;
    let counts = indices(wire, count, budget)?;
    let count = wire.count(budget.left(), "keys of blocks")?;
    let lists = indices(wire, count, budget)?;
    Ok(Keys { keys, flags: flags.to_u64(Kind::Unsigned), counts, lists })
}

/// Reads how many parts a group has and the number of rows of each.
fn shares(wire: &mut Wire<'_>, rows: usize, most: usize, what: &str) -> Result<Vec<usize>, DecodeError> {
    let count = wire.count(most.min(wire.rest().len()), what)?;
    let shares = (0..count).map(|_| wire.count(rows, "rows")).collect::<Result<Vec<_>, _>>()?;
    if rows > 0 && shares.contains(&0) {
        return Err(DecodeError::Corrupt(format!("{what} of no rows")));
    }
    if shares.iter().sum::<usize>() != rows {
        return Err(DecodeError::Corrupt(format!("{what} of other rows than the group")));
    }
    Ok(shares)
}

/// A group whose pages come in.
#[derive(Debug)]
pub(crate) struct Group {
    head: GroupHead,
    columns: Vec<Rows>,
    pages: usize,
    /// Rows of the pages so far.
    read: usize,
}

impl Group {
    pub(crate) fn new(head: GroupHead, types: &[Type]) -> Self {
        let rows = |ty: &Type| match ty {
            Type::Text => Rows::Texts(Vec::new(), Vec::new()),
            _ => Rows::Whole(Column::empty(ty)),
        };
        Self { head, columns: types.iter().map(rows).collect(), pages: 0, read: 0 }
    }

    /// Its rows.
    pub(crate) fn rows(&self) -> usize {
        self.head.rows
    }

    /// Pages that are still to come.
    pub(crate) fn missing(&self) -> usize {
        self.head.page_rows.len() - self.pages
    }

    /// The next pages, not more than are missing; each but the first is decoded by a thread of its own.
    /// Answers their rows.
    pub(crate) fn push(&mut self, pages: &[Vec<u8>], types: &[Type]) -> Result<Vec<usize>, DecodeError> {
        let rows = self.head.page_rows.get(self.pages..self.pages + pages.len());
        let rows = rows.ok_or_else(|| DecodeError::Corrupt("a page without its group".into()))?.to_vec();
        let budget = &self.head.budget;
        let pages: Vec<_> = pages.iter().zip(rows.iter().copied()).collect();
        let decode = |(page, rows): &(&Vec<u8>, usize)| page::decode(page, types, *rows, budget);
        for (columns, rows) in shared_out::each(&pages, decode).into_iter().zip(&rows) {
            let columns =
                columns.ok_or_else(|| DecodeError::Corrupt("a page's decoder ended early".into()))?;
            self.append(columns?, *rows)?;
        }
        Ok(rows)
    }

    fn append(&mut self, page: Vec<Column>, rows: usize) -> Result<(), DecodeError> {
        for (all, page) in self.columns.iter_mut().zip(page) {
            match (all, page) {
                (Rows::Whole(all), page) => all.append(page),
                (Rows::Texts(pages, starts), Column::Text(text)) => {
                    pages.push(text);
                    starts.push(self.read);
                }
                _ => return Err(DecodeError::Corrupt("a page of other columns".into())),
            }
        }
        self.pages += 1;
        self.read += rows;
        Ok(())
    }

    /// Ready to be written: block rows, raw bytes, writer.
    pub(crate) fn finish(mut self) -> Result<(Vec<u32>, u64, BlockWriter), DecodeError> {
        let column = |at: usize| match self.columns.get(at) {
            Some(Rows::Whole(column @ Column::Numbers(..))) => Some(column.clone()),
            _ => None,
        };
        let places = self.head.order.places(&self.head.strand_rows, column)?;
        if let Some(places) = &places {
            for column in &mut self.columns {
                if let Rows::Whole(column) = column {
                    *column = column.take(places);
                }
            }
        }
        let GroupHead { block_rows, dictionaries, raw_bytes, .. } = self.head;
        Ok((block_rows, raw_bytes, BlockWriter::new(self.columns, places, dictionaries)))
    }
}
