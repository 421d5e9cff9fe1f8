//! The `link` section, the same in both files: how packets travel between the daemons, and the
//! tunnel's keys and peers, as a wg-quick file or spelled out.

use std::path::Path;

use crate::{
    node::Node,
    read::Document,
    secret,
    section::Section,
    values,
    wireguard::{
        Cidr, LinkConfig, LinkMode, MAX_FILE_BYTES, PeerEndpoint, PresharedKey, PrivateKey, PublicKey,
        TunnelConfig, TunnelPeer, parse_quick,
    },
};

const MODES: &[(&str, LinkMode)] = &[
    ("auto", LinkMode::Auto),
    ("tun", LinkMode::Tun),
    ("userspace", LinkMode::Userspace),
    ("external", LinkMode::External),
];
/// Keys that `config_file` replaces.
const SPELLED: [&str; 5] = ["private_key_file", "addresses", "listen_port", "mtu", "peers"];

/// Reads `link`. `keepalive`: what a dialled peer gets that names none (the end behind a router).
/// `forbidden`: why there must be no tunnel, if so.
pub(crate) fn link(
    document: &Document<'_>,
    root: &Section<'_>,
    keepalive: Option<u16>,
    forbidden: Option<&str>,
    notes: &mut Vec<String>,
) -> LinkConfig {
    let section = root.section("link");
    let mode = section.opt("mode", values::word(MODES));
    let file = section.opt("config_file", values::path(&document.base));
    section.forbid_inline("private_key", "private_key_file");
    let spelled: Vec<&str> = SPELLED.into_iter().filter(|key| section.node(key).is_some()).collect();
    let external = LinkConfig { mode: LinkMode::External, tunnel: None };
    let given = file.is_some() || !spelled.is_empty();
    let tunnel = match &file {
        _ if mode == Some(LinkMode::External) => None,
        Some(path) => {
            for key in &spelled {
                section.problem(key, "stands beside config_file (say it in one place)");
            }
            from_file(&section, path, notes)
        }
        None if !spelled.is_empty() => spelled_out(document, &section),
        None => None,
    };
    if let (true, Some(why)) = (given && mode != Some(LinkMode::External), forbidden) {
        section.problem("mode", why);
    }
    if let (false, Some(mode @ (LinkMode::Tun | LinkMode::Userspace | LinkMode::Auto))) = (given, mode) {
        let word = MODES.iter().find(|(_, m)| *m == mode).map_or("", |(word, _)| word);
        section.problem(
            "mode",
            format!(
                "{word} needs keys (name a wg-quick file as config_file; `storagectl link pair` writes one)"
            ),
        );
    }
    section.finish();
    let Some(mut tunnel) = tunnel else { return external };
    for peer in tunnel.peers.iter_mut().filter(|peer| peer.endpoint.is_some()) {
        peer.persistent_keepalive = peer.persistent_keepalive.or(keepalive);
    }
    LinkConfig { mode: mode.unwrap_or(LinkMode::Auto), tunnel: Some(tunnel) }
}

fn from_file(section: &Section<'_>, path: &Path, notes: &mut Vec<String>) -> Option<TunnelConfig> {
    let text = match secret::read_text(path, MAX_FILE_BYTES) {
        Ok(text) => text,
        Err(message) => {
            section.problem("config_file", message);
            return None;
        }
    };
    match parse_quick(&text) {
        Ok(quick) => {
            notes.extend(quick.notes);
            Some(quick.tunnel)
        }
        Err(errors) => {
            for error in errors {
                section
                    .problem("config_file", format!("{}:{}: {}", path.display(), error.line, error.message));
            }
            None
        }
    }
}

fn spelled_out(document: &Document<'_>, section: &Section<'_>) -> Option<TunnelConfig> {
    let key = section.must("private_key_file", values::path(&document.base));
    let private_key: Option<PrivateKey> = key.and_then(|path| key_file(section, "private_key_file", &path));
    let addresses = ranges(section, "addresses");
    if addresses.is_empty() {
        section.problem(
            "addresses",
            "is missing or empty (this end's address inside the tunnel: [\"10.0.1.1/24\"])",
        );
    }
    let listen_port = section.opt("listen_port", values::int(1..=u16::MAX));
    let mtu = section.opt("mtu", values::int(576..=u16::MAX));
    let given = section.list("peers");
    if given.is_empty() {
        section.problem("peers", "is missing or empty (a tunnel has two ends)");
    }
    let read =
        given.into_iter().map(|(at, node)| peer(document, &section.child(at.clone(), node)).map(|p| (at, p)));
    let peers: Vec<_> = read.collect::<Option<_>>()?;
    let tunnel = TunnelConfig {
        private_key: private_key?,
        addresses,
        listen_port,
        mtu,
        peers: peers.iter().map(|(_, peer)| peer.clone()).collect(),
    };
    for (n, message) in tunnel.contradictions() {
        let at = n.and_then(|n| peers.get(n)).map_or_else(|| section.at("peers"), |(at, _)| at.clone());
        section.problem_at(at, message);
    }
    Some(tunnel)
}

fn peer(document: &Document<'_>, section: &Section<'_>) -> Option<TunnelPeer> {
    let public_key = section.must("public_key", |node| {
        values::text(node)?.parse::<PublicKey>().map_err(|error| error.to_string())
    });
    section.forbid_inline("preshared_key", "preshared_key_file");
    let preshared_key: Option<PresharedKey> = section
        .opt("preshared_key_file", values::path(&document.base))
        .and_then(|path| key_file(section, "preshared_key_file", &path));
    let endpoint = section.opt("endpoint", |node| values::text(node)?.parse::<PeerEndpoint>());
    let allowed_ips = ranges(section, "allowed_ips");
    let persistent_keepalive = section.opt("persistent_keepalive", values::int(1..=u16::MAX));
    section.check();
    Some(TunnelPeer { public_key: public_key?, preshared_key, endpoint, allowed_ips, persistent_keepalive })
}

fn ranges(section: &Section<'_>, key: &'static str) -> Vec<Cidr> {
    let mut ranges = Vec::new();
    for (at, node) in section.list(key) {
        match range(node) {
            Ok(range) => ranges.push(range),
            Err(message) => section.problem_at(at, message),
        }
    }
    ranges
}

fn range(node: &Node) -> Result<Cidr, String> {
    values::text(node)?.parse()
}

fn key_file<K: std::str::FromStr<Err: std::fmt::Display>>(
    section: &Section<'_>,
    key: &'static str,
    path: &Path,
) -> Option<K> {
    let read = secret::read(path, 1)
        .and_then(|secret| secret.expose().parse().map_err(|error| format!("{} {error}", path.display())));
    match read {
        Ok(value) => Some(value),
        Err(message) => {
            section.problem(key, message);
            None
        }
    }
}
