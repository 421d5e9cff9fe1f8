//! The tunnel in both files: from a wg-quick file, spelled out, and left to the system.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use storage_config::{CloudConfig, ConfigErrors, LinkMethod, NasConfig, load_cloud_as, load_nas_as};
use wireguard::{LinkConfig, LinkMode, PrivateKey};

const KEY: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
const PEER: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

fn write(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn cloud(dir: &Path, connection: &str, link: &str) -> Result<CloudConfig, ConfigErrors> {
    let text = format!(
        "service: {{name: s, deployment: cloud}}\nhot_storage: {{type: embedded, retention_days: 7}}\n\
         cold_storage_proxy: {{type: nas_proxy, connection: {{{connection}}}}}\n{link}\n"
    );
    load_cloud_as(&write(dir, "cloud.yaml", &text, 0o644), None)
}

fn nas(dir: &Path, connection: &str, link: &str) -> Result<NasConfig, ConfigErrors> {
    let text = format!(
        "service: {{name: s, deployment: nas}}\nstorage: {{type: embedded}}\nconnection: {{{connection}}}\n{link}\n"
    );
    load_nas_as(&write(dir, "nas.yaml", &text, 0o644), None)
}

const VPN: &str = "method: vpn, vpn_endpoint: \"10.0.1.2:9000\"";
const NAS_VPN: &str = "cloud_endpoint: \"10.0.1.1:8002\"";

fn quick() -> String {
    format!(
        "[Interface]\nPrivateKey = {KEY}\nAddress = 10.0.1.2/24\nPostUp = reboot\n\
         [Peer]\nPublicKey = {PEER}\nEndpoint = vpn.example.org:51820\nAllowedIPs = 10.0.1.1/32\n"
    )
}

#[test]
fn without_a_section_the_vpn_is_the_systems() {
    let dir = tempfile::tempdir().unwrap();
    let external = LinkConfig { mode: LinkMode::External, tunnel: None };
    assert_eq!(cloud(dir.path(), VPN, "").unwrap().link, external);
    assert_eq!(nas(dir.path(), NAS_VPN, "").unwrap().link, external);
    let config = nas(dir.path(), NAS_VPN, "link: {mode: auto}").unwrap();
    assert_eq!(config.link, external);
    assert!(config.notes.iter().any(|n| n.contains("there are no keys")), "{:?}", config.notes);
}

#[test]
fn a_wg_quick_file_beside_the_configuration_is_the_tunnel() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "wg0.conf", &quick(), 0o600);
    let config = nas(dir.path(), NAS_VPN, "link: {config_file: wg0.conf}").unwrap();
    assert_eq!(config.link.mode, LinkMode::Auto);
    let tunnel = config.link.tunnel.unwrap();
    assert_eq!(tunnel.private_key, KEY.parse::<PrivateKey>().unwrap());
    assert_eq!(tunnel.peers[0].persistent_keepalive, Some(25), "the NAS keeps alive");
    assert!(config.notes.iter().any(|n| n.contains("line 4: PostUp is not run")), "{:?}", config.notes);
    let config = cloud(dir.path(), VPN, "link: {config_file: wg0.conf, mode: userspace}").unwrap();
    assert_eq!(config.link.mode, LinkMode::Userspace);
    assert_eq!(config.link.tunnel.unwrap().peers[0].persistent_keepalive, None);
    let config = cloud(dir.path(), VPN, "link: {config_file: wg0.conf, mode: external}").unwrap();
    assert_eq!(config.link, LinkConfig { mode: LinkMode::External, tunnel: None });
    write(dir.path(), "wg0.conf", &format!("{}PersistentKeepalive = off\n", quick()), 0o600);
    let config = nas(dir.path(), NAS_VPN, "link: {config_file: wg0.conf}").unwrap();
    assert_eq!(config.link.tunnel.unwrap().peers[0].persistent_keepalive, None, "off is off");
}

