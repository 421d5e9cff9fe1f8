//! wg-quick files (wg-quick(8), wg(8)): read whole, told off whole.
//!
//! Every mistake is reported, each with its line, and no message repeats a key. What wg-quick would run
//! as a command (`PostUp` and its like) or do to the system (`DNS`, `Table`) is not done here; it is
//! accepted, and said in the notes, so that a file that works elsewhere works.

use std::net::IpAddr;

use super::{Cidr, PeerEndpoint, PresharedKey, PrivateKey, PublicKey, TunnelConfig, TunnelPeer};

/// Larger files are none of these.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Keys of wg-quick that are accepted and not acted on.
const IGNORED: [&str; 8] = ["dns", "table", "fwmark", "saveconfig", "preup", "postup", "predown", "postdown"];
/// The smallest IPv4 datagram every host takes (RFC 791), and the largest packet.
const MTU: std::ops::RangeInclusive<u16> = 576..=65_535;

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct QuickError {
    /// From 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// A file that was read, and what it asks for that is not done.
#[derive(Debug, Clone)]
pub struct Quick {
    /// The tunnel.
    pub tunnel: TunnelConfig,
    /// For the operator, once, at start.
    pub notes: Vec<String>,
}

#[derive(Default)]
struct RawPeer {
    line: usize,
    public_key: Option<PublicKey>,
    preshared_key: Option<PresharedKey>,
    endpoint: Option<PeerEndpoint>,
    allowed_ips: Vec<Cidr>,
    persistent_keepalive: Option<u16>,
}

#[derive(Default)]
struct Reader {
    errors: Vec<QuickError>,
    notes: Vec<String>,
    interface_line: Option<usize>,
    private_key: Option<PrivateKey>,
    addresses: Vec<Cidr>,
    listen_port: Option<u16>,
    mtu: Option<u16>,
    peers: Vec<RawPeer>,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Nowhere,
    Interface,
    Peer,
}

/// Reads the text of a wg-quick file.
pub fn parse(text: &str) -> Result<Quick, Vec<QuickError>> {
    let mut reader = Reader::default();
    let mut part = Part::Nowhere;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, raw) in (1..).zip(text.lines()) {
        let content = raw.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        if content.starts_with('[') {
            part = reader.section(line, content);
            continue;
        }
        let Some((key, value)) = content.split_once('=') else {
            reader.problem(line, "is neither [Interface], [Peer] nor KEY = VALUE");
            continue;
        };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        let taken = match part {
            Part::Nowhere => Err("stands before [Interface] or [Peer]".to_owned()),
            Part::Interface => reader.interface(&key, value),
            Part::Peer => reader.peer(&key, value),
        };
        if let Err(message) = taken {
            reader.problem(line, message);
        }
    }
    reader.finish()
}

impl Reader {
    fn problem(&mut self, line: usize, message: impl Into<String>) {
        self.errors.push(QuickError { line, message: message.into() });
    }

    fn section(&mut self, line: usize, content: &str) -> Part {
        match content.to_ascii_lowercase().as_str() {
            "[interface]" => {
                if self.interface_line.is_some() {
                    self.problem(line, "[Interface] is there twice (a file is one end of one tunnel)");
                }
                self.interface_line.get_or_insert(line);
                Part::Interface
            }
            "[peer]" => {
                self.peers.push(RawPeer { line, ..RawPeer::default() });
                Part::Peer
            }
            _ => {
                self.problem(line, "is no section of a wg-quick file (write [Interface] or [Peer])");
                Part::Nowhere
            }
        }
    }

