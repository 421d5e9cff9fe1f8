//! wg-quick files (wg-quick(8), wg(8)): the parser and the writer.
//!
//! All errors of a file are found at once, each with its line. A message repeats only what was
//! understood (an address, a number, a public key), never raw text: that may be a secret on the
//! wrong line. Commands (`PostUp` and its like) are accepted, so that an existing file works, and
//! are not run.

use std::{fmt, path::Path, path::PathBuf};

use super::{
    Cidr, TunnelConfig,
    address::number,
    draft::{Draft, DraftPeer, MIN_MTU, Place},
    suggestion,
};

/// A tunnel's file is a page.
const MAX_BYTES: usize = 64 * 1024;
const INTERFACE: [&str; 12] = [
    "PrivateKey",
    "Address",
    "ListenPort",
    "MTU",
    "DNS",
    "Table",
    "FwMark",
    "SaveConfig",
    "PreUp",
    "PostUp",
    "PreDown",
    "PostDown",
];
const PEER: [&str; 5] = ["PublicKey", "PresharedKey", "Endpoint", "AllowedIPs", "PersistentKeepalive"];
/// Keys that may be given once; the others add up.
const ONCE: [&str; 7] =
    ["PrivateKey", "ListenPort", "MTU", "PublicKey", "PresharedKey", "Endpoint", "PersistentKeepalive"];

/// What a wg-quick file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuickFile {
    /// The tunnel.
    pub tunnel: TunnelConfig,
    /// What was accepted and has no effect, for the log: `line 3: …`.
    pub notes: Vec<String>,
}

/// One thing that is wrong with a wg-quick file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuickError {
    /// Line in the file, from 1; `None` when the whole file is meant.
    pub line: Option<u64>,
    /// What is wrong and what to do about it; one line, no secret in it.
    pub message: String,
}

/// Everything that is wrong with one wg-quick file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct QuickErrors {
    /// The file; empty for text that came from elsewhere.
    pub file: PathBuf,
    /// Never empty.
    pub errors: Vec<QuickError>,
}

impl QuickErrors {
    /// One line each: `file:line: problem (what to do)`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.errors.iter().map(|error| match error.line {
            Some(line) => format!("{}:{line}: {}", self.file.display(), error.message),
            None => format!("{}: {}", self.file.display(), error.message),
        })
    }
}

impl fmt::Display for QuickErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().collect::<Vec<_>>().join("\n"))
    }
}

/// Reads a wg-quick file of at most 64 KiB that only its owner may read (or under `/run/secrets`).
/// A peer with an endpoint and no `PersistentKeepalive` gets `keepalive_s` (seconds).
pub fn read_wg_quick(path: &Path, keepalive_s: Option<u16>) -> Result<QuickFile, QuickErrors> {
    let bytes = secret_file::read_bytes(path).map_err(|refusal| whole(refusal.to_string()));
    bytes.and_then(|bytes| parse_wg_quick(&bytes, keepalive_s)).map_err(|mut errors| {
        errors.file = path.to_owned();
        errors
    })
}

fn whole(message: impl Into<String>) -> QuickErrors {
    QuickErrors { file: PathBuf::new(), errors: vec![QuickError { line: None, message: message.into() }] }
}

/// As [`read_wg_quick`], from the file's bytes.
pub fn parse_wg_quick(bytes: &[u8], keepalive_s: Option<u16>) -> Result<QuickFile, QuickErrors> {
    if bytes.len() > MAX_BYTES {
        return Err(whole(format!("is larger than {MAX_BYTES} bytes (a wg-quick file is a page)")));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() as u64;
        let message = "is not UTF-8 text (save the file as UTF-8)".to_owned();
        QuickErrors { file: PathBuf::new(), errors: vec![QuickError { line: Some(line), message }] }
    })?;
    let mut reader = Reader::default();
    for (n, line) in (1..).zip(text.strip_prefix('\u{feff}').unwrap_or(text).lines()) {
        reader.line(n, line.split('#').next().unwrap_or_default().trim());
    }
    reader.finish(keepalive_s)
}

#[derive(Default)]
enum At {
    #[default]
    Nowhere,
    Interface,
    Peer,
    /// Its header is reported; its lines are not worth a word.
    Unknown,
}

/// Where a peer's parts stand.
struct PeerLines {
    header: u64,
    public_key: Option<u64>,
    allowed_ips: Option<u64>,
    keepalive: bool,
}

