//! `keygen` of both daemons' own binaries.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use wireguard::PrivateKey;

const DAEMONS: [&str; 2] = ["storage-service", "storage-gateway"];

fn keygen(daemon: &str, arguments: &[&str]) -> (bool, String, String) {
    let program = testbed::binaries::path(daemon).unwrap();
    let output = Command::new(program).arg("keygen").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_private_key_is_printed_and_its_public_half_said() {
    for daemon in DAEMONS {
        let (ok, out, err) = keygen(daemon, &[]);
        let key: PrivateKey = out.parse().unwrap();
        assert!(ok && err == format!("public key: {}\n", key.public()), "{daemon}: {err}");
    }
}

#[test]
fn a_file_is_private_and_never_overwritten() {
    for daemon in DAEMONS {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nas.key");
        let (ok, out, err) = keygen(daemon, &["--out", file.to_str().unwrap()]);
        assert!(ok && err.is_empty(), "{daemon}: {err}");
        let written = fs::read_to_string(&file).unwrap();
        assert_eq!(out.trim(), written.parse::<PrivateKey>().unwrap().public().to_string());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let (ok, out, err) = keygen(daemon, &["--out", file.to_str().unwrap()]);
        assert!(!ok && out.is_empty() && err.contains("is not overwritten"), "{daemon}: {err}");
        assert_eq!(fs::read_to_string(&file).unwrap(), written);
    }
}