    fn interface(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "privatekey" => once(
                "PrivateKey",
                &mut self.private_key,
                value.parse().map_err(|e| format!("PrivateKey {e}")),
            ),
            "address" => ranges("Address", value, &mut self.addresses),
            "listenport" => once("ListenPort", &mut self.listen_port, port(value)),
            "mtu" => once("MTU", &mut self.mtu, mtu(value)),
            _ if IGNORED.contains(&key) => {
                self.notes.push(format!("{key} of the wg-quick file is not acted on"));
                Ok(())
            }
            _ => Err(format!("{key:?} is no key of [Interface] (PrivateKey, Address, ListenPort, MTU)")),
        }
    }

    fn peer(&mut self, key: &str, value: &str) -> Result<(), String> {
        let Some(peer) = self.peers.last_mut() else { return Ok(()) };
        match key {
            "publickey" => {
                once("PublicKey", &mut peer.public_key, value.parse().map_err(|e| format!("PublicKey {e}")))
            }
            "presharedkey" => {
                let key = value.parse().map_err(|e| format!("PresharedKey {e}"));
                once("PresharedKey", &mut peer.preshared_key, key)
            }
            "endpoint" => once("Endpoint", &mut peer.endpoint, value.parse()),
            "allowedips" => ranges("AllowedIPs", value, &mut peer.allowed_ips),
            "persistentkeepalive" if value.eq_ignore_ascii_case("off") || value == "0" => Ok(()),
            "persistentkeepalive" => {
                let seconds = value.parse().ok().filter(|s| *s > 0);
                let wrong = || format!("{value:?} is no PersistentKeepalive (1 to 65535 seconds, or off)");
                once("PersistentKeepalive", &mut peer.persistent_keepalive, seconds.ok_or_else(wrong))
            }
            _ => Err(format!(
                "{key:?} is no key of [Peer] (PublicKey, PresharedKey, Endpoint, AllowedIPs, PersistentKeepalive)"
            )),
        }
    }

    fn finish(mut self) -> Result<Quick, Vec<QuickError>> {
        let at = self.interface_line.unwrap_or(1);
        if self.interface_line.is_none() {
            self.problem(at, "[Interface] is missing (it holds PrivateKey and Address)");
        } else if self.private_key.is_none() && self.errors.is_empty() {
            self.problem(at, "[Interface] has no PrivateKey (make one with `storage-service keygen`)");
        }
        if self.addresses.is_empty() && self.errors.is_empty() {
            self.problem(at, "[Interface] has no Address (write Address = 10.0.1.1/24)");
        }
        if self.peers.is_empty() {
            self.problem(at, "no [Peer]: a tunnel has two ends");
        }
        let mut peers = Vec::new();
        for raw in std::mem::take(&mut self.peers) {
            match raw.public_key {
                Some(public_key) => peers.push((
                    raw.line,
                    TunnelPeer {
                        public_key,
                        preshared_key: raw.preshared_key,
                        endpoint: raw.endpoint,
                        allowed_ips: raw.allowed_ips,
                        persistent_keepalive: raw.persistent_keepalive,
                    },
                )),
                None if self.errors.iter().any(|e| e.line > raw.line) => {}
                None => self.problem(raw.line, "[Peer] has no PublicKey (the other end's keygen prints it)"),
            }
        }
        if let Some(private_key) = self.private_key.clone() {
            let tunnel = TunnelConfig {
                private_key,
                addresses: self.addresses.clone(),
                listen_port: self.listen_port,
                mtu: self.mtu,
                peers: peers.iter().map(|(_, peer)| peer.clone()).collect(),
            };
            for (peer, message) in tunnel.contradictions() {
                let line = peer.and_then(|n| peers.get(n)).map_or(at, |(line, _)| *line);
                self.problem(line, message);
            }
            if self.errors.is_empty() {
                return Ok(Quick { tunnel, notes: self.notes });
            }
        }
        self.errors.sort_by_key(|error| error.line);
        Err(self.errors)
    }
}

impl TunnelConfig {
    /// What does not fit together, each with the peer it is about (index), if it is about one.
    #[must_use]
    pub fn contradictions(&self) -> Vec<(Option<usize>, String)> {
        let mut found = Vec::new();
        let own = self.private_key.public();
        if self.addresses.iter().any(|a| a.address.is_ipv6()) && self.mtu.is_some_and(|mtu| mtu < 1280) {
            found.push((None, "MTU is below 1280, which IPv6 needs (RFC 8200): raise it".to_owned()));
        }
        for (n, peer) in self.peers.iter().enumerate() {
            if peer.public_key == own {
                let message = "PublicKey is this end's own (write the other end's)".to_owned();
                found.push((Some(n), message));
            }
            if peer.allowed_ips.is_empty() {
                found.push((
                    Some(n),
                    format!(
                        "peer {} has no AllowedIPs (write its address inside the tunnel)",
                        peer.public_key
                    ),
                ));
            }
            for range in &peer.allowed_ips {
                if let Some(own) = self.addresses.iter().find(|own| range.is_exactly(own.address)) {
                    let message =
                        format!("AllowedIPs {range} is this end's own Address {own} (write the other end's)");
                    found.push((Some(n), message));
                }
            }
            for other in &self.peers[..n] {
                if other.public_key == peer.public_key {
                    found.push((Some(n), format!("peer {} is there twice (keep one)", peer.public_key)));
                    continue;
                }
                let both =
                    peer.allowed_ips.iter().flat_map(|a| other.allowed_ips.iter().map(move |b| (a, b)));
                for (a, b) in both.filter(|(a, b)| a.overlaps(b)) {
                    found.push((
                        Some(n),
                        format!(
                            "AllowedIPs {a} of peer {} overlap {b} of peer {} (each address belongs to one peer)",
                            peer.public_key, other.public_key
                        ),
                    ));
                }
            }
        }
        found
    }

