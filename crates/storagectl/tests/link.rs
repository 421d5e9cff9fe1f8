//! `storagectl link pair`: no daemon is needed, and the two files fit each other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use wireguard::read_wg_quick;

fn pair(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_storagectl"))
        .env_remove("STORAGE_URL")
        .env_remove("STORAGE_TOKEN_FILE")
        .args(["link", "pair", "--dir", dir.to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn two_private_files_fit_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let output = pair(&keys, &["--endpoint", "vpn.example.org"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [cloud, nas] = ["cloud-wg0.conf", "nas-wg0.conf"].map(|name| {
        let path = keys.join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        read_wg_quick(&path, None).unwrap().tunnel
    });
    assert_eq!(cloud.peers[0].public_key, nas.private_key.public());
    assert_eq!(nas.peers[0].public_key, cloud.private_key.public());
    assert_eq!(nas.peers[0].endpoint.as_ref().unwrap().to_string(), "vpn.example.org:51820");
    assert_eq!(cloud.listen_port, Some(51820));
    let shown = String::from_utf8(output.stdout).unwrap();
    for part in ["cloud-wg0.conf", "nas-wg0.conf", "UDP port 51820", "10.0.1.2", "config_file"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains(&cloud.private_key.expose_base64()), "a key is shown");
}

#[test]
fn nothing_is_overwritten_and_no_half_is_left() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("nas-wg0.conf"), "mine").unwrap();
    let output = pair(dir.path(), &["--endpoint", "[2001:db8::1]:7"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nas-wg0.conf exists and is not overwritten"));
    assert_eq!(fs::read_to_string(dir.path().join("nas-wg0.conf")).unwrap(), "mine");
    assert!(!dir.path().join("cloud-wg0.conf").exists());
}

#[test]
fn wrong_arguments_say_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let output = pair(dir.path(), &["--endpoint", "a b"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not HOST:PORT"));
    let output = pair(dir.path(), &["--endpoint", "h", "--nas-address", "10.9.9.9/24"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("are not in one network"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
