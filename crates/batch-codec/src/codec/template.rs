//! Text with numbers in it.
use super::{Budget, Earlier, Tuning, Wire};
use crate::{DecodeError, column::Text};

pub(crate) fn encode(_text: &Text, _earlier: Earlier<'_>, _tuning: &Tuning) -> Option<Vec<u8>> {
    None
}

pub(crate) fn decode(
    _wire: &mut Wire<'_>,
    _count: usize,
    _earlier: Earlier<'_>,
    _budget: &mut Budget,
    _depth: u32,
) -> Result<Text, DecodeError> {
    Err(super::wire::corrupt("templates"))
}
