//! The supervisor's own promises: one engine to a folder, restarts, ends, secrets, what it refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and spawns what it awaits itself"
)]

mod engine;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use engine::{Engine, PASSWORD, USER};
use reqwest::Method;

fn run(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clickhouse-embedded"))
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(folder.join("engine"))
        .args(arguments)
        .output()
        .unwrap()
}

fn refused(arguments: &[&str], code: i32, said: &str) {
    let folder = tempfile::tempdir().unwrap();
    let output = run(arguments, folder.path());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?}: it claims to listen");
}

#[tokio::test]
async fn an_engine_that_dies_is_started_again_where_it_was() {
    let engine = Engine::start_with(&["--tcp-listen", "127.0.0.1:0"]);
    engine.ok("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    for round in 1..=2u64 {
        engine.ok(&format!("INSERT INTO t VALUES ({round})")).await;
        let before = engine.engine_pid();
        engine.signal_engine("KILL");
        engine.until_up().await;
        assert_ne!(engine.engine_pid(), before);
        assert_eq!(engine.ok("SELECT count() FROM t").await, round.to_string());
    }
    std::net::TcpStream::connect(("127.0.0.1", engine.tcp_port.unwrap())).unwrap();
    let log = engine.log();
    assert!(log.contains("ended by itself and is started again: signal: 9"), "{log}");
}

#[tokio::test]
async fn the_engine_ends_with_its_supervisor() {
    let engine = Engine::start();
    let pid = engine.engine_pid().unwrap();
    let asked = tokio::spawn(Engine::send_or_not(engine.request(Method::POST, &[]).body("SELECT sleep(3)")));
    engine.until("SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep%'", "1").await;
    let folder = engine.kill_hard();
    asked.await.unwrap();
    // At once, not when its query is over and its terminal closed.
    let deadline = Instant::now() + Duration::from_secs(2);
    while Path::new(&format!("/proc/{pid}/exe")).exists() {
        assert!(Instant::now() < deadline, "the engine lives on without its supervisor");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(folder);
}

/// A stop that comes beside statements is not lost with the key that says it: while a statement runs, the
/// prompt is away.
#[tokio::test]
async fn it_ends_by_itself_each_time_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..8 {
        let engine = Engine::start_in(folder.path(), &[]);
        let busy =
            engine.request(reqwest::Method::POST, &[]).body("SELECT sleepEachRow(0.1) FROM numbers(5)");
        let busy = tokio::spawn(Engine::send_or_not(busy));
        engine.until("SELECT count() FROM system.processes", "2").await;
        let (code, log) = tokio::task::spawn_blocking(move || engine.stop_with_log()).await.unwrap();
        busy.await.unwrap();
        assert_eq!(code, 0, "{log}");
        // What the supervisor says last, when it need not kill.
        assert!(log.contains("stopped"), "{log}");
    }
}

#[tokio::test]
async fn the_locked_account_does_nothing_from_outside() {
    let engine = Engine::start_with(&["--tcp-listen", "127.0.0.1:0"]);
    let client = reqwest::Client::new();
    for sql in ["SELECT 1", "SYSTEM STOP LISTEN HTTP", "SELECT count() FROM system.processes"] {
        for pairs in [
            vec![],
            vec![("session_id", "s")],
            vec![("user", "default")],
            vec![("user", "default"), ("password", "")],
            vec![("user", "default"), ("max_sessions_for_user", "100")],
            vec![("user", "default"), ("profile", "default")],
        ] {
            let request = client.post(&engine.url).query(&pairs).body(sql);
            let answer = Engine::send(request).await;
            assert_ne!(answer.status, 200, "{pairs:?} {sql}: {}", answer.text());
            assert_eq!(answer.code(), 700, "{pairs:?} {sql}: {}", answer.text());
        }
    }
    assert_eq!(engine.ok("SELECT 1").await, "1");
    // The supervisor still can end it in order.
    assert_eq!(engine.stop(), 0);
}

