//! The container's promises: what was written comes back, and nothing else passes for it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic here is a failed test")]

mod support;

use std::io::{self, Read, Write};

use batch_codec::{ChunkCutter, DecodeError, Decoder, Effort, Encoded, Encoder, Limits};
use proptest::prelude::*;

/// Bytes like a column of prices: they compress, but not to nothing.
fn rows(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut price = 6_500_000_i64;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        price += ((state >> 60) as i64) - 8;
        out.extend(price.to_le_bytes());
    }
    out.truncate(length);
    out
}

fn encode(raw: &[u8], effort: Effort) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), effort).unwrap();
    encoder.write_all(raw).unwrap();
    let Encoded { raw_bytes, encoded_bytes, blake3, w, .. } = encoder.finish().unwrap();
    assert_eq!(raw_bytes, raw.len() as u64);
    assert_eq!(encoded_bytes, w.len() as u64);
    assert_eq!(blake3, blake3::hash(&w).to_hex().to_string());
    w
}

/// Reads to the end in pieces of `piece` bytes.
fn decode(bytes: &[u8], limits: Limits, piece: usize) -> Result<Vec<u8>, io::Error> {
    let mut decoder = Decoder::new(bytes, limits)?;
    let mut out = Vec::new();
    let mut buf = vec![0; piece];
    loop {
        match decoder.read(&mut buf)? {
            0 => {
                assert!(decoder.is_proven());
                assert_eq!(decoder.read(&mut buf)?, 0, "the end stays the end");
                return Ok(out);
            }
            got => out.extend_from_slice(&buf[..got]),
        }
        assert!(out.len() as u64 <= limits.max_raw_bytes, "more bytes out than allowed");
        assert!(!decoder.is_proven());
    }
}

fn refused(result: Result<Vec<u8>, io::Error>) -> DecodeError {
    let error = result.expect_err("should be refused");
    let kind = error.kind();
    let inner = error.into_inner().expect("a typed error").downcast::<DecodeError>().expect("ours");
    assert_eq!(kind == io::ErrorKind::UnexpectedEof, matches!(*inner, DecodeError::Truncated));
    *inner
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        raw in proptest::collection::vec(0..4u8, 0..20_000),
        cut in 1..5000usize,
        piece in 1..70_000usize,
        effort in prop_oneof![Just(Effort::Fast), Just(Effort::Auto)],
    ) {
        let mut encoder = Encoder::new(Vec::new(), effort).unwrap();
        raw.chunks(cut).for_each(|part| encoder.write_all(part).unwrap());
        let encoded = encoder.finish().unwrap().w;
        prop_assert_eq!(decode(&encoded, Limits::raw(raw.len() as u64), piece).unwrap(), raw);
    }

    #[test]
    fn changed_bytes_are_an_error_or_the_right_rows(
        length in 0..5000usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        piece in 1..9000usize,
    ) {
        let raw = rows(length);
        let mut encoded = encode(&raw, Effort::Fast);
        for (at, byte) in changes {
            let at = at.index(encoded.len());
            encoded[at] = byte;
        }
        if let Ok(out) = decode(&encoded, Limits::raw(raw.len() as u64), piece) {
            prop_assert_eq!(out, raw);
        }
    }

    #[test]
    fn bytes_from_nowhere_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000), headed in any::<bool>()) {
        let mut input = if headed { encode(b"", Effort::Fast)[..24].to_vec() } else { Vec::new() };
        input.extend(bytes);
        prop_assert!(decode(&input, Limits::raw(1 << 20), 4096).is_err());
    }
}

#[test]
fn large_batches_run_over_many_segments() {
    let raw = rows(2_500_000);
    for effort in [Effort::Fast, Effort::Auto, Effort::Ultra] {
        let encoded = encode(&raw, effort);
        assert!(encoded.len() < raw.len() / 2);
        assert_eq!(decode(&encoded, Limits::raw(raw.len() as u64), 100_000).unwrap(), raw);
    }
    // Noise does not compress: several whole segments.
    let noise: Vec<u8> = (0..100_000u32).flat_map(|i| *blake3::hash(&i.to_le_bytes()).as_bytes()).collect();
    assert_eq!(
        decode(&encode(&noise, Effort::Fast), Limits::raw(noise.len() as u64), 1 << 16).unwrap(),
        noise
    );
}

#[test]
fn every_cut_is_seen() {
    let raw = rows(3000);
    let encoded = encode(&raw, Effort::Auto);
    for end in 0..encoded.len() {
        let error = refused(decode(&encoded[..end], Limits::raw(3000), 1000));
        assert!(matches!(error, DecodeError::Truncated), "cut at {end}: {error}");
    }
    let mut longer = encoded;
    longer.push(0);
    assert!(matches!(refused(decode(&longer, Limits::raw(3000), 1000)), DecodeError::TrailingBytes));
}

#[test]
fn every_changed_byte_is_an_error() {
    let raw = rows(2000);
    let encoded = encode(&raw, Effort::Fast);
    for at in 0..encoded.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = encoded.clone();
            changed[at] ^= flip;
            assert!(decode(&changed, Limits::raw(2000), 4096).is_err(), "byte {at}");
        }
    }
}

