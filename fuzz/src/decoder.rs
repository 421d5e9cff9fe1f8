//! Any bytes as a batch: as they are, and with every hash of a version 2 container put right, so that
//! what is behind the hashes is reached.

use std::io::Read;

use batch_codec::{Decoder, Limits};

const MAX_RAW_BYTES: u64 = 4 << 20;

/// See the head of this file.
pub fn decoder(data: &[u8]) {
    decode(data, 1);
    if let Some(repaired) = repair(data) {
        decode(&repaired, 2);
    }
}

fn decode(bytes: &[u8], threads: usize) {
    let limits = Limits::raw(MAX_RAW_BYTES);
    let Ok(mut decoder) = Decoder::with_threads(bytes, limits, threads) else { return };
    let mut piece = vec![0; 64 << 10];
    let mut out = 0;
    while let Ok(got) = decoder.read(&mut piece) {
        if got == 0 {
            assert!(decoder.is_proven());
            return;
        }
        out += got as u64;
        assert!(out <= MAX_RAW_BYTES);
    }
    assert!(decoder.read(&mut piece).is_err());
}

/// The same container with the right hashes; `None` when there is no container to see.
fn repair(data: &[u8]) -> Option<Vec<u8>> {
    let mut out = data.to_vec();
    let mut at = 11 + usize::from(*data.get(10)?);
    let length = u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?) as usize;
    hash(&mut out, at + 4, at + 36, length)?;
    at += 36 + length;
    while *data.get(at)? != 0 {
        let length = u32::from_le_bytes(data.get(at + 1..at + 5)?.try_into().ok()?) as usize;
        hash(&mut out, at + 5, at + 37, length)?;
        at += 37 + length;
    }
    Some(out)
}

fn hash(out: &mut [u8], to: usize, from: usize, length: usize) -> Option<()> {
    let hash = blake3::hash(out.get(from..from.checked_add(length)?)?);
    out.get_mut(to..to + 32)?.copy_from_slice(hash.as_bytes());
    Some(())
}
