//! Row groups on the encoder's side: whole blocks, gathered until they are worth it, then written as a
//! frame about the group and a frame for each page.

use std::io;

use super::{
    FrameKind,
    order::Order,
    page::{self, EncodedPage},
    strands::Strands,
};
use crate::{
    codec::{Earlier, Tuning, encode_numbers, encode_text},
    column::{Column, Numbers},
    format::{
        GROUP_BYTES, GROUP_ROWS, MAX_BLOCK_BYTES, MAX_GROUP_BLOCKS, MAX_GROUP_ROWS, PAGE_BYTES, PAGE_ROWS,
        SMALL_PAGE_ROWS,
    },
    native::{Block, BlockDictionary, Dictionary, Kind, Type, put_varint},
    shared_out,
};

/// Blocks being gathered.
#[derive(Debug, Default)]
pub(crate) struct GroupBuilder {
    columns: Vec<Column>,
    dictionaries: Vec<Dictionary>,
    block_rows: Vec<u32>,
    rows: usize,
    raw_bytes: u64,
}

/// An encoded frame, and what the index says of a page.
#[derive(Debug)]
pub(crate) struct EncodedFrame {
    pub(crate) kind: FrameKind,
    pub(crate) payload: Vec<u8>,
    pub(crate) rows: usize,
    pub(crate) key: Vec<Vec<u8>>,
    /// Bytes of each column: in a page its streams, in the group its dictionaries.
    pub(crate) column_bytes: Vec<u64>,
}

/// Rows of one page, in the order of strands.
#[derive(Debug)]
struct Cut {
    from: usize,
    to: usize,
    key: Vec<Vec<u8>>,
}

impl GroupBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.block_rows.is_empty()
    }

    /// Rows gathered.
    pub(crate) fn rows(&self) -> u64 {
        self.rows as u64
    }

    /// Native bytes gathered.
    pub(crate) fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// It should be written before `block` is added.
    pub(crate) fn is_full_for(&self, block: &Block) -> bool {
        !self.is_empty()
            && (self.memory() + block.memory() > MAX_BLOCK_BYTES
                || self.rows + block.rows > MAX_GROUP_ROWS
                || self.block_rows.len() == MAX_GROUP_BLOCKS)
    }

    /// It is worth writing.
    pub(crate) fn is_full(&self) -> bool {
        self.memory() >= GROUP_BYTES || self.rows >= GROUP_ROWS
    }

    fn memory(&self) -> usize {
        self.columns.iter().map(Column::memory).sum::<usize>()
            + self.dictionaries.iter().map(Dictionary::memory).sum::<usize>()
    }

    /// Adds a block's rows.
    pub(crate) fn push(&mut self, block: Block, types: &[Type]) {
        if self.columns.is_empty() {
            self.columns = types.iter().map(Column::empty).collect();
            self.dictionaries.resize_with(block.dictionaries.len(), Dictionary::default);
        }
        let mut number = 0;
        for (column, mut added) in self.columns.iter_mut().zip(block.columns) {
            absorb(&mut added, &mut self.dictionaries, &block.dictionaries, &mut number);
            if block.rows > 0 {
                column.append(added);
            }
        }
        self.block_rows.push(block.rows as u32);
        self.rows += block.rows;
        self.raw_bytes += block.raw_bytes as u64;
    }

    /// The frames of what was gathered; pages are encoded by up to `threads` at once.
    pub(crate) fn encode(self, tuning: &Tuning, threads: usize) -> io::Result<Vec<EncodedFrame>> {
        let strands = Strands::find(&self.columns, &self.dictionaries, self.rows);
        let places = strands.places();
        let order = if places.is_none() {
            Order::Grouped
        } else {
            Order::of(&strands.of, &strands.rows, &self.columns)
        };
        let cuts = cut(&strands, self.rows, self.columns.iter().map(Column::memory).sum());
        let (payload, column_bytes) = self.head(&strands, &cuts, &order, tuning);
        let head = EncodedFrame { kind: FrameKind::Group, payload, rows: 0, key: Vec::new(), column_bytes };
        let mut frames = vec![head];
        let Self { mut columns, .. } = self;
        if cuts.len() == 1 && places.is_none() {
            let page = page::encode(columns, tuning);
            frames.push(EncodedFrame::page(page, &cuts[0]));
            return Ok(frames);
        }
        columns.iter_mut().for_each(Column::share);
        let rows_of = |cut: &Cut, column: &Column| match &places {
            Some(places) => column.take(&places[cut.from..cut.to]),
            None => column.slice(cut.from, cut.to),
        };
        let encode =
            |cut: &Cut| page::encode(columns.iter().map(|column| rows_of(cut, column)).collect(), tuning);
        for batch in cuts.chunks(threads.max(1)) {
            for (cut, page) in batch.iter().zip(shared_out::each(batch, encode)) {
                let page = page.ok_or_else(|| io::Error::other("a page's encoder ended early"))?;
                frames.push(EncodedFrame::page(page, cut));
            }
        }
        Ok(frames)
    }

    fn head(&self, strands: &Strands, cuts: &[Cut], order: &Order, tuning: &Tuning) -> (Vec<u8>, Vec<u64>) {
        let mut out = Vec::new();
        let mut column_bytes = vec![0; self.columns.len()];
        let owners = self.columns.iter().enumerate().flat_map(|(at, c)| vec![at; c.dictionaries()]);
        put_varint(self.raw_bytes, &mut out);
        put_varint(self.rows as u64, &mut out);
        put_varint(self.block_rows.len() as u64, &mut out);
        let numbers = |numbers: Numbers, out: &mut Vec<u8>| {
            encode_numbers(&numbers, Kind::Unsigned, Earlier(&[]), tuning, out);
        };
        numbers(Numbers::U32(self.block_rows.clone()), &mut out);
        for (dictionary, owner) in self.dictionaries.iter().zip(owners) {
            let before = out.len();
            put_varint(dictionary.keys.len() as u64, &mut out);
            encode_text(&dictionary.keys, Earlier(&[]), tuning, &mut out);
            put_varint(dictionary.flags.len() as u64, &mut out);
            numbers(Numbers::U64(dictionary.flags.clone()), &mut out);
            numbers(Numbers::U32(dictionary.counts.clone()), &mut out);
            put_varint(dictionary.lists.len() as u64, &mut out);
            numbers(Numbers::U32(dictionary.lists.clone()), &mut out);
            column_bytes[owner] += (out.len() - before) as u64;
        }
        put_varint(cuts.len() as u64, &mut out);
        cuts.iter().for_each(|cut| put_varint((cut.to - cut.from) as u64, &mut out));
        put_varint(strands.rows.len() as u64, &mut out);
        strands.rows.iter().for_each(|rows| put_varint(*rows as u64, &mut out));
        order.encode(strands.rows.len(), tuning, &mut out);
        (out, column_bytes)
    }
}

