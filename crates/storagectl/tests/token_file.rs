//! A token file is judged alike by the daemons, which ask for the token, and by `storagectl`, which presents it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

/// Exit code for a daemon that cannot be reached: the token was accepted.
const AWAY: i32 = 69;
/// `storagectl status` of a port where nobody listens, run by the words `before` it.
fn status(before: &[&str], token: &Path) -> Output {
    // Longest wait, seconds; coreutils' exit code for it is 124.
    Command::new("timeout")
        .arg("20")
        .args(before)
        .arg(env!("CARGO_BIN_EXE_storagectl"))
        .args(["--url", "http://127.0.0.1:1", "--timeout", "5", "status", "--token-file"])
        .arg(token)
        .env_remove("STORAGE_URL")
        .env_remove("STORAGE_TOKEN_FILE")
        .output()
        .unwrap()
}

/// Whether the gateway starts with this token; else why not.
fn daemon(dir: &Path, token: &Path) -> Result<(), String> {
    let text = format!(
        "service: {{name: s, deployment: nas, token_file: \"{}\"}}\nstorage: {{type: embedded}}\n\
         connection: {{cloud_endpoint: \"10.0.1.1:8002\"}}\n",
        token.display()
    );
    let file = dir.join("nas.yaml");
    fs::write(&file, text).unwrap();
    storage_config::load_nas_as(&file, None).map(drop).map_err(|errors| errors.to_string())
}

#[test]
fn the_daemons_and_storagectl_accept_the_same_token_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let long = "a".repeat(5_000);
    let longest = "a".repeat(4_095);
    for (text, mode, accepted) in [
        ("0123456789abcdef\n", 0o600, true),
        ("  0123456789abcdef\r\n\n", 0o400, true),
        ("a token of sixteen or more", 0o600, true),
        (&*longest, 0o600, true),
        (&*long, 0o600, false),
        ("0123456789abcde", 0o600, false),
        ("0123456789abcdef\n0123456789abcdef", 0o600, false),
        ("токен-токен-токен", 0o600, false),
        ("", 0o600, false),
        ("0123456789abcdef\n", 0o640, false),
        ("0123456789abcdef\n", 0o604, false),
    ] {
        let _ = fs::remove_file(&file);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let daemon = daemon(dir.path(), &file);
        assert_eq!(daemon.is_ok(), accepted, "a daemon: {text:?} {mode:o}: {daemon:?}");
        let ctl = status(&[], &file);
        let said = String::from_utf8_lossy(&ctl.stderr);
        assert_eq!(ctl.status.code() == Some(AWAY), accepted, "storagectl: {text:?} {mode:o}: {said}");
        if let Err(reason) = daemon {
            let shown = format!("{} ", file.display());
            let why = |text: &str| text.trim().split(&shown).last().map(str::to_owned);
            assert_eq!(why(&said), why(&reason), "one reason");
        }
    }
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("token");
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    let refused = status(&[], &pipe);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("is not a file"), "{said}");
}

/// Docker mounts secrets world-readable under `/run/secrets`. The folder is made in a mount namespace of the
/// test's own; without the rights for one, the test says so and passes.
#[test]
fn a_token_that_docker_mounts_is_accepted() {
    const MOUNT: &str = "mount -t tmpfs none /run && mkdir /run/secrets && umask 022 && \
                         printf 0123456789abcdef > /run/secrets/token && chmod 444 /run/secrets/token";
    let possible = Command::new("unshare").args(["-rm", "sh", "-c", MOUNT]).output();
    if !possible.is_ok_and(|made| made.status.success()) {
        eprintln!("skipped: no mount namespace can be made here");
        return;
    }
    let script = format!("{MOUNT} && exec \"$0\" \"$@\"");
    let answer = status(&["unshare", "-rm", "sh", "-c", &script], Path::new("/run/secrets/token"));
    let said = String::from_utf8_lossy(&answer.stderr);
    assert_eq!(answer.status.code(), Some(AWAY), "{said}");
}
