//! wg-quick files: what is accepted, every way to be wrong, and what holds for any file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use proptest::prelude::*;
use wireguard::{
    Cidr, PeerEndpoint, PresharedKey, PrivateKey, PublicKey, TunnelConfig, TunnelPeer, parse_wg_quick,
};

const KEY: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
const OWN: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const PEER: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
const OTHER: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

fn errors(text: &str) -> Vec<(Option<u64>, String)> {
    let errors = parse_wg_quick(text.as_bytes(), None).unwrap_err();
    assert!(!errors.to_string().contains(KEY), "a secret is shown: {errors}");
    assert_eq!(errors.to_string().lines().count(), errors.errors.len(), "one line each: {errors}");
    errors.errors.into_iter().map(|e| (e.line, e.message)).collect()
}

fn file(interface: &str, peers: &str) -> String {
    format!("[Interface]\nPrivateKey = {KEY}\nAddress = 10.0.1.1/24\n{interface}\n{peers}")
}

fn peer(key: &str, allowed: &str) -> String {
    format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {allowed}\n")
}

#[test]
fn a_file_as_people_write_it() {
    let text = format!(
        "\u{feff}# home\r\n[interface]\r\nprivatekey={KEY} # mine\r\nADDRESS = 10.0.1.1/24, fd00::1/64\r\nAddress = 10.0.2.1\r\n\
         ListenPort = 51820\r\nMTU = 1380\r\nDNS = 1.1.1.1\r\nPostUp = iptables -A FORWARD; a = b\r\nSaveConfig = true\r\n\r\n\
         [PEER]\r\nPublicKey = {PEER}\r\nPresharedKey = {OTHER}\r\nEndpoint = [2001:db8::1]:51820\r\n\
         AllowedIPs = 10.0.1.2/32,\tfd00::2/128\r\nallowedips = 192.168.0.0/16\r\nPersistentKeepalive = off\r\n"
    );
    let file = parse_wg_quick(text.as_bytes(), Some(25)).unwrap();
    let tunnel = &file.tunnel;
    assert_eq!(tunnel.private_key.expose_base64(), KEY);
    let shown = |all: &[Cidr]| all.iter().map(Cidr::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&tunnel.addresses), ["10.0.1.1/24", "fd00::1/64", "10.0.2.1/32"]);
    assert_eq!((tunnel.listen_port, tunnel.mtu), (Some(51820), Some(1380)));
    let peer = &tunnel.peers[0];
    assert_eq!(peer.endpoint, Some(PeerEndpoint { host: "2001:db8::1".into(), port: 51820 }));
    assert_eq!(shown(&peer.allowed_ips), ["10.0.1.2/32", "fd00::2/128", "192.168.0.0/16"]);
    assert_eq!(peer.persistent_keepalive, None, "off is not absence");
    assert!(peer.preshared_key.is_some());
    assert_eq!(file.notes.len(), 3, "{:?}", file.notes);
    assert!(file.notes[1].starts_with("line 9: PostUp is not run"), "{:?}", file.notes);
    assert!(!format!("{file:?}").contains(KEY));
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let good = peer(PEER, "10.0.1.2/32");
    for (text, line, message) in [
        (file("Adress = 1", &good), Some(4), "unknown key in [Interface] (did you mean `Address`?)"),
        (file("", &format!("{good}Colour = 1")), Some(8), "unknown key in [Peer] (known here: "),
        (file("", &format!("{good}[Pear]\nx = y")), Some(8), "unknown section (known: [Interface], [Peer])"),
        (file("hello", &good), Some(4), "is neither `[Section]` nor `Key = value`"),
        (file(&format!("PrivateKey = {KEY}"), &good), Some(4), "PrivateKey is given twice (keep one)"),
        (
            file(&format!("[Interface]\nPrivateKey = {KEY}"), &good),
            Some(4),
            "a second [Interface] (keep one)",
        ),
        (file("ListenPort = 0", &good), Some(4), "ListenPort is no port (1 to 65535"),
        (file("ListenPort = 65536", &good), Some(4), "ListenPort is no port"),
        (file("MTU = 575", &good), Some(4), "MTU is no MTU (576 to 65535, bytes)"),
        (
            file("MTU = 1279\nAddress = fd00::1/64", &good),
            Some(4),
            "MTU 1279 is too small for an IPv6 address",
        ),
        (file("Address = 10.0.0.1/24, x", &good), Some(4), "Address number 2 is not an address"),
        (file("", &format!("{good}Endpoint = h:0")), Some(8), "Endpoint is not HOST:PORT"),
        (file("", &format!("{good}Endpoint = ::1:51820")), Some(8), "Endpoint is not HOST:PORT"),
        (file("", &format!("{good}PersistentKeepalive = 70000")), Some(8), "PersistentKeepalive is no time"),
        (file("", &format!("{good}PresharedKey = abc")), Some(8), "PresharedKey is not a WireGuard key"),
        (file("", &format!("{good}PublicKey = {PEER}")), Some(8), "PublicKey is given twice (keep one)"),
        (file("", &peer(&KEY[1..], "10.0.1.2")), Some(6), "PublicKey is not a WireGuard key"),
        (file("", &peer(OWN, "10.0.1.2")), Some(6), "PublicKey is this end's own public key"),
        (file("", &peer(KEY, "10.0.1.2")), Some(6), "PublicKey is this end's private key"),
        (file("", &peer(PEER, "10.0.1.1")), Some(7), "AllowedIPs 10.0.1.1/32 is this end's own address"),
        (file("", &format!("{good}{}", peer(PEER, "10.0.1.3"))), Some(9), "PublicKey 3p7b"),
        (file("", ""), None, "has no [Peer] section"),
        (good.clone(), None, "has no [Interface] section"),
        (format!("[Interface]\nAddress = 10.0.1.1\n{good}"), Some(1), "PrivateKey is missing in [Interface]"),
        (format!("[Interface]\nPrivateKey = {KEY}\n{good}"), Some(1), "Address is missing in [Interface]"),
        (file("", "[Peer]\nAllowedIPs = 10.0.1.2"), Some(5), "PublicKey is missing in [Peer]"),
        (file("", &format!("[Peer]\nPublicKey = {PEER}")), Some(5), "AllowedIPs is missing in [Peer]"),
    ] {
        let found = errors(&text);
        assert!(found[0].0 == line && found[0].1.starts_with(message), "{message}: {found:?}\n{text}");
    }
    assert_eq!(errors("x = y")[2], (Some(1), "stands before any section (begin with [Interface])".into()));
}

