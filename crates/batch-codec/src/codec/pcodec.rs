//! Numbers by pco: bins and ANS on values or their differences (<https://github.com/pcodec/pcodec>).

use pco::{
    ChunkConfig, ModeSpec, PagingSpec,
    data_types::Number,
    errors::PcoError,
    wrapped::{FileCompressor, FileDecompressor},
};

use super::{
    Budget,
    wire::{Wire, corrupt, put_block},
};
use crate::{DecodeError, column::Numbers, native::Kind};

/// Most values in one chunk of pco; longer runs are several chunks.
const CHUNK: usize = 1 << 18;

/// Encodes numbers of at most 8 bytes; `None` when pco will not.
pub(crate) fn encode(numbers: &Numbers, kind: Kind, level: usize) -> Option<Vec<u8>> {
    // Factors of integers are taken out before; looking for them, pco would not choose the same every time.
    let whole = ModeSpec::Classic;
    fn signed<A: Copy, B>(values: &[A], cast: impl Fn(A) -> B) -> Vec<B> {
        values.iter().map(|v| cast(*v)).collect()
    }
    match (numbers, kind) {
        (Numbers::U8(v), Kind::Signed) => chunks(&signed(v, u8::cast_signed), whole, level),
        (Numbers::U8(v), _) => chunks(v, whole, level),
        (Numbers::U16(v), Kind::Signed) => chunks(&signed(v, u16::cast_signed), whole, level),
        (Numbers::U16(v), _) => chunks(v, whole, level),
        (Numbers::U32(v), Kind::Signed) => chunks(&signed(v, u32::cast_signed), whole, level),
        (Numbers::U32(v), Kind::Float) => chunks(&signed(v, f32::from_bits), ModeSpec::Auto, level),
        (Numbers::U32(v), _) => chunks(v, whole, level),
        (Numbers::U64(v), Kind::Signed) => chunks(&signed(v, u64::cast_signed), whole, level),
        (Numbers::U64(v), Kind::Float) => chunks(&signed(v, f64::from_bits), ModeSpec::Auto, level),
        (Numbers::U64(v), _) => chunks(v, whole, level),
        (Numbers::Wide { .. }, _) => None,
    }
}

fn chunks<T: Number>(values: &[T], mode: ModeSpec, level: usize) -> Option<Vec<u8>> {
    let config =
        ChunkConfig::default().with_compression_level(level).with_mode_spec(mode).with_enable_8_bit(true);
    let compressor = FileCompressor::default();
    let mut out = compressor.write_header(Vec::new()).ok()?;
    for chunk in values.chunks(CHUNK) {
        let config = config.clone().with_paging_spec(PagingSpec::Exact(vec![chunk.len()]));
        let mut compressor = compressor.chunk_compressor(chunk, &config).ok()?;
        let mut bytes = compressor.write_meta(Vec::new()).ok()?;
        bytes = compressor.write_page(0, bytes).ok()?;
        put_block(&bytes, &mut out);
    }
    Some(out)
}

/// Decodes `count` numbers of `width` bytes.
pub(crate) fn decode(
    wire: &mut Wire<'_>,
    width: usize,
    kind: Kind,
    count: usize,
    budget: &Budget,
) -> Result<Numbers, DecodeError> {
    budget.spend(count, width)?;
    fn unsigned<A: Copy, B>(values: Vec<A>, cast: impl Fn(A) -> B) -> Vec<B> {
        values.into_iter().map(cast).collect()
    }
    Ok(match (width, kind) {
        (1, Kind::Signed) => Numbers::U8(unsigned(read::<i8>(wire, count)?, i8::cast_unsigned)),
        (1, _) => Numbers::U8(read(wire, count)?),
        (2, Kind::Signed) => Numbers::U16(unsigned(read::<i16>(wire, count)?, i16::cast_unsigned)),
        (2, _) => Numbers::U16(read(wire, count)?),
        (4, Kind::Signed) => Numbers::U32(unsigned(read::<i32>(wire, count)?, i32::cast_unsigned)),
        (4, Kind::Float) => Numbers::U32(unsigned(read::<f32>(wire, count)?, f32::to_bits)),
        (4, _) => Numbers::U32(read(wire, count)?),
        (8, Kind::Signed) => Numbers::U64(unsigned(read::<i64>(wire, count)?, i64::cast_unsigned)),
        (8, Kind::Float) => Numbers::U64(unsigned(read::<f64>(wire, count)?, f64::to_bits)),
        (8, _) => Numbers::U64(read(wire, count)?),
        _ => return Err(corrupt("pco on wide values")),
    })
}

