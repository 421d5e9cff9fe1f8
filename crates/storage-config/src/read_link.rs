//! How the two daemons reach each other: the `link` section, and what both `connection` sections
//! share.

use std::{fmt, fs::File, io::Read as _, path::PathBuf, str::FromStr};

use url::Url;
use wireguard::{
    Cidr, LinkConfig, LinkMode, TunnelConfig,
    draft::{Draft, DraftPeer, MIN_MTU, Place},
    read_wg_quick,
};

use crate::{
    LinkMethod, endpoint,
    node::{Node, Step},
    read::Document,
    section::Section,
    values,
};

pub(crate) const METHODS: &[(&str, LinkMethod)] =
    &[("vpn", LinkMethod::Vpn), ("reverse_proxy", LinkMethod::ReverseProxy)];
const MODES: &[(&str, LinkMode)] = &[
    ("auto", LinkMode::Auto),
    ("tun", LinkMode::Tun),
    ("userspace", LinkMode::Userspace),
    ("external", LinkMode::External),
];
/// Where a proxy beside the daemon is expected.
const DEFAULT_PROXY: &str = "http://localhost:7000";
/// The tunnel written out in the YAML.
const SPELLED_OUT: [&str; 5] = ["private_key_file", "addresses", "listen_port", "mtu", "peers"];
/// A bundle of every public authority has about 250 KiB.
const MAX_CA_BYTES: u64 = 4 << 20;

/// The other daemon's base URL: `vpn_key` with method `vpn`, `proxy_url` with `reverse_proxy`.
pub(crate) fn url(
    connection: &Section<'_>,
    method: Option<LinkMethod>,
    vpn_key: &'static str,
) -> Option<Url> {
    let url = |node: &Node| endpoint::daemon(&values::text(node)?);
    let (used, other) = match method? {
        LinkMethod::Vpn => (vpn_key, "proxy_url"),
        LinkMethod::ReverseProxy => ("proxy_url", vpn_key),
    };
    if connection.node(other).is_some() {
        connection.problem(other, format!("belongs to the other method (this one uses `{used}`)"));
    }
    if used == "proxy_url" && connection.node(used).is_none() {
        return endpoint::daemon(DEFAULT_PROXY).ok();
    }
    connection.must(used, url)
}

/// `ca_file`: certificates in PEM.
pub(crate) fn ca_file(document: &Document<'_>, connection: &Section<'_>) -> Option<PathBuf> {
    connection.opt("ca_file", |node| {
        let path = values::path(&document.base)(node)?;
        let shown = path.display();
        let unreadable = |e| format!("{shown} cannot be read: {e} (name a PEM file of certificates)");
        if !path.metadata().map_err(unreadable)?.is_file() {
            return Err(format!("{shown} is not a file (name a PEM file of certificates)"));
        }
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|f| f.take(MAX_CA_BYTES + 1).read_to_end(&mut bytes))
            .map_err(unreadable)?;
        if bytes.len() as u64 > MAX_CA_BYTES {
            return Err(format!(
                "{shown} is larger than {MAX_CA_BYTES} bytes (name a PEM file of certificates)"
            ));
        }
        if !String::from_utf8_lossy(&bytes).contains("BEGIN CERTIFICATE") {
            return Err(format!("{shown} holds no \"BEGIN CERTIFICATE\" (convert it to PEM)"));
        }
        Ok(path)
    })
}

/// The `link` section. A peer with an endpoint and no keepalive of its own gets `keepalive_s`.
pub(crate) fn link(
    document: &Document<'_>,
    root: &Section<'_>,
    method: Option<LinkMethod>,
    keepalive_s: Option<u16>,
    notes: &mut Vec<String>,
) -> LinkConfig {
    let section = root.section("link");
    let given = section.opt("mode", values::word(MODES));
    let inline = section.forbid_inline("private_key", "private_key_file");
    let has_file = section.node("config_file").is_some();
    let spelled: Vec<&str> = SPELLED_OUT.iter().copied().filter(|key| section.node(key).is_some()).collect();
    let tunnel = if has_file && !spelled.is_empty() {
        let keys = spelled.join("`, `");
        section.problem("config_file", format!("stands beside `{keys}` (keep the file or the keys)"));
        None
    } else if has_file {
        from_file(document, &section, keepalive_s, notes)
    } else if !spelled.is_empty() || inline {
        spelled_out(document, &section, keepalive_s, inline)
    } else {
        None
    };
    let has_keys = has_file || inline || !spelled.is_empty();
    let mode = given.unwrap_or(if has_keys { LinkMode::Auto } else { LinkMode::External });
    if method == Some(LinkMethod::ReverseProxy) && (has_keys || mode != LinkMode::External) {
        root.problem("link", "belongs to method \"vpn\" (take the section out, or set `method: vpn`)");
    } else if matches!(mode, LinkMode::Tun | LinkMode::Userspace) && !has_keys {
        section
            .problem("mode", "needs keys (set `config_file` or `private_key_file`, or write \"external\")");
    } else if mode == LinkMode::Auto && !has_keys {
        notes.push("link.mode is auto and there are no keys: the operating system's own VPN is used".into());
    } else if mode == LinkMode::External && has_keys {
        notes.push("link.mode is external: the keys of `link` are not used".into());
    }
    section.finish();
    match tunnel.filter(|_| mode != LinkMode::External) {
        Some(tunnel) => LinkConfig { mode, tunnel: Some(tunnel) },
        None => LinkConfig { mode: LinkMode::External, tunnel: None },
    }
}

