//! The tree of one column.

use super::{Numbers, Text};
use crate::native::{Kind, Type};

/// Rows of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Column {
    Numbers(Numbers, Kind),
    Text(Text),
    Nullable {
        nulls: Numbers,
        inner: Box<Column>,
    },
    Array {
        sizes: Vec<u32>,
        inner: Box<Column>,
    },
    Tuple(Vec<Column>),
    /// Indices into a dictionary that is kept elsewhere.
    Coded(Vec<u32>),
}

/// One run of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leaf {
    Numbers(Numbers, Kind),
    Text(Text),
}

impl Column {
    /// No rows.
    pub(crate) fn empty(ty: &Type) -> Self {
        match ty {
            Type::Number { width, kind } => Self::Numbers(Numbers::empty(*width), *kind),
            Type::Text => Self::Text(Text::default()),
            Type::Nullable(inner) => {
                Self::Nullable { nulls: Numbers::empty(1), inner: Box::new(Self::empty(inner)) }
            }
            Type::Array(inner) => Self::Array { sizes: Vec::new(), inner: Box::new(Self::empty(inner)) },
            Type::Tuple(fields) => Self::Tuple(fields.iter().map(Self::empty).collect()),
            Type::LowCardinality(_) => Self::Coded(Vec::new()),
        }
    }

    /// Dictionaries that its indices refer to, depth first.
    pub(crate) fn dictionaries(&self) -> usize {
        match self {
            Self::Numbers(..) | Self::Text(_) => 0,
            Self::Coded(_) => 1,
            Self::Nullable { inner, .. } | Self::Array { inner, .. } => inner.dictionaries(),
            Self::Tuple(fields) => fields.iter().map(Self::dictionaries).sum(),
        }
    }

