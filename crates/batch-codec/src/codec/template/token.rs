//! Numbers in text, and how they are written.

/// Most digits of one number; longer runs of digits are several numbers.
const MAX_DIGITS: usize = 18;

/// How a number is written: up to 18 digits behind the point, or from `PADDED` on as many digits as
/// the rest says, zeros in front.
pub(super) type Style = u8;

/// Styles from here on are padded integers.
pub(super) const PADDED: Style = 32;

/// A number as it stands in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// All digits as one number, with the sign.
    pub(super) mantissa: i64,
    pub(super) style: Style,
    /// Bytes it takes.
    pub(super) length: usize,
}

/// The first eight bytes as a number, lowest first, zeros behind the end.
#[inline]
pub(super) fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// How many of a word's bytes are digits before the first that is none.
#[inline]
fn leading_digits(word: u64) -> usize {
    let values = word ^ 0x3030_3030_3030_3030;
    // Of a value above 9 the highest bit is set, or comes to be; carries only reach what is behind it.
    let others = (values | values.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080;
    others.trailing_zeros() as usize / 8
}

/// The value of a word's eight digits, zero bytes counting as zeros: neighbours are joined to pairs,
/// those to fours, and those to one, several at once.
#[inline]
fn eight_digits(word: u64) -> u64 {
    let digits = word & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number in front, when it has at most seven digits before the point and eight behind it, as nearly
/// all have. As [`unsigned`], but a word at a time.
#[inline]
fn short(bytes: &[u8]) -> Option<Token> {
    let bytes: &[u8; 18] = bytes.first_chunk()?;
    let front = word(bytes);
    let whole = leading_digits(front);
    if whole == 8 || whole == 0 {
        return None;
    }
    let mantissa = eight_digits(front << (64 - 8 * whole));
    let token = |mantissa: u64, style, length| Token { mantissa: mantissa.cast_signed(), style, length };
    if bytes[0] == b'0' && whole > 1 {
        return Some(token(mantissa, PADDED + whole as u8, whole));
    }
    if bytes[whole] != b'.' {
        return Some(token(mantissa, 0, whole));
    }
    let back = word(&bytes[whole + 1..]);
    let scale = leading_digits(back);
    if scale == 0 || bytes[whole + 1 + scale].is_ascii_digit() {
        return None;
    }
    let mantissa = mantissa * POWERS_OF_TEN[scale] + eight_digits(back << (64 - 8 * scale));
    Some(token(mantissa, scale as u8, whole + 1 + scale))
}

/// Reads a number whose first byte is a digit.
fn unsigned(bytes: &[u8]) -> Token {
    let (mut mantissa, mut at) = (0_i64, 0);
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|d| *d <= 9)
        && at < MAX_DIGITS
    {
        mantissa = mantissa * 10 + i64::from(digit);
        at += 1;
    }
    if bytes[0] == b'0' && at > 1 {
        return Token { mantissa, style: PADDED + at as u8, length: at };
    }
    if bytes.get(at) != Some(&b'.') {
        return Token { mantissa, style: 0, length: at };
    }
    let whole = Token { mantissa, style: 0, length: at };
    let (mut scale, most) = (0, MAX_DIGITS - at);
    while let Some(digit) = bytes.get(at + 1 + scale).map(|byte| byte.wrapping_sub(b'0')).filter(|d| *d <= 9)
        && scale < most
    {
        mantissa = mantissa * 10 + i64::from(digit);
        scale += 1;
    }
    if scale == 0 { whole } else { Token { mantissa, style: scale as u8, length: at + 1 + scale } }
}

/// The number that begins here, if one does. A minus belongs to it unless a letter or digit is before
/// it (as in dates), or the number is zero.
#[inline]
pub(super) fn number(text: &[u8], at: usize) -> Option<Token> {
    match text.get(at)? {
        b'0'..=b'9' => Some(short(&text[at..]).unwrap_or_else(|| unsigned(&text[at..]))),
        b'-' if text.get(at + 1).is_some_and(u8::is_ascii_digit) => {
            let joined = at.checked_sub(1).and_then(|before| text.get(before));
            if joined.is_some_and(u8::is_ascii_alphanumeric) {
                return None;
            }
            let Token { mantissa, style, length } = unsigned(&text[at + 1..]);
            (mantissa != 0 && style < PADDED).then_some(Token {
                mantissa: -mantissa,
                style,
                length: length + 1,
            })
        }
        _ => None,
    }
}

/// A number below 10^8 as eight digits, the first in the lowest byte: cut into fours, those into pairs,
/// those into digits, all at once.
#[inline]
fn as_eight_digits(value: u64) -> u64 {
    let fours = (value / 10_000) | (value % 10_000) << 32;
    let hundreds = (fours * 10_486) >> 20 & 0x0000_007f_0000_007f;
    let pairs = hundreds | (fours - 100 * hundreds) << 16;
    let tens = (pairs * 103) >> 10 & 0x000f_000f_000f_000f;
    tens | (pairs - 10 * tens) << 8
}

/// Appends the first `length` of the bytes. A copy whose length is known ahead takes a fraction of the time.
#[inline]
pub(super) fn put_first<const N: usize>(length: usize, bytes: &[u8; N], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
    out.truncate(out.len() + length - N);
}

/// Digits behind the point by a style, and how many digits there are at least.
#[inline]
fn digits_of(style: Style) -> (usize, usize) {
    match style.checked_sub(PADDED) {
        None => (usize::from(style.min(19)), usize::from(style.min(19)) + 1),
        Some(least) => (0, usize::from(least.clamp(1, 20))),
    }
}

/// Writes a number the way its style says. Any mantissa and style is written somehow.
#[inline]
pub(super) fn put(mantissa: i64, style: Style, out: &mut Vec<u8>) {
    let (scale, least) = digits_of(style);
    if !(0..100_000_000).contains(&mantissa) || least > 8 {
        return put_any(mantissa, style, out);
    }
    let digits = as_eight_digits(mantissa.unsigned_abs());
    let zeros = (digits.trailing_zeros() as usize / 8).min(8 - least);
    let text = (digits | 0x3030_3030_3030_3030) >> (8 * zeros);
    let whole = 8 - zeros - scale;
    put_first(whole, &text.to_le_bytes(), out);
    if scale > 0 {
        // One digit is before the point at least, and one byte is free for the point.
        let behind = u64::from(b'.') | (text >> (8 * whole)) << 8;
        put_first(1 + scale, &behind.to_le_bytes(), out);
    }
}

/// Two digits of every number below 100.
const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut i = 0;
    while i < 100 {
        pairs[2 * i] = b'0' + (i / 10) as u8;
        pairs[2 * i + 1] = b'0' + (i % 10) as u8;
        i += 1;
    }
    pairs
};

