//! Strings that do not fit their stream's form, verbatim, each with its place.

use super::{
    Budget, MAX_DEPTH, Tuning,
    wire::{Wire, corrupt},
    words,
};
use crate::{DecodeError, column::Text, native::put_varint};

/// Strings kept verbatim, by their place.
#[derive(Debug, Default)]
pub(crate) struct Exceptions {
    places: Vec<usize>,
    strings: Text,
}

impl Exceptions {
    /// Places must rise.
    pub(crate) fn push(&mut self, place: usize, string: &[u8]) {
        self.places.push(place);
        self.strings.push(string);
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.places.iter().copied().zip(self.strings.iter())
    }

    /// How many, the gaps between their places, the strings.
    pub(crate) fn encode(&self, tuning: &Tuning, out: &mut Vec<u8>) {
        put_varint(self.places.len() as u64, out);
        if self.places.is_empty() {
            return;
        }
        let mut next = 0;
        for place in &self.places {
            put_varint((place - next) as u64, out);
            next = place + 1;
        }
        words::encode(&self.strings, tuning, out);
    }

    /// Of a stream of `count` strings.
    pub(crate) fn decode(
        wire: &mut Wire<'_>,
        count: usize,
        budget: &Budget,
        depth: u32,
    ) -> Result<Self, DecodeError> {
        let exceptions = wire.count(count, "exceptions")?;
        if exceptions == 0 {
            return Ok(Self::default());
        }
        budget.spend(exceptions, 8)?;
        let mut next = 0;
        let mut places = Vec::with_capacity(exceptions);
        for _ in 0..exceptions {
            let place = next + wire.count(count - next, "rows to an exception")?;
            if place >= count {
                return Err(corrupt("an exception behind the last row"));
            }
            places.push(place);
            next = place + 1;
        }
        let depth =
            depth.checked_add(1).filter(|d| *d <= MAX_DEPTH).ok_or_else(|| corrupt("deep streams"))?;
        let strings = words::decode(wire.u8()?, wire, exceptions, budget, depth)?;
        Ok(Self { places, strings })
    }
}
