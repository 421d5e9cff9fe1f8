//! Any bytes as Native: whatever they are, they come back the same.

use std::io::{Read, Write};

use batch_codec::{Decoder, Effort, Encoder, Limits};

/// See the head of this file.
pub fn native_reader(data: &[u8]) {
    let Some((choice, raw)) = data.split_first() else { return };
    let effort = if choice & 1 == 0 { Effort::Fast } else { Effort::Auto };
    let mut encoder = Encoder::new(Vec::new(), effort).unwrap();
    for piece in raw.chunks(1 + usize::from(choice >> 1) * 16) {
        encoder.write_all(piece).unwrap();
    }
    let encoded = encoder.finish().unwrap().w;
    let mut decoder = Decoder::new(encoded.as_slice(), Limits::raw(raw.len() as u64)).unwrap();
    let mut out = Vec::new();
    decoder.read_to_end(&mut out).unwrap();
    assert_eq!(out, raw);
}
