//! Memory does not grow with the batch: one that is larger than what may be used, in blocks as large as they
//! may be, from one stream to another, with two threads at work.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::io::{Read as _, Seek as _, Write};

use batch_codec::{Decoder, Effort, Encoder, Limits};
use support::{Dice, put_text, put_varint};

/// The most that may be resident, MiB.
const MOST_MIB: u64 = 256;
const THREADS: usize = 2;
/// Blocks of a batch, and bytes of one: nearly as much as is read as Native at all (64 MiB).
const BLOCKS: u64 = 5;
const BLOCK_BYTES: usize = 60 << 20;
/// Rows of a block.
const ROWS: u64 = 40_000;

/// One block: a time, a key, and an order book's text, in pieces.
fn write_block(block: u64, out: &mut impl Write) {
    let mut dice = Dice::new(block);
    let mut piece = Vec::new();
    put_varint(3, &mut piece);
    put_varint(ROWS, &mut piece);
    let column = |name: &[u8], kind: &[u8], piece: &mut Vec<u8>| {
        put_text(name, piece);
        put_text(kind, piece);
    };
    column(b"timestamp", b"DateTime64(3)", &mut piece);
    (0..ROWS).for_each(|row| piece.extend((1_700_000_000_000 + (block * ROWS + row) * 100).to_le_bytes()));
    column(b"symbol", b"String", &mut piece);
    (0..ROWS).for_each(|row| put_text([b"BTCUSDT", b"ETHUSDT"][usize::from(row * 2 > ROWS)], &mut piece));
    column(b"bids", b"String", &mut piece);
    let level_bytes = BLOCK_BYTES / ROWS as usize;
    for _ in 0..ROWS {
        let (mut text, mut price) = (String::from("["), 4_200_000 + dice.below(1000));
        while text.len() < level_bytes {
            price -= 1 + dice.below(5);
            text += &format!(
                "[\"{}.{:02}\",\"{}.{:05}\"],",
                price / 100,
                price % 100,
                dice.below(9),
                dice.below(100_000)
            );
        }
        text.pop();
        text.push(']');
        put_text(text.as_bytes(), &mut piece);
        if piece.len() > 1 << 20 {
            out.write_all(&piece).unwrap();
            piece.clear();
        }
    }
    out.write_all(&piece).unwrap();
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_batch_passes_in_bounded_memory() {
    let mut encoder = Encoder::with_threads(tempfile::tempfile().unwrap(), Effort::Ultra, THREADS).unwrap();
    (0..BLOCKS).for_each(|block| write_block(block, &mut encoder));
    let encoded = encoder.finish().unwrap();
    assert_eq!(encoded.column_bytes.len(), 3, "it was read as Native");
    let encoding = peak_mib();
    let mut file = encoded.w;
    file.rewind().unwrap();
    let mut decoder = Decoder::with_threads(file, Limits::raw(encoded.raw_bytes), THREADS).unwrap();
    let (mut piece, mut bytes) = (vec![0; 1 << 20], 0);
    loop {
        match decoder.read(&mut piece).unwrap() {
            0 => break,
            count => bytes += count as u64,
        }
    }
    assert!(decoder.is_proven() && bytes == encoded.raw_bytes);
    let (raw, small) = (bytes >> 20, encoded.encoded_bytes >> 20);
    let peak = peak_mib();
    println!("{raw} MiB as {small} MiB: {encoding} MiB resident, then {peak} MiB");
    assert!(raw > MOST_MIB && peak < MOST_MIB, "{raw} MiB, {peak} MiB resident");
}
