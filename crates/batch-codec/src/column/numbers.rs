//! Fixed-width values in memory.

use crate::native::Kind;

/// Values of one width, as unsigned numbers; wider ones as their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Numbers {
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    /// `width` bytes each, end to end.
    Wide {
        width: usize,
        bytes: Vec<u8>,
    },
}

/// Runs the same expression on the vector of every width up to 8.
macro_rules! narrow {
    ($numbers:expr, $values:ident => $then:expr, wide($width:ident, $bytes:ident) => $wide:expr) => {
        match $numbers {
            Numbers::U8($values) => $then,
            Numbers::U16($values) => $then,
            Numbers::U32($values) => $then,
            Numbers::U64($values) => $then,
            Numbers::Wide { width: $width, bytes: $bytes } => $wide,
        }
    };
}
pub(crate) use narrow;

impl Numbers {
    /// No values of `width` bytes (at least 1).
    pub(crate) fn empty(width: usize) -> Self {
        match width {
            1 => Self::U8(Vec::new()),
            2 => Self::U16(Vec::new()),
            4 => Self::U32(Vec::new()),
            8 => Self::U64(Vec::new()),
            width => Self::Wide { width: width.max(1), bytes: Vec::new() },
        }
    }

    /// Bytes a value.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::U8(_) => 1,
            Self::U16(_) => 2,
            Self::U32(_) => 4,
            Self::U64(_) => 8,
            Self::Wide { width, .. } => *width,
        }
    }

    /// Values.
    pub(crate) fn len(&self) -> usize {
        narrow!(self, v => v.len(), wide(width, bytes) => bytes.len() / width)
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        narrow!(self, v => size_of_val(v.as_slice()), wide(_width, bytes) => bytes.len())
    }

    /// Appends little-endian bytes: whole values.
    pub(crate) fn extend_le(&mut self, raw: &[u8]) {
        match self {
            Self::U8(v) => v.extend_from_slice(raw),
            Self::U16(v) => v.extend(raw.as_chunks::<2>().0.iter().map(|c| u16::from_le_bytes(*c))),
            Self::U32(v) => v.extend(raw.as_chunks::<4>().0.iter().map(|c| u32::from_le_bytes(*c))),
            Self::U64(v) => v.extend(raw.as_chunks::<8>().0.iter().map(|c| u64::from_le_bytes(*c))),
            Self::Wide { bytes, .. } => bytes.extend_from_slice(raw),
        }
    }

    /// Writes values `from..to` as little-endian bytes.
    pub(crate) fn write_le(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        match self {
            Self::U8(v) => out.extend_from_slice(&v[from..to]),
            Self::U16(v) => v[from..to].iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            Self::U32(v) => v[from..to].iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            Self::U64(v) => v[from..to].iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            Self::Wide { width, bytes } => out.extend_from_slice(&bytes[from * width..to * width]),
        }
    }

    /// All values as little-endian bytes.
    pub(crate) fn to_le(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        self.write_le(0, self.len(), &mut out);
        out
    }

    /// Appends values of the same width.
    pub(crate) fn append(&mut self, other: Self) {
        if self.len() == 0 {
            *self = other;
            return;
        }
        match (self, other) {
            (Self::U8(a), Self::U8(b)) => a.extend_from_slice(&b),
            (Self::U16(a), Self::U16(b)) => a.extend_from_slice(&b),
            (Self::U32(a), Self::U32(b)) => a.extend_from_slice(&b),
            (Self::U64(a), Self::U64(b)) => a.extend_from_slice(&b),
            (Self::Wide { bytes, .. }, Self::Wide { bytes: b, .. }) => bytes.extend_from_slice(&b),
            _ => debug_assert!(false, "two widths in one column"),
        }
    }

    /// The values at these places, in this order.
    pub(crate) fn take(&self, places: &[u32]) -> Self {
        fn pick<T: Copy>(v: &[T], places: &[u32]) -> Vec<T> {
            places.iter().map(|p| v[*p as usize]).collect()
        }
        match self {
            Self::U8(v) => Self::U8(pick(v, places)),
            Self::U16(v) => Self::U16(pick(v, places)),
            Self::U32(v) => Self::U32(pick(v, places)),
            Self::U64(v) => Self::U64(pick(v, places)),
            Self::Wide { width, bytes } => {
                let mut out = Vec::with_capacity(places.len() * width);
                for p in places {
                    let from = *p as usize * width;
                    out.extend_from_slice(&bytes[from..from + width]);
                }
                Self::Wide { width: *width, bytes: out }
            }
        }
    }

    /// The values of these runs (start and length), in this order.
    pub(crate) fn gather(&self, runs: &[(u32, u32)]) -> Self {
        fn pick<T: Copy>(v: &[T], runs: &[(u32, u32)]) -> Vec<T> {
            let mut out = Vec::with_capacity(runs.iter().map(|run| run.1 as usize).sum());
            for (start, length) in runs {
                out.extend_from_slice(&v[*start as usize..(start + length) as usize]);
            }
            out
        }
        match self {
            Self::U8(v) => Self::U8(pick(v, runs)),
            Self::U16(v) => Self::U16(pick(v, runs)),
            Self::U32(v) => Self::U32(pick(v, runs)),
            Self::U64(v) => Self::U64(pick(v, runs)),
            Self::Wide { width, bytes } => {
                let mut out = Vec::new();
                for (start, length) in runs {
                    let start = *start as usize * width;
                    out.extend_from_slice(&bytes[start..start + *length as usize * width]);
                }
                Self::Wide { width: *width, bytes: out }
            }
        }
    }

    /// Value `at` as a number, when it has at most 8 bytes; signs are extended.
    pub(crate) fn wrapping_u64(&self, at: usize, kind: Kind) -> u64 {
        let signed = kind == Kind::Signed;
        match self {
            Self::U8(v) if signed => v[at].cast_signed() as u64,
            Self::U16(v) if signed => v[at].cast_signed() as u64,
            Self::U32(v) if signed => v[at].cast_signed() as u64,
            Self::U8(v) => v[at].into(),
            Self::U16(v) => v[at].into(),
            Self::U32(v) => v[at].into(),
            Self::U64(v) => v[at],
            Self::Wide { .. } => 0,
        }
    }

    /// All values as numbers; see [`Numbers::wrapping_u64`].
    pub(crate) fn to_u64(&self, kind: Kind) -> Vec<u64> {
        match self {
            Self::U64(v) => v.clone(),
            _ => (0..self.len()).map(|at| self.wrapping_u64(at, kind)).collect(),
        }
    }

    /// All values are the same (true for none).
    pub(crate) fn is_constant(&self) -> bool {
        narrow!(self, v => v.windows(2).all(|w| w[0] == w[1]),
            wide(width, bytes) => bytes.len() <= *width || bytes[*width..] == bytes[..bytes.len() - width])
    }
}