    /// Bytes of memory, about.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Numbers(numbers, _) => numbers.bytes(),
            Self::Text(text) => text.memory(),
            Self::Nullable { nulls, inner } => nulls.bytes() + inner.memory(),
            Self::Array { sizes, inner } => size_of_val(sizes.as_slice()) + inner.memory(),
            Self::Tuple(fields) => fields.iter().map(Self::memory).sum(),
            Self::Coded(ids) => size_of_val(ids.as_slice()),
        }
    }

    /// Appends rows of the same shape.
    pub(crate) fn append(&mut self, other: Self) {
        match (self, other) {
            (Self::Numbers(a, _), Self::Numbers(b, _)) => a.append(b),
            (Self::Text(a), Self::Text(b)) => a.append(b),
            (Self::Nullable { nulls, inner }, Self::Nullable { nulls: n, inner: i }) => {
                nulls.append(n);
                inner.append(*i);
            }
            (Self::Array { sizes, inner }, Self::Array { sizes: s, inner: i }) => {
                sizes.extend_from_slice(&s);
                inner.append(*i);
            }
            (Self::Tuple(a), Self::Tuple(b)) => a.iter_mut().zip(b).for_each(|(a, b)| a.append(b)),
            (Self::Coded(a), Self::Coded(b)) => a.extend_from_slice(&b),
            _ => debug_assert!(false, "two shapes in one column"),
        }
    }

    /// The rows at these places, in this order.
    pub(crate) fn take(&self, places: &[u32]) -> Self {
        match self {
            Self::Numbers(numbers, kind) => Self::Numbers(numbers.take(places), *kind),
            Self::Text(text) => Self::Text(text.take(places)),
            Self::Nullable { nulls, inner } => {
                Self::Nullable { nulls: nulls.take(places), inner: Box::new(inner.take(places)) }
            }
            Self::Array { sizes, inner } => {
                let starts = starts(sizes);
                let runs: Vec<_> = places.iter().map(|p| (starts[*p as usize], sizes[*p as usize])).collect();
                Self::Array {
                    sizes: places.iter().map(|p| sizes[*p as usize]).collect(),
                    inner: Box::new(inner.gather(&runs)),
                }
            }
            Self::Tuple(fields) => Self::Tuple(fields.iter().map(|field| field.take(places)).collect()),
            Self::Coded(ids) => Self::Coded(places.iter().map(|p| ids[*p as usize]).collect()),
        }
    }

    /// The rows of these runs (start and length), in this order.
    fn gather(&self, runs: &[(u32, u32)]) -> Self {
        match self {
            Self::Numbers(numbers, kind) => Self::Numbers(numbers.gather(runs), *kind),
            Self::Text(text) => Self::Text(text.gather(runs)),
            Self::Nullable { nulls, inner } => {
                Self::Nullable { nulls: nulls.gather(runs), inner: Box::new(inner.gather(runs)) }
            }
            Self::Array { sizes, inner } => {
                let starts = starts(sizes);
                let at = |row: u32| starts[row as usize];
                let elements: Vec<_> = runs
                    .iter()
                    .map(|(start, length)| (at(*start), at(start + length) - at(*start)))
                    .collect();
                let pick = |(start, length): &(u32, u32)| &sizes[*start as usize..(start + length) as usize];
                Self::Array {
                    sizes: runs.iter().flat_map(pick).copied().collect(),
                    inner: Box::new(inner.gather(&elements)),
                }
            }
            Self::Tuple(fields) => Self::Tuple(fields.iter().map(|field| field.gather(runs)).collect()),
            Self::Coded(ids) => {
                let pick = |(start, length): &(u32, u32)| &ids[*start as usize..(start + length) as usize];
                Self::Coded(runs.iter().flat_map(pick).copied().collect())
            }
        }
    }

    /// Lets [`Column::slice`] share strings.
    pub(crate) fn share(&mut self) {
        if let Self::Text(text) = self {
            text.share();
        }
    }

    /// Rows `from..to`.
    pub(crate) fn slice(&self, from: usize, to: usize) -> Self {
        match self {
            Self::Text(text) => Self::Text(text.slice(from, to)),
            _ => self.gather(&[(from as u32, (to - from) as u32)]),
        }
    }

    /// Its leaves, depth first, appended to `out`.
    pub(crate) fn into_leaves(self, out: &mut Vec<Leaf>) {
        match self {
            Self::Numbers(numbers, kind) => out.push(Leaf::Numbers(numbers, kind)),
            Self::Text(text) => out.push(Leaf::Text(text)),
            Self::Nullable { nulls, inner } => {
                out.push(Leaf::Numbers(nulls, Kind::Unsigned));
                inner.into_leaves(out);
            }
            Self::Array { sizes, inner } => {
                out.push(Leaf::Numbers(Numbers::U32(sizes), Kind::Unsigned));
                inner.into_leaves(out);
            }
            Self::Tuple(fields) => fields.into_iter().for_each(|field| field.into_leaves(out)),
            Self::Coded(ids) => out.push(Leaf::Numbers(Numbers::U32(ids), Kind::Unsigned)),
        }
    }

    /// From leaves as [`Column::into_leaves`] gives them; `None` when one is missing or of another kind.
    pub(crate) fn from_leaves(ty: &Type, leaves: &mut impl Iterator<Item = Leaf>) -> Option<Self> {
        let indices = |leaf| match leaf {
            Leaf::Numbers(Numbers::U32(values), _) => Some(values),
            _ => None,
        };
        Some(match ty {
            Type::Number { .. } => match leaves.next()? {
                Leaf::Numbers(numbers, kind) => Self::Numbers(numbers, kind),
                Leaf::Text(_) => return None,
            },
            Type::Text => match leaves.next()? {
                Leaf::Text(text) => Self::Text(text),
                Leaf::Numbers(..) => return None,
            },
            Type::Nullable(inner) => match leaves.next()? {
                Leaf::Numbers(nulls @ Numbers::U8(_), _) => {
                    Self::Nullable { nulls, inner: Box::new(Self::from_leaves(inner, leaves)?) }
                }
                _ => return None,
            },
            Type::Array(inner) => {
                let sizes = indices(leaves.next()?)?;
                Self::Array { sizes, inner: Box::new(Self::from_leaves(inner, leaves)?) }
            }
            Type::Tuple(fields) => Self::Tuple(
                fields.iter().map(|field| Self::from_leaves(field, leaves)).collect::<Option<_>>()?,
            ),
            Type::LowCardinality(_) => Self::Coded(indices(leaves.next()?)?),
        })
    }
}

/// Where each array begins, and where the last ends; all elements of a row group fit 32 bits.
fn starts(sizes: &[u32]) -> Vec<u32> {
    let mut end = 0;
    let ends = sizes.iter().map(|size| {
        end += size;
        end
    });
    std::iter::once(0).chain(ends).collect()
}