fn read<T: Number + Default>(wire: &mut Wire<'_>, count: usize) -> Result<Vec<T>, DecodeError> {
    let refused = |error: PcoError| DecodeError::Corrupt(format!("pco: {error}"));
    let (file, rest) = FileDecompressor::new(wire.rest()).map_err(refused)?;
    wire.take(wire.rest().len() - rest.len())?;
    let mut values = vec![T::default(); count];
    for chunk in values.chunks_mut(CHUNK) {
        let bytes = wire.block()?;
        check_memory(bytes, size_of::<T>(), chunk.len())?;
        let (mut decompressor, rest) = file.chunk_decompressor::<T, _>(bytes).map_err(refused)?;
        let mut page = decompressor.page_decompressor(rest, chunk.len()).map_err(refused)?;
        let progress = page.read(chunk).map_err(refused)?;
        if progress.n_processed != chunk.len() || !page.into_src().is_empty() {
            return Err(corrupt("pco: another number of values"));
        }
    }
    Ok(values)
}

/// What a chunk makes pco allocate besides its values: a dictionary (never written here), or a window
/// of earlier values, which need not be longer than the next power of two above their number.
fn check_memory(chunk: &[u8], width: usize, count: usize) -> Result<(), DecodeError> {
    let bit = |at: usize| chunk.get(at / 8).map_or(0, |byte| usize::from(byte >> (at % 8) & 1));
    let bits = |from: usize, n: usize| (0..n).fold(0, |value, i| value | bit(from + i) << i);
    let mode_bits = match bits(0, 4) {
        0 => 0,
        1 | 2 => width * 8,
        3 => 8,
        _ => return Err(corrupt("pco: a mode that is not used here")),
    };
    let delta = 4 + mode_bits;
    match bits(delta, 4) {
        2 => {
            let window_log = 1 + bits(delta + 4, 5);
            if window_log > 15 && 1 << window_log > 2 * count.next_power_of_two() {
                return Err(corrupt("pco: a window longer than the values"));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(numbers: &Numbers, kind: Kind) {
        let bytes = encode(numbers, kind, 8).unwrap();
        let mut wire = Wire::new(&bytes);
        let budget = Budget::new(1 << 30);
        assert_eq!(decode(&mut wire, numbers.width(), kind, numbers.len(), &budget).unwrap(), *numbers);
        wire.end().unwrap();
    }

    #[test]
    fn every_bit_of_a_float_comes_back() {
        let odd = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 1.5, f64::MAX];
        let mut bits: Vec<u64> = odd.iter().map(|v| v.to_bits()).collect();
        bits.extend([0x7ff0_0000_0000_0001, 0xfff8_dead_beef_0001, 1, u64::MAX]);
        let bits: Vec<u64> = bits.iter().cycle().take(3000).copied().collect();
        round(&Numbers::U64(bits.clone()), Kind::Float);
        round(&Numbers::U32(bits.iter().map(|b| (b >> 32) as u32 | (*b as u32 & 1)).collect()), Kind::Float);
    }

    #[test]
    fn long_runs_are_several_chunks() {
        let values: Vec<u64> = (0..CHUNK as u64 * 2 + 5).map(|i| i * i % 1_000_003).collect();
        round(&Numbers::U64(values.clone()), Kind::Signed);
        round(&Numbers::U8(values.iter().map(|v| *v as u8).collect()), Kind::Unsigned);
    }

    #[test]
    fn lookback_windows_are_measured() {
        // A pattern that pco codes by looking back, so that the check meets the real layout.
        let values: Vec<u64> = (0..4000_u64).map(|i| (i % 100).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        round(&Numbers::U64(values), Kind::Unsigned);
        assert!(check_memory(&[0x20, 23], 8, 4000).is_err());
        assert!(check_memory(&[0x04], 8, 4000).is_err());
    }
}