#[derive(Default)]
struct Reader {
    at: At,
    draft: Draft,
    interface: Option<u64>,
    mtu_line: Option<u64>,
    peers: Vec<PeerLines>,
    /// Keys met in this section.
    met: Vec<&'static str>,
    /// Keys met in `[Interface]`, right or wrong.
    met_interface: Vec<&'static str>,
    errors: Vec<QuickError>,
    notes: Vec<String>,
}

impl Reader {
    fn error(&mut self, line: u64, message: impl Into<String>) {
        self.errors.push(QuickError { line: Some(line), message: message.into() });
    }

    fn line(&mut self, n: u64, line: &str) {
        if line.is_empty() {
        } else if line.starts_with('[') {
            self.header(n, line);
        } else if let Some((key, value)) = line.split_once('=') {
            self.entry(n, key.trim(), value.trim());
        } else {
            self.error(n, "is neither `[Section]` nor `Key = value` (correct or remove the line)");
        }
    }

    fn header(&mut self, n: u64, line: &str) {
        self.met.clear();
        if line.eq_ignore_ascii_case("[Interface]") {
            if self.interface.is_some() {
                self.error(n, "a second [Interface] (keep one)");
            }
            self.interface.get_or_insert(n);
            self.at = At::Interface;
        } else if line.eq_ignore_ascii_case("[Peer]") {
            self.at = At::Peer;
            self.draft.peers.push(DraftPeer::default());
            self.peers.push(PeerLines { header: n, public_key: None, allowed_ips: None, keepalive: false });
        } else {
            self.error(n, "unknown section (known: [Interface], [Peer])");
            self.at = At::Unknown;
        }
    }

    fn entry(&mut self, n: u64, key: &str, value: &str) {
        let (known, name): (&'static [&'static str], _) = match self.at {
            At::Nowhere => return self.error(n, "stands before any section (begin with [Interface])"),
            At::Unknown => return,
            At::Interface => (&INTERFACE, "[Interface]"),
            At::Peer => (&PEER, "[Peer]"),
        };
        let Some(key) = known.iter().copied().find(|k| k.eq_ignore_ascii_case(key)) else {
            let message = format!("unknown key in {name} ({})", suggestion::suggestion(key, known));
            return self.error(n, message);
        };
        // Two [Interface] sections are one: their keys meet.
        let met = if matches!(self.at, At::Interface) { &mut self.met_interface } else { &mut self.met };
        let again = met.contains(&key);
        met.push(key);
        if again && ONCE.contains(&key) {
            return self.error(n, format!("{key} is given twice (keep one)"));
        }
        let read = match self.at {
            At::Peer => self.peer(n, key, value),
            _ => self.interface(n, key, value),
        };
        if let Err(message) = read {
            self.error(n, format!("{key} {message}"));
        }
    }

    fn interface(&mut self, n: u64, key: &str, value: &str) -> Result<(), String> {
        match key {
            "PrivateKey" => self.draft.private_key = Some(parse(value)?),
            "Address" => self.draft.addresses.extend(cidrs(value)?),
            "ListenPort" => {
                let port = number(value).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
                let port = port.ok_or("is no port (1 to 65535; leave the line out for any port)")?;
                self.draft.listen_port = Some(port);
            }
            "MTU" => {
                self.mtu_line = Some(n);
                let mtu = number(value).and_then(|mtu| u16::try_from(mtu).ok()).filter(|mtu| *mtu >= MIN_MTU);
                let mtu = mtu.ok_or_else(|| format!("is no MTU ({MIN_MTU} to {}, bytes)", u16::MAX))?;
                self.draft.mtu = Some(mtu);
            }
            "DNS" | "Table" | "FwMark" | "SaveConfig" => {
                self.notes.push(format!("line {n}: {key} is ignored (the system's network is left alone)"));
            }
            _ => self.notes.push(format!("line {n}: {key} is not run (run it yourself if you need it)")),
        }
        Ok(())
    }

    fn peer(&mut self, n: u64, key: &str, value: &str) -> Result<(), String> {
        let (Some(peer), Some(lines)) = (self.draft.peers.last_mut(), self.peers.last_mut()) else {
            return Ok(());
        };
        match key {
            "PublicKey" => {
                lines.public_key = Some(n);
                peer.public_key = Some(parse(value)?);
            }
            "PresharedKey" => peer.preshared_key = Some(parse(value)?),
            "Endpoint" => peer.endpoint = Some(parse(value)?),
            "AllowedIPs" => {
                lines.allowed_ips = Some(n);
                peer.allowed_ips.extend(cidrs(value)?);
            }
            _ => {
                lines.keepalive = true;
                peer.persistent_keepalive = keepalive(value)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, keepalive_s: Option<u16>) -> Result<QuickFile, QuickErrors> {
        self.missing();
        for (place, message) in self.draft.faults() {
            let (line, key) = match place {
                Place::Mtu => (self.mtu_line, "MTU"),
                Place::PublicKey(n) => (self.peers.get(n).and_then(|lines| lines.public_key), "PublicKey"),
                Place::AllowedIps(n) => (self.peers.get(n).and_then(|lines| lines.allowed_ips), "AllowedIPs"),
            };
            self.errors.push(QuickError { line, message: format!("{key} {message}") });
        }
        for (peer, lines) in self.draft.peers.iter_mut().zip(&self.peers) {
            if peer.endpoint.is_some() && !lines.keepalive {
                peer.persistent_keepalive = keepalive_s;
            }
        }
        let mut errors = self.errors;
        errors.sort_by_key(|error| error.line);
        match self.draft.finish() {
            Some(tunnel) if errors.is_empty() => Ok(QuickFile { tunnel, notes: self.notes }),
            _ if errors.is_empty() => Err(whole("is not complete (compare it with `storagectl link pair`)")),
            _ => Err(QuickErrors { file: PathBuf::new(), errors }),
        }
    }

    fn missing(&mut self) {
        match self.interface {
            None => {
                let message = "has no [Interface] section (write PrivateKey and Address into one)".to_owned();
                self.errors.push(QuickError { line: None, message });
            }
            Some(line) => {
                for key in ["PrivateKey", "Address"] {
                    if !self.met_interface.contains(&key) {
                        self.error(line, format!("{key} is missing in [Interface] (write `{key} = …`)"));
                    }
                }
            }
        }
        if self.peers.is_empty() {
            let message = "has no [Peer] section (write the other end's PublicKey into one)".to_owned();
            self.errors.push(QuickError { line: None, message });
        }
        for lines in std::mem::take(&mut self.peers) {
            if lines.public_key.is_none() {
                self.error(lines.header, "PublicKey is missing in [Peer] (write the other end's)");
            }
            if lines.allowed_ips.is_none() {
                self.error(lines.header, "AllowedIPs is missing in [Peer] (write the other end's address)");
            }
            self.peers.push(lines);
        }
    }
}

fn parse<T: std::str::FromStr<Err: fmt::Display>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|e: T::Err| e.to_string())
}

