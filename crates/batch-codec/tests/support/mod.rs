//! Random Native blocks, written by the test's own hand.

#![allow(dead_code, clippy::unwrap_used, reason = "not every test uses all; a panic is a failed test")]

use std::io::{Read, Write};

use batch_codec::{Decoder, Effort, Encoder, Limits};
use proptest::prelude::*;

/// A type, and what its values look like.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Name and width; values are any bytes.
    Fixed(String, usize),
    Text,
    Nullable(Box<Shape>),
    Array(Box<Shape>),
    Map(Box<Shape>, Box<Shape>),
    Tuple(Vec<(Option<String>, Shape)>),
    LowCardinality(Box<Shape>, bool),
}

impl Shape {
    /// As ClickHouse spells it.
    pub fn name(&self) -> String {
        match self {
            Self::Fixed(name, _) => name.clone(),
            Self::Text => "String".into(),
            Self::Nullable(inner) => format!("Nullable({})", inner.name()),
            Self::Array(inner) => format!("Array({})", inner.name()),
            Self::Map(key, value) => format!("Map({}, {})", key.name(), value.name()),
            Self::Tuple(fields) => {
                let field = |(name, shape): &(Option<String>, Shape)| match name {
                    Some(name) => format!("{name} {}", shape.name()),
                    None => shape.name(),
                };
                format!("Tuple({})", fields.iter().map(field).collect::<Vec<_>>().join(", "))
            }
            Self::LowCardinality(inner, true) => format!("LowCardinality(Nullable({}))", inner.name()),
            Self::LowCardinality(inner, false) => format!("LowCardinality({})", inner.name()),
        }
    }

    fn prefix(&self, out: &mut Vec<u8>) {
        match self {
            Self::Fixed(..) | Self::Text => {}
            Self::Nullable(inner) | Self::Array(inner) => inner.prefix(out),
            Self::Map(key, value) => {
                key.prefix(out);
                value.prefix(out);
            }
            Self::Tuple(fields) => fields.iter().for_each(|(_, field)| field.prefix(out)),
            Self::LowCardinality(..) => out.extend(1_u64.to_le_bytes()),
        }
    }

    fn data(&self, rows: usize, dice: &mut Dice, out: &mut Vec<u8>) {
        match self {
            Self::Fixed(_, width) => dice.fixed(rows, *width, out),
            Self::Text => dice.texts(rows).iter().for_each(|text| put_text(text, out)),
            Self::Nullable(inner) => {
                (0..rows).for_each(|_| out.push(u8::from(dice.below(3) == 0)));
                inner.data(rows, dice, out);
            }
            Self::Array(inner) => {
                let total = ends(rows, dice, out);
                inner.data(total, dice, out);
            }
            Self::Map(key, value) => {
                let total = ends(rows, dice, out);
                key.data(total, dice, out);
                value.data(total, dice, out);
            }
            Self::Tuple(fields) => fields.iter().for_each(|(_, field)| field.data(rows, dice, out)),
            Self::LowCardinality(inner, _) if rows > 0 => {
                let most = if dice.below(8) == 0 { 300 } else { 5 };
                let keys = 1 + dice.below(most) as usize;
                let code = u64::from(keys > 256);
                out.extend((code | 1 << 9 | (dice.below(2) << 10)).to_le_bytes());
                out.extend((keys as u64).to_le_bytes());
                inner.data(keys, dice, out);
                out.extend((rows as u64).to_le_bytes());
                for _ in 0..rows {
                    let id = dice.below(keys as u64);
                    out.extend(&id.to_le_bytes()[..1 + code as usize]);
                }
            }
            Self::LowCardinality(..) => {}
        }
    }
}

fn ends(rows: usize, dice: &mut Dice, out: &mut Vec<u8>) -> usize {
    let mut end = 0;
    for _ in 0..rows {
        end += dice.below(4) * dice.below(3);
        out.extend(end.to_le_bytes());
    }
    end as usize
}

pub fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_varint(text.len() as u64, out);
    out.extend_from_slice(text);
}

