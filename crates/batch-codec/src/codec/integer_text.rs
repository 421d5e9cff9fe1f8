//! Strings that are decimal numbers, such as ids. What would not come back the same (a leading zero,
//! a sign, more than 64 bits, no digits at all) is kept verbatim beside them.

use super::{
    Budget, Earlier, Tuning,
    exceptions::Exceptions,
    numbers::{decode_numbers, encode_numbers},
    wire::{Wire, corrupt},
};
use crate::{
    DecodeError,
    column::{Numbers, Text},
    native::Kind,
};

/// The number that is written exactly so.
pub(crate) fn canonical(string: &[u8]) -> Option<u64> {
    match string {
        [] => None,
        [b'0'] => Some(0),
        [b'0', ..] => None,
        digits => digits.iter().try_fold(0_u64, |value, byte| {
            let digit = byte.checked_sub(b'0').filter(|d| *d <= 9)?;
            value.checked_mul(10)?.checked_add(digit.into())
        }),
    }
}

/// Nearly all of them are numbers.
pub(crate) fn suits(text: &Text) -> bool {
    let mut others = 0;
    text.iter().all(|string| {
        others += usize::from(canonical(string).is_none());
        others <= text.len() / 16
    })
}

/// Appends the exceptions, then the numbers.
pub(crate) fn encode(text: &Text, earlier: Earlier<'_>, tuning: &Tuning, out: &mut Vec<u8>) {
    let mut exceptions = Exceptions::default();
    let mut last = 0;
    let values = text
        .iter()
        .enumerate()
        .map(|(at, string)| {
            match canonical(string) {
                Some(value) => last = value,
                None => exceptions.push(at, string),
            }
            last
        })
        .collect();
    exceptions.encode(tuning, out);
    encode_numbers(&Numbers::U64(values), Kind::Unsigned, earlier, tuning, out);
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(
    wire: &mut Wire<'_>,
    count: usize,
    earlier: Earlier<'_>,
    budget: &Budget,
    depth: u32,
) -> Result<Text, DecodeError> {
    let before = budget.left();
    let exceptions = Exceptions::decode(wire, count, budget, depth)?;
    let kept = before - budget.left();
    let values = decode_numbers(wire, (8, Kind::Unsigned), count, earlier, budget, depth)?;
    let Numbers::U64(values) = values else { return Err(corrupt("ids of another width")) };
    budget.spend(count, 20 + 4)?;
    let mut text = Text::default();
    text.reserve(count, count * 11);
    let mut exceptions = exceptions.iter().peekable();
    for (at, value) in values.iter().enumerate() {
        match exceptions.next_if(|(place, _)| *place == at) {
            Some((_, string)) => text.tail().extend_from_slice(string),
            None => put_decimal(*value, text.tail()),
        }
        text.end();
    }
    budget.release(count, 20 + 4 + 8);
    budget.release(kept, 1);
    budget.spend(text.memory(), 1)?;
    Ok(text)
}

/// Appends a number's digits.
pub(crate) fn put_decimal(mut value: u64, out: &mut Vec<u8>) {
    let mut buffer = [0; 20];
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&buffer[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_back_the_same_is_a_number() {
        for (string, value) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("99999999999999999999999", None),
            ("", None),
            ("007", None),
            ("+1", None),
            ("-1", None),
            ("1.0", None),
            ("1 ", None),
        ] {
            assert_eq!(canonical(string.as_bytes()), value, "{string:?}");
            if let Some(value) = value {
                let mut digits = Vec::new();
                put_decimal(value, &mut digits);
                assert_eq!(digits, string.as_bytes());
            }
        }
    }
}
