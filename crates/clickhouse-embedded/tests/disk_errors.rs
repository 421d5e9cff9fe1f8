//! A disk that is full in the middle of a write: nothing is acknowledged that is not there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and spawns what it awaits itself"
)]

mod engine;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use engine::Engine;

/// A small disk, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=128m,mode=0700", "hybrid-storage-test"]).arg(at);
        mount.output().unwrap().status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test]
async fn statements_that_find_no_room_fail_and_do_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("engine")) else {
        return println!("SKIPPED: a tmpfs cannot be mounted (root only)");
    };
    let mut engine = Engine::start_in(folder.path(), &[]);
    engine.ok("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    engine.ok("INSERT INTO t SELECT number FROM numbers(1000)").await;
    let filling = disk.0.join("filling");
    let mut file = std::fs::File::create(&filling).unwrap();
    let full = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    for statement in [
        "CREATE TABLE u AS t",
        "DELETE FROM t WHERE a = 5",
        "ALTER TABLE t MODIFY SETTING enable_block_number_column = 1",
        "INSERT INTO t SELECT number FROM numbers(1000)",
    ] {
        let answer = engine.ask(statement).await;
        assert_ne!(answer.code(), 0, "{statement}");
    }
    assert_eq!(engine.ok("SELECT count() FROM t").await, "1000", "it goes on reading");
    drop(file);
    std::fs::remove_file(&filling).unwrap();
    engine.kill_hard();
    engine = Engine::start_in(folder.path(), &[]);
    assert_eq!(engine.ok("SELECT count(), sum(a) FROM t").await, "1000\t499500");
    engine.ok("CREATE TABLE u AS t").await;
    drop(engine);
    drop(disk);
}

#[tokio::test]
async fn a_write_to_a_full_disk_is_not_taken_for_done() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("engine")) else {
        return println!("SKIPPED: a tmpfs cannot be mounted (root only)");
    };
    let engine = Engine::start_in(folder.path(), &[]);
    engine.ok("SELECT 1").await;
    let filling = disk.0.join("filling");
    let free = rustix::fs::statvfs(&disk.0).unwrap();
    std::fs::write(&filling, vec![0; (free.f_bavail * free.f_frsize) as usize - (1 << 20)]).unwrap();
    // ClickHouse reserves no room for a file of a user's.
    let insert =
        "INSERT INTO FUNCTION file('rows.tsv', 'TSV', 'a UInt64') SELECT number FROM numbers(1000000)";
    let asked = engine.request(reqwest::Method::POST, &[]).body(insert);
    let answer = tokio::spawn(Engine::send_or_not(asked));
    let rows = disk.0.join("user_files/rows.tsv");
    let is_full = || rustix::fs::statvfs(&disk.0).is_ok_and(|disk| disk.f_bavail == 0);
    let begun = std::time::Instant::now();
    while !(is_full() && rows.exists()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the disk is not full yet");
        assert!(!answer.is_finished(), "it was acknowledged");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Whoever took the error for done would answer now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!answer.is_finished(), "it was acknowledged");
    std::fs::remove_file(&filling).unwrap();
    answer.await.unwrap();
    assert_eq!(std::fs::read_to_string(&rows).unwrap().lines().count(), 1_000_000);
    drop(engine);
    drop(disk);
}