/// As [`put`], two digits at a time.
fn put_any(mantissa: i64, style: Style, out: &mut Vec<u8>) {
    let mut buffer = [b'0'; 40];
    let mut at = buffer.len();
    let mut rest = mantissa.unsigned_abs();
    let (scale, least) = digits_of(style);
    let end = buffer.len();
    // Digits behind the point go one place further right than those before it.
    if scale > 0 {
        let mut left = scale;
        while left >= 2 {
            let pair = (rest % 100) as usize * 2;
            rest /= 100;
            at -= 2;
            buffer[at] = PAIRS[pair];
            buffer[at + 1] = PAIRS[pair + 1];
            left -= 2;
        }
        if left == 1 {
            at -= 1;
            buffer[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        at -= 1;
        buffer[at] = b'.';
    }
    let whole_end = at;
    while rest >= 100 {
        let pair = (rest % 100) as usize * 2;
        rest /= 100;
        at -= 2;
        buffer[at] = PAIRS[pair];
        buffer[at + 1] = PAIRS[pair + 1];
    }
    if rest >= 10 {
        at -= 2;
        buffer[at] = PAIRS[rest as usize * 2];
        buffer[at + 1] = PAIRS[rest as usize * 2 + 1];
    } else if rest > 0 || whole_end == at {
        at -= 1;
        buffer[at] = b'0' + rest as u8;
    }
    while scale == 0 && end - at < least {
        at -= 1;
        buffer[at] = b'0';
    }
    if mantissa < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    out.extend_from_slice(&buffer[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_cut_where_they_can_be_written_again() {
        for (text, at, expected) in [
            ("61837.63000000,", 0, Some((6_183_763_000_000, 8, 14))),
            ("0.00012", 0, Some((12, 5, 7))),
            ("0", 0, Some((0, 0, 1))),
            ("007", 0, Some((7, PADDED + 3, 3))),
            ("07.5", 0, Some((7, PADDED + 2, 2))),
            ("5.", 0, Some((5, 0, 1))),
            ("[-5.50]", 1, Some((-550, 2, 5))),
            ("x-5", 1, None),
            ("-0.0", 0, None),
            ("-01", 0, None),
            ("1234567890123456789012", 0, Some((123_456_789_012_345_678, 0, 18))),
            ("+1", 0, None),
        ] {
            let found = number(text.as_bytes(), at).map(|t| (t.mantissa, t.style, t.length));
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_cut_is_written_again(text in "-?[0-9]{1,22}(\\.[0-9]{0,22})?") {
            if let Some(token) = number(text.as_bytes(), 0) {
                let mut out = Vec::new();
                put(token.mantissa, token.style, &mut out);
                prop_assert_eq!(&out[..], &text.as_bytes()[..token.length]);
            }
        }

        #[test]
        fn words_at_a_time_read_the_same(text in "[0-9]{1,10}([.,][0-9]{0,10})?[.,x]?") {
            let padded = [text.as_bytes(), &[0; 18]].concat();
            if let Some(token) = short(&padded) {
                prop_assert_eq!(token, unsigned(&padded));
            }
        }

        #[test]
        fn anything_can_be_written(mantissa: i64, style: u8) {
            put(mantissa, style, &mut Vec::new());
        }

        #[test]
        fn words_at_a_time_write_the_same(bits in any::<u64>(), shift in 0..64_u32, style in 0..60_u8) {
            let mantissa = (bits >> shift).cast_signed();
            let (mut quick, mut plain) = (b"[".to_vec(), b"[".to_vec());
            put(mantissa, style, &mut quick);
            put_any(mantissa, style, &mut plain);
            prop_assert_eq!(quick, plain);
        }
    }
}
