//! `keygen` of the daemon's own binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use storage_config::wireguard::PrivateKey;

fn keygen(arguments: &[&str]) -> (bool, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_storage-service")).arg("keygen").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_private_key_is_printed_and_its_public_half_said() {
    let (ok, out, err) = keygen(&[]);
    let key: PrivateKey = out.parse().unwrap();
    assert!(ok && err == format!("public key: {}\n", key.public()), "{err}");
}

#[test]
fn a_file_is_private_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nas.key");
    let (ok, out, err) = keygen(&["--out", file.to_str().unwrap()]);
    assert!(ok && err.is_empty(), "{err}");
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(out.trim(), written.parse::<PrivateKey>().unwrap().public().to_string());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (ok, out, err) = keygen(&["--out", file.to_str().unwrap()]);
    assert!(!ok && out.is_empty() && err.contains("is not overwritten"), "{err}");
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
}
