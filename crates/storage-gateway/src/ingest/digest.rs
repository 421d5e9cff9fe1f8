//! The `Content-Digest` header of a chunk: `blake3=:<base64>:` (the syntax of RFC 9530; BLAKE3 is
//! not in its registry, the two daemons agree on the name). Optional: the manifest's hash decides.

/// Whether the header names the hash `hex`. A header without a `blake3` member says nothing.
pub fn agrees(header: &str, hex: &str) -> bool {
    let Some(member) = header.split(',').map(str::trim).find_map(|m| m.strip_prefix("blake3=")) else {
        return true;
    };
    member.strip_prefix(':').and_then(|m| m.strip_suffix(':')) == Some(base64_of_hex(hex).as_str())
}

/// Base64 (RFC 4648, padded) of the bytes that `hex` spells.
fn base64_of_hex(hex: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let nibbles: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    let bytes: Vec<u32> =
        nibbles.chunks(2).map(|pair| pair.iter().fold(0, |n, nibble| n << 4 | nibble)).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, n| bits << 8 | group.get(n).copied().unwrap_or(0));
        for n in 0..4 {
            let index = (bits >> (18 - 6 * n)) & 63;
            text.push(if n <= group.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (hex, base64) in
            [("", ""), ("66", "Zg=="), ("666f", "Zm8="), ("666f6f", "Zm9v"), ("666f6f62", "Zm9vYg==")]
        {
            assert_eq!(base64_of_hex(hex), base64);
        }
        assert!(agrees("blake3=:Zm9v:", "666f6f") && agrees("sha-256=:x:, blake3=:Zm9v:", "666f6f"));
        assert!(agrees("sha-256=:x:", "666f6f"));
        assert!(!agrees("blake3=:Zm8=:", "666f6f") && !agrees("blake3=Zm9v", "666f6f"));
    }
}
