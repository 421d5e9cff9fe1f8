//! The daemons joined by TUN devices and the kernel's TCP, the NAS's side in a network namespace; the
//! other tests here use the userspace tunnel. Without the rights for it, each test says so and passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{process::Command, time::Duration};

use testbed::{
    fixture::Fixture,
    lab::namespace::run,
    logs,
    stack::{Link, Role},
};

const LIMIT: Duration = Duration::from_secs(120);

fn possible() -> bool {
    match Link::Tun.possible() {
        Ok(()) => true,
        Err(why) => {
            println!("SKIPPED: {why:#}");
            false
        }
    }
}

/// What this process has made of the machine's network: namespaces, and lines to them.
fn made() -> String {
    let ours = std::process::id().to_string();
    let listed = ["netns", "link"].map(|what| run(Command::new("ip").args(["-o", what, "show"])).unwrap());
    let of_us = |line: &&str| line.contains(&format!("hs-{ours}-")) || line.contains(&format!("hs{ours}-"));
    listed.concat().lines().filter(of_us).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_and_answers_come_through_tun_devices() {
    if !possible() {
        return;
    }
    let fixture = Fixture::with(|config| config.link = Link::Tun).await.unwrap();
    let verdict = fixture.moves_and_answers(LIMIT).await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert_eq!(verdict.failed, 0, "nothing was down, and yet: {:?}", verdict.last_error);
    let link = fixture.service.status().await.unwrap().link.unwrap();
    assert_eq!((link.mode.as_str(), link.state.as_str()), ("tun", "up"), "{link:?}");
    assert!(link.handshake_s.is_some(), "the answers came another way than by the tunnel: {link:?}");
    assert_eq!(logs::unexpected(&fixture.stack, &[]), Vec::<String>::new());
    assert_eq!(made().lines().count(), 2, "{}", made());
    fixture.stack.stop().unwrap();
    assert_eq!(made(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_stack_that_fails() {
    if !possible() {
        return;
    }
    // Refused by the gateway itself: its own start fails, with the engines running.
    let failed = Fixture::with(|config| {
        config.link = Link::Tun;
        config.gateway_min_free = "a lot".to_owned();
    });
    let error = failed.await.unwrap_err();
    assert!(format!("{error:#}").contains("min_free_bytes"), "{error:#}");
    assert_eq!(made(), "");
    // Dropped while everything runs, as by a test that panics.
    let fixture = Fixture::with(|config| config.link = Link::Tun).await.unwrap();
    let processes = Role::ALL.map(|role| fixture.stack.process(role).unwrap());
    assert_ne!(made(), "");
    drop(fixture);
    assert_eq!(made(), "");
    assert!(processes.iter().all(|process| !process.alive()));
}
