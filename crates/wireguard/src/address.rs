//! Reading inner addresses and endpoints as wg(8) writes them.
//!
//! The errors never repeat the text: where an address should stand, a misplaced key may stand.

use std::{net::IpAddr, str::FromStr};

use super::{Cidr, PeerEndpoint};

/// A text that is no [`Cidr`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an address (write 10.0.1.2/32 or fd00::2/128)")]
pub struct NotAnAddress;

/// A text that is no [`PeerEndpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not HOST:PORT (write vpn.example.org:51820 or [2001:db8::1]:51820; port 1 to 65535)")]
pub struct NotAnEndpoint;

/// Digits only: `u16::from_str` also takes a plus sign.
pub(crate) fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

impl Cidr {
    /// This one address and no other: `/32` or `/128`.
    #[must_use]
    pub fn single(address: IpAddr) -> Self {
        Self { address, prefix: full(address) }
    }

    /// Whether it holds one address only.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.prefix == full(self.address)
    }

    /// Whether some address is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        if self.prefix <= other.prefix { self.contains(other.address) } else { other.contains(self.address) }
    }
}

fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Cidr {
    type Err = NotAnAddress;

    /// `address/prefix`, or `address` alone for one address (wg(8), `AllowedIPs`).
    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotAnAddress)?;
        let prefix = match prefix {
            None => full(address),
            Some(text) => number(text)
                .and_then(|n| u8::try_from(n).ok())
                .filter(|n| *n <= full(address))
                .ok_or(NotAnAddress)?,
        };
        Ok(Self { address, prefix })
    }
}

impl PeerEndpoint {
    /// As [`FromStr`], but the port may be left out; a bare IPv6 address then needs no brackets.
    pub fn with_default_port(text: &str, port: u16) -> Result<Self, NotAnEndpoint> {
        let bracketed = text.starts_with('[') && text.ends_with(']');
        let bare = if bracketed { &text[1..text.len() - 1] } else { text };
        if bare.parse::<std::net::Ipv6Addr>().is_ok() {
            return format!("[{bare}]:{port}").parse();
        }
        if text.contains(':') { text.parse() } else { format!("{text}:{port}").parse() }
    }
}

impl FromStr for PeerEndpoint {
    type Err = NotAnEndpoint;

    /// `host:port` or `[v6]:port`. Only the shape counts: the name is resolved when it is used.
    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnEndpoint)?;
        let port = number(port).and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0);
        let port = port.ok_or(NotAnEndpoint)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
            None if is_host(host) => host,
            _ => return Err(NotAnEndpoint),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

/// A name (RFC 1123, and `_`, which some networks use) or an IPv4 address.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // A last label of digits makes an address, and then it must be one.
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253
        && name.split('.').all(label)
        && (!numeric || text.parse::<std::net::Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for (text, shown) in [
            ("10.0.1.1/24", "10.0.1.1/24"),
            ("10.0.1.1", "10.0.1.1/32"),
            ("fd00::1", "fd00::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Cidr>().map(|c| c.to_string()), Ok(shown.into()), "{text}");
        }
        for bad in ["", "10.0.1.1/33", "10.0.1.1/+8", "10.0.1/24", "fd00::1/129", "a/8", "10.0.1.1/", "/8"] {
            assert_eq!(bad.parse::<Cidr>(), Err(NotAnAddress), "{bad}");
        }
    }

    #[test]
    fn ranges_overlap_when_one_holds_the_other() {
        let cidr = |text: &str| text.parse::<Cidr>().unwrap();
        assert!(cidr("0.0.0.0/0").overlaps(&cidr("10.0.1.2/32")));
        assert!(cidr("10.0.1.2/32").overlaps(&cidr("10.0.0.0/16")));
        assert!(!cidr("10.0.1.0/24").overlaps(&cidr("10.0.2.0/24")));
        assert!(!cidr("0.0.0.0/0").overlaps(&cidr("::/0")));
    }

    #[test]
    fn endpoints_are_host_and_port() {
        for text in ["vpn.example.org:51820", "203.0.113.7:1", "[2001:db8::1]:65535", "nas_1:51820"] {
            assert_eq!(text.parse::<PeerEndpoint>().map(|e| e.to_string()), Ok(text.into()));
        }
        for bad in [
            "",
            "host",
            "host:",
            "host:0",
            "host:65536",
            ":1",
            "::1:51820",
            "[::1]",
            "[host]:1",
            "1.2.3:4",
            "a b:1",
            "-a:1",
        ] {
            assert_eq!(bad.parse::<PeerEndpoint>(), Err(NotAnEndpoint), "{bad}");
        }
        let or = |text: &str| PeerEndpoint::with_default_port(text, 51820).map(|e| e.to_string());
        assert_eq!(or("vpn.example.org"), Ok("vpn.example.org:51820".into()));
        assert_eq!(or("vpn.example.org:7"), Ok("vpn.example.org:7".into()));
        assert_eq!(or("2001:db8::1"), Ok("[2001:db8::1]:51820".into()));
        assert_eq!(or("[2001:db8::1]"), Ok("[2001:db8::1]:51820".into()));
        assert_eq!(or("a:b"), Err(NotAnEndpoint));
    }
}