fn from_file(
    document: &Document<'_>,
    section: &Section<'_>,
    keepalive_s: Option<u16>,
    notes: &mut Vec<String>,
) -> Option<TunnelConfig> {
    let path = section.opt("config_file", values::path(&document.base))?;
    match read_wg_quick(&path, keepalive_s) {
        Ok(file) => {
            notes.extend(file.notes.iter().map(|note| format!("{}: {note}", path.display())));
            Some(file.tunnel)
        }
        Err(errors) => {
            for line in errors.lines() {
                section.problem("config_file", line);
            }
            None
        }
    }
}

/// A key from the file that `node` names.
fn key_file<T: FromStr<Err: fmt::Display>>(document: &Document<'_>, node: &Node) -> Result<T, String> {
    let path = values::path(&document.base)(node)?;
    let shown = path.display();
    let secret = secret_file::read(&path).map_err(|refusal| format!("{shown} {refusal}"))?;
    secret.expose().parse().map_err(|e: T::Err| format!("the text in {shown} {e}"))
}

fn parsed<T: FromStr<Err: fmt::Display>>(node: &Node) -> Result<T, String> {
    values::text(node)?.trim().parse().map_err(|e: T::Err| e.to_string())
}

/// Seconds; `None` for `off` and 0.
fn keepalive(node: &Node) -> Result<Option<u16>, String> {
    match node {
        // YAML 1.1 readers take an unquoted off for false.
        Node::Bool(false) => Ok(None),
        Node::Text(text) if text == "off" => Ok(None),
        Node::Text(_) => Err("expected seconds (0 to 65535) or off".into()),
        _ => values::int(0..=u16::MAX)(node).map(|seconds| Some(seconds).filter(|s| *s != 0)),
    }
}

fn cidrs(section: &Section<'_>, key: &'static str) -> Vec<Cidr> {
    let given = section.list(key);
    let mut all = Vec::new();
    if given.is_empty() && !matches!(section.node(key), Some(node) if !matches!(node, Node::List(_))) {
        section.problem(key, "is missing or empty (name at least one address)");
    }
    for (at, node) in given {
        match parsed(node) {
            Ok(cidr) => all.push(cidr),
            Err(message) => section.problem_at(at, message),
        }
    }
    all
}

fn spelled_out(
    document: &Document<'_>,
    section: &Section<'_>,
    keepalive_s: Option<u16>,
    inline: bool,
) -> Option<TunnelConfig> {
    let read = |node: &Node| key_file(document, node);
    let private_key =
        if inline { section.opt("private_key_file", read) } else { section.must("private_key_file", read) };
    let mut draft = Draft {
        private_key,
        addresses: cidrs(section, "addresses"),
        listen_port: section.opt("listen_port", values::int(1..=u16::MAX)),
        mtu: section.opt("mtu", values::int(MIN_MTU..=u16::MAX)),
        peers: Vec::new(),
    };
    let given = section.list("peers");
    if given.is_empty() && section.node("peers").is_none_or(|node| matches!(node, Node::List(_))) {
        section.problem("peers", "is missing or empty (name the other end)");
    }
    let mut places = Vec::new();
    for (at, node) in given {
        places.push(at.clone());
        let peer = section.child(at, node);
        draft.peers.push(one_peer(document, &peer, keepalive_s));
        peer.finish();
    }
    for (place, message) in draft.faults() {
        let (n, key) = match place {
            Place::Mtu => {
                section.problem("mtu", message);
                continue;
            }
            Place::PublicKey(n) => (n, "public_key"),
            Place::AllowedIps(n) => (n, "allowed_ips"),
        };
        let mut at = places.get(n).cloned().unwrap_or_default();
        at.push(Step::key(key));
        section.problem_at(at, message);
    }
    draft.finish()
}

fn one_peer(document: &Document<'_>, peer: &Section<'_>, keepalive_s: Option<u16>) -> DraftPeer {
    peer.forbid_inline("preshared_key", "preshared_key_file");
    let endpoint = peer.opt("endpoint", parsed);
    let default = keepalive_s.filter(|_| endpoint.is_some());
    DraftPeer {
        public_key: peer.must("public_key", parsed),
        preshared_key: peer.opt("preshared_key_file", |node| key_file(document, node)),
        endpoint,
        allowed_ips: cidrs(peer, "allowed_ips"),
        persistent_keepalive: peer.or("persistent_keepalive", default, keepalive),
    }
}