#[tokio::test]
async fn no_secret_stays_in_the_folder() {
    let engine = Engine::start();
    assert_eq!(std::fs::read_dir(engine.folder.join("engine/run")).unwrap().count(), 0, "the configuration");
    for folder in ["engine", "engine/run", "engine/data", "engine/log", "engine/user_files"] {
        let mode = std::fs::metadata(engine.folder.join(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
    let pid = engine.engine_pid().unwrap();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let temporary = engine.folder.join("engine/data/tmp");
    assert_eq!(environment, format!("TMPDIR={}\0", temporary.display()));
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&line).contains(PASSWORD));
}

#[tokio::test]
async fn idle_it_is_small() {
    let engine = Engine::start();
    engine.ok("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a").await;
    engine.ok("INSERT INTO t SELECT number, toString(number) FROM numbers(2000000)").await;
    engine.ok("SELECT s, count() FROM t GROUP BY s ORDER BY s LIMIT 1").await;
    engine.ok("OPTIMIZE TABLE t FINAL").await;
    let rss = engine.rss_mib();
    assert!(rss <= 700, "{rss} MiB");
}

#[test]
fn what_cannot_work_is_refused_with_the_way_out() {
    refused(&["--user", "default"], 78, "locked: choose another name");
    refused(&["--user", "a b"], 78, "no account's name");
    refused(&["--password-file", "/nowhere"], 78, "--password-file");
    refused(&["--libchdb", "nowhere.so"], 78, "cargo xtask fetch-engine");
    refused(&["--clickhouse", "/nowhere/clickhouse"], 78, "--clickhouse /nowhere/clickhouse");
    refused(&["--accounts", "/nowhere.yaml"], 78, "--accounts");
    refused(&["--config", "/etc/hostname"], 78, ".yaml");
    refused(&["--tcp-listen", "127.0.0.2:0"], 78, "its host must be that of --listen");
    refused(&["--memory-limit", "1"], 2, "--memory-limit");
    let secrets = tempfile::tempdir().unwrap();
    let (open, private) = (secrets.path().join("open"), secrets.path().join("private"));
    std::fs::write(&open, "x").unwrap();
    engine::secret(&private, "x");
    refused(&["--password-file", open.to_str().unwrap()], 78, "readable by others");
    for url in ["", "nowhere", "ftp://x", "http://", "http://x/?a=b", "http://a:b@x"] {
        refused(&["--query-password-file", private.to_str().unwrap(), "--query-url", url], 78, "--query-url");
    }
    let folder = tempfile::tempdir().unwrap();
    let open = Command::new(env!("CARGO_BIN_EXE_clickhouse-embedded"))
        .args(["--listen", "0.0.0.0:0", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(open.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&open.stderr).contains("--password-file"), "{open:?}");
}

/// Whatever ends programs ends it in order, and without any time to drain what runs is cut, not waited for.
#[tokio::test]
async fn every_signal_that_ends_programs_ends_it_in_order() {
    let device = || std::os::unix::fs::MetadataExt::mode(&std::fs::metadata("/dev/null").unwrap());
    let mode = device();
    for (signal, arguments) in
        [("HUP", &[][..]), ("QUIT", &[]), ("INT", &[]), ("TERM", &["--drain-seconds", "0"])]
    {
        let engine = Engine::start_with(arguments);
        let busy = engine.request(Method::POST, &[]).body("SELECT sleepEachRow(0.1) FROM numbers(20)");
        let busy = tokio::spawn(Engine::send_or_not(busy));
        engine.until("SELECT count() FROM system.processes", "2").await;
        let (code, log) = tokio::task::spawn_blocking(move || engine.end_by(signal)).await.unwrap();
        busy.await.unwrap();
        assert_eq!(code, 0, "{signal}: {log}");
        assert!(log.contains("stopped") && !log.contains("is killed"), "{signal}: {log}");
    }
    // The machine is as it was, also for an engine that may change it.
    assert_eq!(device(), mode);
}

/// Nothing but an engine's own is ever cleared away, and no name leads elsewhere.
#[test]
fn a_folder_with_other_things_in_it_is_left_alone() {
    for make in [
        |root: &Path, _: &Path| std::fs::create_dir(root.join("run")).unwrap(),
        |root: &Path, other: &Path| {
            std::fs::write(root.join("lock"), "").unwrap();
            std::os::unix::fs::symlink(other, root.join("run")).unwrap();
        },
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (root, other) = (folder.path().join("engine"), folder.path().join("other"));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        make(&root, &other);
        std::fs::write(root.join("run/precious"), "").unwrap();
        let output = run(&[], folder.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("--data"), "{said}");
        assert!(root.join("run/precious").exists());
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["back\\slash", "new\nline"] {
        let output = run(&[], &folder.path().join(name));
        assert_eq!(output.status.code(), Some(78), "{name}: {output:?}");
    }
    // A port file takes no other thing's place.
    let port = folder.path().join("device");
    std::os::unix::fs::symlink("/dev/null", &port).unwrap();
    let output = run(&["--port-file", port.to_str().unwrap()], folder.path());
    assert!(!output.status.success() && port.is_symlink(), "{output:?}");
}

/// A piece of configuration decides nothing that keeps others out, and one that is wrong is told.
#[test]
fn a_piece_of_configuration_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, code, said) in [
        ("a.xml", "<clickhouse><listen_host>0.0.0.0</listen_host></clickhouse>", 78, "use --listen"),
        ("b.yaml", "tcp_port: 9000", 78, "use --tcp-listen"),
        ("c.xml", "<clickhouse><macros></clickhouse>", 1, "Exception"),
        ("d.xml", "", 1, "Exception"),
        ("e.xml", "<other><macros/></other>", 1, "Exception"),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        refused(&["--config", file.to_str().unwrap()], code, said);
    }
}

#[test]
fn a_library_that_is_none_is_told_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.so");
    std::fs::write(&file, "text").unwrap();
    refused(&["--libchdb", file.to_str().unwrap()], 78, "cargo xtask fetch-engine");
}