#[test]
fn the_same_spelled_out_is_the_same_tunnel() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "wg0.conf", &quick(), 0o600);
    write(dir.path(), "key", &format!("{KEY}\n"), 0o600);
    let of_file = nas(dir.path(), NAS_VPN, "link: {config_file: wg0.conf}").unwrap().link;
    let spelled = format!(
        "link:\n  private_key_file: key\n  addresses: [\"10.0.1.2/24\"]\n  peers:\n    - {{public_key: \"{PEER}\", \
         endpoint: \"vpn.example.org:51820\", allowed_ips: [\"10.0.1.1/32\"]}}\n"
    );
    assert_eq!(nas(dir.path(), NAS_VPN, &spelled).unwrap().link, of_file);
    let off = spelled.replace("allowed_ips", "persistent_keepalive: off, allowed_ips");
    let tunnel = nas(dir.path(), NAS_VPN, &off).unwrap().link.tunnel.unwrap();
    assert_eq!(tunnel.peers[0].persistent_keepalive, None);
    write(dir.path(), "key", "not a key but secret\n", 0o600);
    let errors = nas(dir.path(), NAS_VPN, &spelled).unwrap_err().to_string();
    assert!(errors.contains("is not a WireGuard key") && !errors.contains("but secret"), "{errors}");
}

#[test]
fn errors_of_the_file_name_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let text = quick().replace("10.0.1.1/32", "10.0.1.1/99").replace("vpn.example.org", "");
    let file = write(dir.path(), "wg0.conf", &text, 0o600);
    let errors = nas(dir.path(), NAS_VPN, "link: {config_file: wg0.conf}").unwrap_err();
    let shown: Vec<(&str, &str)> =
        errors.errors.iter().map(|e| (e.path.as_str(), e.message.as_str())).collect();
    let at = |line: u64, text: &str| format!("{}:{line}: {text}", file.display());
    assert_eq!(shown.len(), 2, "{errors}");
    assert!(shown.iter().all(|(path, _)| *path == "link.config_file"));
    assert!(shown[0].1.starts_with(&at(7, "Endpoint is not HOST:PORT")), "{errors}");
    assert!(shown[1].1.starts_with(&at(8, "AllowedIPs is not an address")), "{errors}");
    write(dir.path(), "wg0.conf", &quick(), 0o640);
    let errors = nas(dir.path(), NAS_VPN, "link: {config_file: wg0.conf}").unwrap_err();
    assert!(errors.to_string().contains("is readable by others, mode 0640 (chmod 0600 it)"), "{errors}");
    assert!(!errors.to_string().contains(KEY));
}

#[test]
fn a_reverse_proxy_is_beside_the_daemon_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let config = cloud(dir.path(), "method: reverse_proxy", "").unwrap();
    assert_eq!(config.cold.gateway_url.as_str(), "http://localhost:7000/");
    let config = nas(dir.path(), "method: reverse_proxy", "").unwrap();
    assert_eq!(config.connection.cloud_url.as_str(), "http://localhost:7000/");
    assert_eq!(config.connection.method, LinkMethod::ReverseProxy);
    let given = "method: reverse_proxy, proxy_url: \"https://cloud.example\"";
    assert_eq!(nas(dir.path(), given, "").unwrap().connection.cloud_url.as_str(), "https://cloud.example/");
    assert_eq!(nas(dir.path(), NAS_VPN, "").unwrap().connection.method, LinkMethod::Vpn);
}

#[test]
fn a_pinned_authority_must_be_pem() {
    let dir = tempfile::tempdir().unwrap();
    let pinned = format!("{NAS_VPN}, ca_file: ca.pem");
    let file = write(dir.path(), "ca.pem", "-----BEGIN CERTIFICATE-----\n", 0o644);
    assert_eq!(nas(dir.path(), &pinned, "").unwrap().connection.ca_file, Some(file.clone()));
    let config = cloud(dir.path(), &format!("{VPN}, ca_file: ca.pem"), "").unwrap();
    assert_eq!(config.cold.ca_file, Some(file));
    write(dir.path(), "ca.pem", "\u{1}DER", 0o644);
    let errors = nas(dir.path(), &pinned, "").unwrap_err().to_string();
    assert!(errors.contains("connection.ca_file: ") && errors.contains("convert it to PEM"), "{errors}");
}