impl EncodedFrame {
    fn page(page: EncodedPage, cut: &Cut) -> Self {
        let EncodedPage { payload, column_bytes } = page;
        Self { kind: FrameKind::Page, payload, rows: cut.to - cut.from, key: cut.key.clone(), column_bytes }
    }
}

/// Turns the indices of a block's columns into the group's, depth first.
fn absorb(
    column: &mut Column,
    group: &mut [Dictionary],
    block: &[Option<BlockDictionary>],
    number: &mut usize,
) {
    match column {
        Column::Numbers(..) | Column::Text(_) => {}
        Column::Nullable { inner, .. } | Column::Array { inner, .. } => absorb(inner, group, block, number),
        Column::Tuple(fields) => fields.iter_mut().for_each(|field| absorb(field, group, block, number)),
        Column::Coded(ids) => {
            if let (Some(group), Some(Some(block))) = (group.get_mut(*number), block.get(*number)) {
                group.absorb(block, ids);
            }
            *number += 1;
        }
    }
}

/// Cuts strands into pages: long ones in pieces, neighbours of few rows together.
fn cut(strands: &Strands, rows: usize, bytes: usize) -> Vec<Cut> {
    let most = (rows * PAGE_BYTES).checked_div(bytes).unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS);
    let mut cuts: Vec<Cut> = Vec::new();
    let mut from = 0;
    for (rows, key) in strands.rows.iter().zip(&strands.keys) {
        let end = from + rows;
        if let Some(last) = cuts.last_mut()
            && (last.to - last.from < SMALL_PAGE_ROWS || *rows < SMALL_PAGE_ROWS / 4)
            && end - last.from <= most
        {
            last.to = end;
            last.key.clear();
            from = end;
            continue;
        }
        let pieces = rows.div_ceil(most);
        for piece in 0..pieces {
            let to = end - rows + rows * (piece + 1) / pieces;
            cuts.push(Cut { from, to, key: key.clone() });
            from = to;
        }
    }
    cuts
}