#[test]
fn an_address_that_is_taken_and_a_grant_that_is_wrong_are_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_clickhouse-embedded"))
        .args(["--listen", &taken.local_addr().unwrap().to_string(), "--data"])
        .arg(folder.path().join("engine"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Address already in use"), "{output:?}");

    engine::secret(&folder.path().join("p"), "x");
    let accounts = folder.path().join("accounts.yaml");
    let text = "accounts: [{name: a, password_file: p, grants: [GRANT FROB ON *.*]}]";
    std::fs::write(&accounts, text).unwrap();
    refused(&["--accounts", accounts.to_str().unwrap()], 1, "while parsing user 'a'");
}

/// x86-64 without AVX2, by an emulator: one line, exit code 78, never an illegal instruction.
#[test]
fn a_processor_without_avx2_gets_one_clear_line() {
    let Some(emulator) = engine::tool("qemu-x86_64", "qemu-user") else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(emulator)
        .args([
            "-cpu",
            "Nehalem",
            env!("CARGO_BIN_EXE_clickhouse-embedded"),
            "--listen",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("clickhouse-embedded:")).collect();
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert_eq!(lines.len(), 1, "{stderr}");
    assert!(lines[0].contains("avx2") && lines[0].contains("25.8"), "{stderr}");
}

/// No `clickhouse` program can be had where the tests run: a program of our own stands in for it, and shows
/// how it would be started, watched and ended. That a server takes the configuration is not shown here.
#[test]
fn a_named_clickhouse_is_run_as_a_server() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let program =
        Path::new(env!("CARGO_BIN_EXE_clickhouse-embedded")).with_file_name("examples/stand_in_server");
    let password = folder.path().join("password");
    engine::secret(&password, PASSWORD);
    let mut child = Command::new(env!("CARGO_BIN_EXE_clickhouse-embedded"))
        .args(["--listen", "127.0.0.1:0", "--user", USER, "--clickhouse"])
        .arg(&program)
        .arg("--password-file")
        .arg(&password)
        .arg("--data")
        .arg(folder.path().join("engine"))
        .env("SECRET", "of the supervisor's own")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"listening\""), "{line}");
    let seen =
        |name: &str| std::fs::read_to_string(folder.path().join("engine/user_files").join(name)).unwrap();
    assert_eq!(seen("arguments.seen"), "server");
    assert_eq!(seen("environment.seen"), "TMPDIR");
    assert!(seen("users.seen").contains("<tester>") && !seen("users.seen").contains("<default><password>"));
    assert!(seen("config.seen").contains("<shutdown_wait_unfinished>10<"));
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(seen("terminated"), "yes");
}