    /// The text of a wg-quick file: keys included, so for a file of mode 0600 and nothing else.
    #[must_use]
    pub fn expose_as_quick(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::from("[Interface]\n");
        let joined = |ranges: &[Cidr]| ranges.iter().map(Cidr::to_string).collect::<Vec<_>>().join(", ");
        // Writing to a String does not fail.
        let _ = writeln!(text, "PrivateKey = {}", self.private_key.expose_base64());
        let _ = writeln!(text, "Address = {}", joined(&self.addresses));
        if let Some(port) = self.listen_port {
            let _ = writeln!(text, "ListenPort = {port}");
        }
        if let Some(mtu) = self.mtu {
            let _ = writeln!(text, "MTU = {mtu}");
        }
        for peer in &self.peers {
            let _ = writeln!(text, "\n[Peer]\nPublicKey = {}", peer.public_key);
            if let Some(key) = &peer.preshared_key {
                let _ = writeln!(text, "PresharedKey = {}", key.expose_base64());
            }
            if let Some(endpoint) = &peer.endpoint {
                let _ = writeln!(text, "Endpoint = {endpoint}");
            }
            let _ = writeln!(text, "AllowedIPs = {}", joined(&peer.allowed_ips));
            if let Some(seconds) = peer.persistent_keepalive {
                let _ = writeln!(text, "PersistentKeepalive = {seconds}");
            }
        }
        text
    }
}

fn once<T>(name: &str, place: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    if place.is_some() {
        return Err(format!("{name} is given twice (keep one)"));
    }
    *place = Some(value?);
    Ok(())
}

fn ranges(name: &str, value: &str, into: &mut Vec<Cidr>) -> Result<(), String> {
    for text in value.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        into.push(text.parse().map_err(|error| format!("{name}: {error}"))?);
    }
    Ok(())
}

fn port(value: &str) -> Result<u16, String> {
    value
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{value:?} is no UDP port (1 to 65535)"))
}

fn mtu(value: &str) -> Result<u16, String> {
    let given = value.parse().ok().filter(|mtu| MTU.contains(mtu));
    given.ok_or_else(|| format!("{value:?} is no MTU ({} to {} bytes)", MTU.start(), MTU.end()))
}

impl std::str::FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address range (write 10.0.1.2/32)");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= most).ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        Ok(Self { address, prefix })
    }
}

impl Cidr {
    /// Whether an address is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) && self.prefix <= other.prefix
            || other.contains(self.address) && other.prefix <= self.prefix
    }

    fn is_exactly(&self, address: IpAddr) -> bool {
        self.address == address && self.prefix == if address.is_ipv4() { 32 } else { 128 }
    }
}