/// Any shape up to a depth of three.
pub fn shape() -> impl Strategy<Value = Shape> {
    let fixed = prop::sample::select(vec![
        ("UInt8", 1),
        ("Int8", 1),
        ("Bool", 1),
        ("UInt16", 2),
        ("Int16", 2),
        ("UInt32", 4),
        ("Int32", 4),
        ("UInt64", 8),
        ("Int64", 8),
        ("UInt128", 16),
        ("Int256", 32),
        ("Float32", 4),
        ("Float64", 8),
        ("BFloat16", 2),
        ("Decimal(9, 2)", 4),
        ("Decimal(18, 8)", 8),
        ("Decimal(38, 10)", 16),
        ("Decimal(76, 20)", 32),
        ("Date", 2),
        ("Date32", 4),
        ("DateTime", 4),
        ("DateTime('UTC')", 4),
        ("DateTime64(3, 'UTC')", 8),
        ("Enum8('a' = 1, 'b,)' = 2)", 1),
        ("Enum16('x' = -1)", 2),
        ("UUID", 16),
        ("IPv4", 4),
        ("IPv6", 16),
        ("FixedString(5)", 5),
    ])
    .prop_map(|(name, width)| Shape::Fixed(name.to_owned(), width));
    let scalar = prop_oneof![3 => fixed, 2 => Just(Shape::Text)].boxed();
    let leaf = prop_oneof![
        4 => scalar.clone(),
        1 => scalar.clone().prop_map(|inner| Shape::Nullable(Box::new(inner))),
        2 => (Just(Shape::Text), any::<bool>()).prop_map(|(inner, null)| Shape::LowCardinality(Box::new(inner), null)),
        1 => Just(Shape::LowCardinality(Box::new(Shape::Fixed("Date".into(), 2)), true)),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Shape::Array(Box::new(inner))),
            (inner.clone(), inner.clone()).prop_map(|(k, v)| Shape::Map(Box::new(k), Box::new(v))),
            prop::collection::vec((prop::option::of("[a-z]{1,5}"), inner), 1..3).prop_map(Shape::Tuple),
        ]
    })
}

/// Numbers by chance, the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    /// Values of one of several characters: extremes, noise, a walk, few distinct, multiples.
    fn fixed(&mut self, rows: usize, width: usize, out: &mut Vec<u8>) {
        let character = self.below(6);
        let mut walk = self.next();
        let base = self.next();
        for _ in 0..rows {
            let value = match character {
                0 => {
                    [0, 1, u64::MAX, 1 << 63, i64::MAX as u64, 0x7ff0_0000_0000_0001][self.below(6) as usize]
                }
                1 => self.next(),
                2 => {
                    walk = walk.wrapping_add(self.below(100));
                    walk
                }
                3 => self.below(3),
                4 => base.wrapping_add(self.below(1000).wrapping_mul(1_000_000)),
                _ => base,
            };
            let fill = if value >> 63 == 1 && character != 1 { 0xff } else { 0 };
            (0..width).for_each(|i| out.push(value.to_le_bytes().get(i).copied().unwrap_or(fill)));
        }
    }

    fn texts(&mut self, rows: usize) -> Vec<Vec<u8>> {
        let character = self.below(7);
        let mut id = self.below(1 << 40);
        (0..rows)
            .map(|_| {
                let odd = self.below(20) == 0;
                match character {
                    _ if odd => [
                        &b""[..],
                        b"007",
                        b"+1",
                        b"-0.0",
                        b"-5",
                        b"1e5",
                        b"\xff\xfe",
                        b"18446744073709551616",
                        b"[[\"1.5\",\"0\"]]",
                        b"99999999999999999999.00",
                        b"0",
                    ][self.below(11) as usize]
                        .to_vec(),
                    0 => (0..self.below(40)).map(|_| self.next() as u8).collect(),
                    1 => {
                        id += self.below(3);
                        id.to_string().into_bytes()
                    }
                    2 | 3 => {
                        let levels = self.below(9);
                        let level = |dice: &mut Self| {
                            let quantity = dice.below(3) * dice.below(100_000);
                            format!(
                                "[\"{}.{:02}\",\"{}.{:05}\"]",
                                60_000 + dice.below(50),
                                dice.below(100),
                                quantity / 100,
                                quantity
                            )
                        };
                        let levels: Vec<String> = (0..levels).map(|_| level(self)).collect();
                        format!("[{}]", levels.join(",")).into_bytes()
                    }
                    4 => {
                        format!("2024-08-{:02} took {} ms", 1 + self.below(30), self.below(900)).into_bytes()
                    }
                    5 => [&b"buy"[..], b"sell", b"", b"hold"][self.below(4) as usize].to_vec(),
                    _ => b"same".to_vec(),
                }
            })
            .collect()
    }
}