fn cidrs(value: &str) -> Result<Vec<Cidr>, String> {
    let mut all = Vec::new();
    for (n, part) in (1..).zip(value.split(',')) {
        match part.trim().parse::<Cidr>() {
            Ok(cidr) => all.push(cidr),
            Err(error) if value.contains(',') => return Err(format!("number {n} {error}")),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(all)
}

/// Seconds; `None` for `off` and 0.
fn keepalive(value: &str) -> Result<Option<u16>, String> {
    if value.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let seconds = number(value).and_then(|n| u16::try_from(n).ok());
    let seconds = seconds.ok_or("is no time (seconds, 1 to 65535, or off)")?;
    Ok(Some(seconds).filter(|n| *n != 0))
}

impl TunnelConfig {
    /// The wg-quick file that says the same, keys included: for a private file and nowhere else.
    #[must_use]
    pub fn expose_wg_quick(&self) -> String {
        let list = |all: &[Cidr]| all.iter().map(Cidr::to_string).collect::<Vec<_>>().join(", ");
        let mut lines = vec![
            "[Interface]".to_owned(),
            format!("PrivateKey = {}", self.private_key.expose_base64()),
            format!("Address = {}", list(&self.addresses)),
        ];
        lines.extend(self.listen_port.map(|port| format!("ListenPort = {port}")));
        lines.extend(self.mtu.map(|mtu| format!("MTU = {mtu}")));
        for peer in &self.peers {
            lines.extend([String::new(), "[Peer]".into(), format!("PublicKey = {}", peer.public_key)]);
            lines
                .extend(peer.preshared_key.as_ref().map(|k| format!("PresharedKey = {}", k.expose_base64())));
            lines.extend(peer.endpoint.as_ref().map(|endpoint| format!("Endpoint = {endpoint}")));
            lines.push(format!("AllowedIPs = {}", list(&peer.allowed_ips)));
            lines.extend(peer.persistent_keepalive.map(|s| format!("PersistentKeepalive = {s}")));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}