impl std::str::FromStr for PeerEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no endpoint (write host:51820 or [2001:db8::1]:51820)");
        let (host, digits) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').filter(|ip| ip.contains(':')).ok_or_else(wrong)?,
            None => host,
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let name = !host.is_empty() && host.len() <= 253 && host.bytes().all(plain);
        if !name && host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port: port(digits).map_err(|_| wrong())? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> TunnelConfig {
        let key = PrivateKey::generate();
        TunnelConfig {
            private_key: key,
            addresses: vec!["10.0.1.2/24".parse().unwrap(), "fd00::2/64".parse().unwrap()],
            listen_port: Some(51820),
            mtu: Some(1380),
            peers: vec![TunnelPeer {
                public_key: PrivateKey::generate().public(),
                preshared_key: Some(PresharedKey::generate()),
                endpoint: Some("cloud.example:51820".parse().unwrap()),
                allowed_ips: vec!["10.0.1.1/32".parse().unwrap()],
                persistent_keepalive: Some(25),
            }],
        }
    }

    #[test]
    fn what_is_written_is_read_back_whatever_the_manner() {
        let tunnel = sample();
        let text = tunnel.expose_as_quick();
        assert_eq!(parse(&text).unwrap().tunnel, tunnel);
        let manners = format!("\u{feff}# mine\r\n{}PostUp = rm -rf / # no\n", text.replace('\n', "\r\n"));
        let manners = manners.replace("ListenPort = 51820", "listenport=51820 # there\r\nDNS = 1.1.1.1");
        let manners = manners.replace("PostUp", "persistentkeepalive = off\n[interface]\nPostUp");
        let errors = parse(&manners).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].message.contains("[Interface] is there twice"), "{errors:?}");
        assert_eq!(parse(&text.replace("MTU", "DNS = 1.1.1.1\nMTU")).unwrap().notes.len(), 1);
    }

    #[test]
    fn each_mistake_is_one_clear_line() {
        let tunnel = sample();
        let good = tunnel.expose_as_quick();
        let own = tunnel.private_key.public().to_string();
        let peer = tunnel.peers[0].public_key.to_string();
        let other = PrivateKey::generate().public().to_string();
        for (from, to, expected) in [
            ("[Interface]", "[Iface]", "is no section"),
            ("MTU = 1380", "MTU = 100", "is no MTU"),
            ("MTU = 1380", "MTU = 1000", "RFC 8200"),
            ("MTU = 1380", "Mtuu = 1380", "is no key of [Interface]"),
            ("MTU = 1380", "what", "is neither"),
            ("ListenPort = 51820", "ListenPort = 0", "is no UDP port"),
            ("10.0.1.2/24", "10.0.1.2/33", "is no address range"),
            ("10.0.1.2/24", "10.0.1.2/+4", "is no address range"),
            ("AllowedIPs = 10.0.1.1/32", "AllowedIPs = 10.0.1.2/32", "this end's own Address"),
            ("AllowedIPs = 10.0.1.1/32", "", "has no AllowedIPs"),
            ("cloud.example:51820", "cloud.example", "is no endpoint"),
            ("cloud.example:51820", "a b:1", "is no endpoint"),
            ("cloud.example:51820", "[::1:1", "is no endpoint"),
            ("PersistentKeepalive = 25", "PersistentKeepalive = 70000", "is no PersistentKeepalive"),
            (peer.as_str(), own.as_str(), "this end's own"),
            ("PersistentKeepalive = 25", "PublicKey = x", "given twice"),
            ("[Peer]", "", "is no key of [Interface]"),
        ] {
            let errors = parse(&good.replacen(from, to, 1)).unwrap_err();
            assert!(errors.iter().any(|e| e.message.contains(expected)), "{to}: {errors:?}");
        }
        let second =
            |key: &str, ips: &str| format!("{good}\n[Peer]\nPublicKey = {key}\nAllowedIPs = {ips}\n");
        for (key, ips, expected) in
            [(other.as_str(), "10.0.1.0/28", "overlap"), (peer.as_str(), "10.0.1.9/32", "there twice")]
        {
            let errors = parse(&second(key, ips)).unwrap_err();
            assert!(errors.len() == 1 && errors[0].message.contains(expected), "{errors:?}");
            assert_eq!(errors[0].line, 14, "{errors:?}");
        }
        assert!(parse(&second(&other, "10.0.1.9/32")).is_ok());
        assert!(parse("").is_err());
    }

    #[test]
    fn no_message_repeats_a_key() {
        let secret = sample().private_key.expose_base64();
        let broken = secret.replace('=', "");
        for text in [
            format!("[Interface]\nPrivateKey = {broken}\nAddress = 10.0.1.1/24\n"),
            format!("[Interface]\nPrivateKey = {secret}\nPrivateKey = {secret}\n"),
            format!("[Interface]\n{secret}\n"),
        ] {
            let errors = parse(&text).unwrap_err();
            assert!(!format!("{errors:?}").contains(&broken[..20]), "{errors:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_told_off(text in "(\\[(Interface|Peer)\\]|PrivateKey|Address|AllowedIPs|Endpoint|=|[0-9a-f:./, \\n#]|\\PC){0,80}") {
            if let Err(errors) = parse(&text) {
                prop_assert!(!errors.is_empty());
            }
        }

        #[test]
        fn ranges_overlap_when_an_address_is_in_both(a: u32, b: u32, p in 0_u8..=32, q in 0_u8..=32) {
            let range = |n: u32, prefix| Cidr { address: IpAddr::from(n.to_be_bytes()), prefix };
            let (x, y) = (range(a, p), range(b, q));
            let shift = |n: u32, by: u8| n.checked_shr(32 - u32::from(by)).unwrap_or(0);
            prop_assert_eq!(x.overlaps(&y), shift(a, p.min(q)) == shift(b, p.min(q)));
        }
    }
}