/// Blocks of these columns.
pub fn native(columns: &[Shape], blocks: &[usize], seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut out = Vec::new();
    for rows in blocks {
        put_varint(columns.len() as u64, &mut out);
        put_varint(*rows as u64, &mut out);
        for (at, column) in columns.iter().enumerate() {
            put_text(format!("c{at}").as_bytes(), &mut out);
            put_text(column.name().as_bytes(), &mut out);
            if *rows > 0 {
                column.prefix(&mut out);
                column.data(*rows, &mut dice, &mut out);
            }
        }
    }
    out
}

pub fn encode_in(raw: &[u8], effort: Effort, piece: usize, threads: usize) -> Vec<u8> {
    let mut encoder = Encoder::with_threads(Vec::new(), effort, threads).unwrap();
    raw.chunks(piece.max(1)).for_each(|part| encoder.write_all(part).unwrap());
    let encoded = encoder.finish().unwrap();
    assert_eq!(encoded.raw_bytes, raw.len() as u64);
    encoded.w
}

pub fn encode(raw: &[u8], effort: Effort) -> Vec<u8> {
    encode_in(raw, effort, 1 << 16, 1)
}

/// Everything, or the error; with one thread and with three, which must agree.
pub fn decode(bytes: &[u8], max_raw_bytes: u64) -> std::io::Result<Vec<u8>> {
    let out = decode_in(bytes, max_raw_bytes, 1);
    assert_eq!(out.as_ref().ok(), decode_in(bytes, max_raw_bytes, 3).as_ref().ok(), "threads change nothing");
    out
}

fn decode_in(bytes: &[u8], max_raw_bytes: u64, threads: usize) -> std::io::Result<Vec<u8>> {
    let mut decoder = Decoder::with_threads(bytes, Limits::raw(max_raw_bytes), threads)?;
    let mut out = Vec::new();
    decoder.read_to_end(&mut out)?;
    assert!(decoder.is_proven());
    Ok(out)
}

/// Bytes of a frame's head, where a batch that was read as Native has its first frame kind.
pub fn first_frame(encoded: &[u8]) -> u8 {
    let schema = 8 + 2 + 1 + usize::from(encoded[10]);
    let length = u32::from_le_bytes(encoded[schema..schema + 4].try_into().unwrap()) as usize;
    encoded[schema + 4 + 32 + length]
}

/// A batch in which every codec is met, and its rows.
pub fn golden_v2() -> (Vec<u8>, Vec<u8>) {
    let fixed = |name: &str, width| Shape::Fixed(name.into(), width);
    let key = || Shape::LowCardinality(Box::new(Shape::Text), false);
    let columns = [
        fixed("DateTime64(3, 'UTC')", 8),
        key(),
        Shape::Text,
        Shape::Text,
        Shape::Nullable(Box::new(fixed("Decimal(18, 8)", 8))),
        Shape::Array(Box::new(Shape::Tuple(vec![(None, fixed("Float64", 8)), (None, Shape::Text)]))),
        fixed("UUID", 16),
        Shape::LowCardinality(Box::new(Shape::Text), true),
        Shape::Map(Box::new(key()), Box::new(fixed("Int256", 32))),
        Shape::Text,
        fixed("FixedString(5)", 5),
    ];
    let mut raw = native(&columns, &[200, 0, 90], 21);
    // The rest is not Native, and so opaque.
    raw.extend_from_slice(b"not Native");
    let encoded = encode(&raw, Effort::Auto);
    (raw, encoded)
}