#[test]
fn addresses_of_two_peers_are_named_with_both_peers() {
    let text = file("", &format!("{}{}", peer(PEER, "10.0.1.2, 10.8.0.0/16"), peer(OTHER, "10.8.3.0/24")));
    let message = format!(
        "AllowedIPs 10.8.3.0/24 of peer {OTHER} overlaps 10.8.0.0/16 of peer {PEER} (give each address to one peer)"
    );
    assert_eq!(errors(&text), [(Some(10), message)]);
    // A private key on the wrong line is not shown as a name.
    errors(&file("", &format!("{}{}", peer(KEY, "10.8.0.0/16"), peer(OTHER, "10.8.3.0/24"))));
}

#[test]
fn all_errors_come_at_once() {
    let text = file("ListenPort = 0\nMTU = 1", &format!("{}Endpoint = h\nfoo = 1", peer("x", "y")));
    assert_eq!(errors(&text).iter().filter_map(|e| e.0).collect::<Vec<_>>(), [4, 5, 7, 8, 9, 10]);
}

#[test]
fn what_is_no_text_of_a_page_is_refused() {
    let long = "#".repeat(65_537);
    assert_eq!(errors(&long), [(None, "is larger than 65536 bytes (a wg-quick file is a page)".into())]);
    let error = parse_wg_quick(b"[Interface]\n\xff\n", None).unwrap_err();
    assert_eq!(error.errors[0].line, Some(2));
    assert!(error.to_string().contains("is not UTF-8 text"));
}

