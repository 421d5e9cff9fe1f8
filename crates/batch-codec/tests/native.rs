//! Native blocks of any schema and any values come back, byte for byte; nothing else passes for them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic here is a failed test")]

mod support;

use batch_codec::{DecodeError, Effort};
use proptest::prelude::*;
use support::{Shape, decode, encode, encode_in, first_frame, native, put_text, put_varint, shape};

const GROUP: u8 = 1;
const OPAQUE: u8 = 3;

fn efforts() -> impl Strategy<Value = Effort> {
    prop_oneof![Just(Effort::Fast), Just(Effort::Auto), Just(Effort::Ultra)]
}

fn key() -> Shape {
    Shape::LowCardinality(Box::new(Shape::Text), false)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_schema_and_values_come_back(
        columns in prop::collection::vec(shape(), 1..6),
        blocks in prop::collection::vec(prop_oneof![Just(0_usize), Just(1), 0..60_usize, 0..700_usize], 1..4),
        seed: u64,
        effort in efforts(),
        piece in 1..3000_usize,
    ) {
        let raw = native(&columns, &blocks, seed);
        let encoded = encode_in(&raw, effort, piece, 1);
        prop_assert_eq!(first_frame(&encoded), GROUP, "{:?}", columns.iter().map(Shape::name).collect::<Vec<_>>());
        prop_assert!(decode(&encoded, raw.len() as u64).unwrap() == raw);
    }

    #[test]
    fn rows_in_any_order_come_back(
        columns in prop::collection::vec(shape(), 0..4),
        rows in 100..4000_usize,
        seed: u64,
        threads in 1..3_usize,
    ) {
        let mut all = vec![Shape::Fixed("DateTime64(3)".into(), 8), key(), key()];
        all.extend(columns);
        let raw = native(&all, &[rows, rows / 3, 0, 7], seed);
        let encoded = encode_in(&raw, Effort::Fast, 1 << 20, threads);
        prop_assert!(decode(&encoded, raw.len() as u64).unwrap() == raw);
        prop_assert!(encode_in(&raw, Effort::Fast, 999, 1) == encoded, "threads and pieces change nothing");
    }

    #[test]
    fn changed_bytes_are_an_error_or_the_right_rows(
        columns in prop::collection::vec(shape(), 1..4),
        rows in 1..200_usize,
        seed: u64,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let raw = native(&columns, &[rows], seed);
        let mut encoded = encode(&raw, Effort::Fast);
        for (at, byte) in changes {
            let at = at.index(encoded.len());
            encoded[at] = byte;
        }
        if let Ok(out) = decode(&encoded, raw.len() as u64) {
            prop_assert_eq!(out, raw);
        }
    }

    #[test]
    fn broken_native_comes_back_too(
        columns in prop::collection::vec(shape(), 1..4),
        seed: u64,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut raw = native(&columns, &[50, 3], seed);
        for (at, byte) in changes {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        raw.truncate(1 + cut.index(raw.len()));
        let encoded = encode(&raw, Effort::Fast);
        prop_assert!(decode(&encoded, raw.len() as u64).unwrap() == raw);
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_seen() {
    let columns =
        [Shape::Fixed("DateTime64(3)".into(), 8), key(), Shape::Text, Shape::Array(Box::new(Shape::Text))];
    let raw = native(&columns, &[90, 0, 40], 7);
    let encoded = encode(&raw, Effort::Auto);
    for end in 0..encoded.len() {
        let error = decode(&encoded[..end], raw.len() as u64).unwrap_err();
        assert!(matches!(DecodeError::of(&error), Some(DecodeError::Truncated)), "cut at {end}: {error}");
    }
    for at in 0..encoded.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = encoded.clone();
            changed[at] ^= flip;
            assert!(decode(&changed, raw.len() as u64).is_err(), "byte {at}");
        }
    }
    let mut longer = encoded.clone();
    longer.push(0);
    let error = decode(&longer, raw.len() as u64).unwrap_err();
    assert!(matches!(DecodeError::of(&error), Some(DecodeError::TrailingBytes)));
    let error = decode(&encoded, raw.len() as u64 - 1).unwrap_err();
    assert!(matches!(DecodeError::of(&error), Some(DecodeError::TooLarge { .. })), "{error}");
}

/// Frames and footer whose own hashes are right, but which together are other rows than were encoded.
#[test]
fn the_hash_of_the_whole_is_compared() {
    let raw = native(&[key(), Shape::Text], &[40], 3);
    let encoded = encode(&raw, Effort::Auto);
    let trailer = encoded.len() - 40;
    let length = u32::from_le_bytes(encoded[trailer + 32..trailer + 36].try_into().unwrap()) as usize;
    let body = trailer - length;
    for (at, what) in [(body + 16, "hash"), (body, "raw bytes"), (body + 8, "rows"), (body + 48, "groups")] {
        let mut changed = encoded.clone();
        changed[at] ^= 1;
        let hash = blake3::hash(&changed[body..trailer]);
        changed[trailer..trailer + 32].copy_from_slice(hash.as_bytes());
        let error = decode(&changed, raw.len() as u64 + 9).unwrap_err();
        let error = DecodeError::of(&error).expect("ours");
        let right = match what {
            "hash" => matches!(error, DecodeError::HashMismatch),
            "groups" => matches!(error, DecodeError::Corrupt(_)),
            _ => matches!(error, DecodeError::LengthMismatch { .. }),
        };
        assert!(right, "{what}: {error}");
    }
}

#[test]
fn types_that_are_not_known_travel_as_they_are() {
    let mut raw = native(&[Shape::Text], &[20], 1);
    for name in ["JSON", "Variant(String, UInt8)", "AggregateFunction(uniq, UInt64)", "Dynamic"] {
        put_varint(1, &mut raw);
        put_varint(2, &mut raw);
        put_text(b"c0", &mut raw);
        put_text(name.as_bytes(), &mut raw);
        raw.extend([1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let encoded = encode(&raw, Effort::Auto);
        assert_eq!(first_frame(&encoded), GROUP, "what came before is read");
        assert_eq!(decode(&encoded, raw.len() as u64).unwrap(), raw);
        let encoded = encode(&raw[100..], Effort::Auto);
        assert_eq!(first_frame(&encoded), OPAQUE);
        assert_eq!(decode(&encoded, raw.len() as u64).unwrap(), &raw[100..]);
    }
}

#[test]
fn a_batch_of_no_rows_keeps_its_columns() {
    for blocks in [&[][..], &[0], &[0, 0]] {
        let raw = native(&[key(), Shape::Text], blocks, 1);
        assert_eq!(decode(&encode(&raw, Effort::Auto), raw.len() as u64).unwrap(), raw);
    }
}

/// Rows whose columns take far more memory than bytes, and text of more numbers than bytes suggest: they
/// must neither be refused by the decoder nor read column by column at any price.
#[test]
fn heavy_columns_come_back() {
    let one = |name: &str, rows: usize, data: &[u8]| {
        let mut raw = Vec::new();
        put_varint(30, &mut raw);
        put_varint(rows as u64, &mut raw);
        for column in 0..30 {
            put_text(format!("c{column}").as_bytes(), &mut raw);
            put_text(name.as_bytes(), &mut raw);
            raw.extend_from_slice(data);
        }
        raw
    };
    let empty = one("String", 1 << 20, &vec![0; 1 << 20]);
    assert_eq!(first_frame(&encode(&empty, Effort::Fast)), OPAQUE, "125 MB of offsets");
    let numbers: Vec<u8> = (0..9000).flat_map(|i| format!("d{i}").into_bytes()).map(|b| b & 0x7f).collect();
    let digits = |rows: usize| {
        let mut data = Vec::new();
        for row in 0..rows {
            put_text(&numbers[row % 20..row % 20 + 90], &mut data);
        }
        data
    };
    let lists = {
        let mut data = Vec::new();
        let list: String = (0..2000).map(|i| format!("{},", i % 10)).collect();
        (0..500).for_each(|row| put_text(&list.as_bytes()[row % 7..], &mut data));
        data
    };
    for raw in [empty, one("String", 10_000, &digits(10_000)), one("String", 500, &lists)] {
        let encoded = encode(&raw, Effort::Fast);
        assert!(decode(&encoded, raw.len() as u64).unwrap() == raw);
    }
}