#[test]
fn headers_of_others_are_named() {
    let encoded = encode(b"rows", Effort::Fast);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = encoded.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        refused(decode(&changed, Limits::raw(4), 10))
    };
    assert!(matches!(with(0, b"PAR1"), DecodeError::BadMagic));
    assert!(matches!(with(8, &[3, 0]), DecodeError::UnknownVersion(3)));
    // The codec is that of its version.
    assert!(matches!(with(8, &[1, 0]), DecodeError::UnknownCodec(name) if name == "native-pages/1"));
    assert!(matches!(with(11, b"pages"), DecodeError::UnknownCodec(name) if name.starts_with("pages")));
    assert!(matches!(with(10, &[65]), DecodeError::Corrupt(_)));
    let last = encoded.len() - 1;
    assert!(matches!(with(last, b"f"), DecodeError::Corrupt(_)));
    assert!(matches!(with(last - 8, &[encoded[last - 8] ^ 1]), DecodeError::HashMismatch));
    let schema = 8 + 2 + 1 + 14;
    assert!(matches!(with(schema + 36, &[1]), DecodeError::HashMismatch));
    assert!(matches!(with(schema + 37, &[9]), DecodeError::Corrupt(_)));
    assert!(matches!(with(schema + 42, &[0, 0]), DecodeError::PageHashMismatch { frame: 0 }));
}

#[test]
fn a_bomb_costs_no_more_than_it_declared() {
    let bomb = encode(&vec![0; 200 << 20], Effort::Fast);
    assert!(bomb.len() < 100_000);
    let limit_bytes = 1 << 20;
    let error = refused(decode(&bomb, Limits::raw(limit_bytes), 64 << 10));
    assert!(matches!(error, DecodeError::TooLarge { limit_bytes: l } if l == limit_bytes));
    // One byte too many is too many; exactly enough is enough.
    let encoded = encode(&rows(1000), Effort::Fast);
    assert!(matches!(refused(decode(&encoded, Limits::raw(999), 5000)), DecodeError::TooLarge { .. }));
    assert_eq!(decode(&encoded, Limits::raw(1000), 5000).unwrap(), rows(1000));
    assert_eq!(decode(&encode(b"", Effort::Fast), Limits::raw(0), 10).unwrap(), b"");
}

#[test]
fn a_window_over_the_limit_is_refused() {
    let encoded = encode(&rows(100_000), Effort::Ultra);
    let small = Limits { max_window_log: 23, ..Limits::raw(100_000) };
    assert!(decode(&encoded, Limits::raw(100_000), 1 << 16).is_ok());
    assert!(matches!(refused(decode(&encoded, small, 1 << 16)), DecodeError::Corrupt(_)));
}

#[test]
fn silence_after_an_error_is_not_an_end() {
    let encoded = encode(&rows(3000), Effort::Fast);
    let mut decoder = Decoder::new(&encoded[..encoded.len() - 1], Limits::raw(3000)).unwrap();
    let mut out = Vec::new();
    assert!(decoder.read_to_end(&mut out).is_err());
    assert!(decoder.read(&mut [0; 10]).is_err());
    assert!(!decoder.is_proven());
}

#[test]
fn an_encoder_that_was_dropped_left_no_batch() {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, Effort::Fast).unwrap();
    encoder.write_all(&rows(1000)).unwrap();
    encoder.flush().unwrap();
    drop(encoder);
    assert!(matches!(refused(decode(&bytes, Limits::raw(1000), 100)), DecodeError::Truncated));
}

#[test]
fn the_chunk_table_is_that_of_the_bytes() {
    let raw = rows(100_000);
    let mut encoder = Encoder::new(ChunkCutter::new(Vec::new(), 1000), Effort::Fast).unwrap();
    encoder.write_all(&raw).unwrap();
    let encoded = encoder.finish().unwrap();
    let cut = encoded.w.finish().unwrap();
    assert_eq!((cut.encoded_bytes, &cut.blake3), (encoded.encoded_bytes, &encoded.blake3));
    assert_eq!(cut.chunks.iter().map(|chunk| chunk.bytes).sum::<u64>(), cut.encoded_bytes);
    for (bytes, entry) in cut.w.chunks(1000).zip(&cut.chunks) {
        assert_eq!(entry.blake3, blake3::hash(bytes).to_hex().to_string());
    }
}

/// Version 1 must be readable for ever. Written once by `Encoder` (effort auto) and checked in.
#[test]
fn version_1_is_read() {
    let golden = include_bytes!("golden/v1.batch");
    assert_eq!(decode(golden, Limits::raw(3000), 1000).unwrap(), rows(3000));
}

/// Version 2 too. Written once by `tests/seeds.rs`.
#[test]
fn version_2_is_read() {
    let (encoded, raw) = (include_bytes!("golden/v2.batch"), include_bytes!("golden/v2.native"));
    assert_eq!(decode(encoded, Limits::raw(raw.len() as u64), 1000).unwrap(), raw);
}