fn key_bytes() -> impl Strategy<Value = String> {
    const B64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // 42 free characters, one with two zero bits at its end, and the padding: 32 bytes.
    (proptest::collection::vec(0..64_usize, 42), 0..16_usize).prop_map(|(chars, last)| {
        let text: String = chars.into_iter().chain([last * 4]).map(|n| char::from(B64[n])).collect();
        format!("{text}=")
    })
}

fn a_peer(n: usize) -> impl Strategy<Value = TunnelPeer> {
    let v4 = (any::<[u8; 2]>(), 16..=32_u8)
        .prop_map(move |([c, d], bits)| format!("10.{}.{c}.{d}/{bits}", n + 1).parse::<Cidr>().unwrap());
    let v6 = (any::<u16>(), 32..=128_u8)
        .prop_map(move |(low, bits)| format!("fd00:{n}::{low:x}/{bits}").parse::<Cidr>().unwrap());
    let host = prop_oneof![Just("vpn.example.org"), Just("203.0.113.7"), Just("2001:db8::7")];
    let endpoint = (host, 1..=u16::MAX).prop_map(|(host, port)| PeerEndpoint { host: host.into(), port });
    let allowed = proptest::collection::vec(prop_oneof![v4, v6], 1..4);
    let keepalive = proptest::option::of(1..=u16::MAX);
    let preshared = proptest::option::of(key_bytes());
    (key_bytes(), preshared, proptest::option::of(endpoint), allowed, keepalive).prop_map(
        |(key, preshared, endpoint, allowed_ips, persistent_keepalive)| TunnelPeer {
            public_key: key.parse::<PublicKey>().unwrap(),
            preshared_key: preshared.map(|key| key.parse::<PresharedKey>().unwrap()),
            endpoint,
            allowed_ips,
            persistent_keepalive,
        },
    )
}

fn a_tunnel() -> impl Strategy<Value = TunnelConfig> {
    let address = prop_oneof![
        (any::<u8>(), 0..=32_u8).prop_map(|(d, bits)| format!("192.168.1.{d}/{bits}")),
        (any::<u16>(), 0..=128_u8).prop_map(|(low, bits)| format!("fe80::{low:x}/{bits}")),
    ];
    let addresses = proptest::collection::vec(address.prop_map(|text| text.parse().unwrap()), 1..4);
    let port = proptest::option::of(1..=u16::MAX);
    let mtu = proptest::option::of(1280..=u16::MAX);
    let peers = (a_peer(0), a_peer(1), a_peer(2), 1..=3_usize).prop_map(|(a, b, c, count)| {
        let mut peers = vec![a, b, c];
        peers.truncate(count);
        peers
    });
    (key_bytes(), addresses, port, mtu, peers).prop_map(|(key, addresses, listen_port, mtu, peers)| {
        TunnelConfig { private_key: key.parse::<PrivateKey>().unwrap(), addresses, listen_port, mtu, peers }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(tunnel in a_tunnel()) {
        let file = parse_wg_quick(tunnel.expose_wg_quick().as_bytes(), None).unwrap();
        prop_assert_eq!(&file.tunnel, &tunnel);
        prop_assert!(file.notes.is_empty());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_wg_quick(&bytes, Some(25));
    }

    #[test]
    fn no_text_of_the_right_words_panics(
        words in proptest::collection::vec(
            prop_oneof![
                Just("[Interface]\n"), Just("[Peer]\n"), Just("[\n"), Just("="), Just(","), Just("\n"), Just("#"),
                Just("Address"), Just("AllowedIPs"), Just("Endpoint"), Just("MTU"), Just("::/0"), Just("0.0.0.0/0"),
                Just("[::]:1"), Just("PublicKey = 3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=\n"), Just("\u{e9}"),
                Just("PrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n"), Just("\u{feff}"), Just("\r"),
            ],
            0..60,
        )
    ) {
        if let Err(errors) = parse_wg_quick(words.concat().as_bytes(), None) {
            prop_assert!(!errors.errors.is_empty());
            prop_assert!(!errors.to_string().contains("dwdtCnMYpX08FsFyUbJm"));
        }
    }
}
