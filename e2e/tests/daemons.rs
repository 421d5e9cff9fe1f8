//! What both daemons promise whoever starts them: the command line, exit codes, the log, one process to a
//! data folder, journals that are newer or damaged, and a bound on connections. No engine runs here, and
//! neither daemon has its peer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use secret_file::write as write_secret_file;
use serde_json::Value;
use testbed::{binaries, stack::free_port};

const LIMIT: Duration = Duration::from_secs(60);
/// Connections that a daemon takes.
const PLACES: usize = 512;

/// Both, each with its journal.
const DAEMONS: [(&str, &str); 2] =
    [("storage-service", "catalog.sqlite"), ("storage-gateway", "gateway.sqlite")];

/// A folder with a configuration and a data folder.
struct Place {
    dir: tempfile::TempDir,
    daemon: &'static str,
}

impl Place {
    fn new(daemon: &'static str) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap(), daemon };
        write_secret_file(&place.path("token"), "a-token-for-tests-only").unwrap();
        place.configure("config.yaml");
        place
    }

    /// Writes a configuration with a port of its own.
    fn configure(&self, file: &str) {
        let cloud = self.daemon == "storage-service";
        let of_daemon = if cloud {
            "hot_storage: {type: embedded, nodes: [\"http://127.0.0.1:1\"], retention_days: 7}\n\
             cold_storage_proxy: {type: nas_proxy, connection: {method: vpn, vpn_endpoint: \"127.0.0.1:1\"}}\n"
        } else {
            "storage: {type: embedded, url: \"http://127.0.0.1:1\"}\n\
             connection: {cloud_endpoint: \"127.0.0.1:1\"}\n"
        };
        let (port, deployment) = (free_port(&[]).unwrap(), if cloud { "cloud" } else { "nas" });
        let text = format!(
            "service: {{name: s, deployment: {deployment}, listen: \"127.0.0.1:{port}\", \
             data_dir: \"{}\", token_file: token, drain_seconds: 5}}\n{of_daemon}",
            self.path("data").display()
        );
        fs::write(self.path(file), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Names in the data folder that begin so.
    fn data(&self, begins: &str) -> Vec<String> {
        let names = fs::read_dir(self.path("data")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(begins)).collect()
    }

    fn command(&self, config: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binaries::path(self.daemon).unwrap());
        command.arg("--config").arg(self.path(config)).args(arguments);
        command.env_remove("CONFIG_PATH").env_remove("DEPLOYMENT_TYPE").env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to an end of its own.
    fn ends(&self, config: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let output = ended(self.command(config, arguments).spawn().unwrap());
        assert!(output.stdout.is_empty(), "{}", self.daemon);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Starts it and waits for its port file.
    fn starts(&self) -> Running {
        let port_file = self.path("port");
        let _ = fs::remove_file(&port_file);
        let child =
            self.command("config.yaml", &["--port-file", port_file.to_str().unwrap()]).spawn().unwrap();
        let mut running = Running { child: Some(child), address: String::new() };
        let deadline = Instant::now() + LIMIT;
        while running.address.is_empty() {
            let ended = running.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{} ended: {}", self.daemon, running.said());
            assert!(Instant::now() < deadline, "{} does not listen", self.daemon);
            std::thread::sleep(Duration::from_millis(10));
            running.address = fs::read_to_string(&port_file).unwrap_or_default().trim().to_owned();
        }
        running
    }
}

struct Running {
    child: Option<Child>,
    address: String,
}

impl Running {
    /// Asks it to end; its exit code and its log.
    fn end(mut self) -> (Option<i32>, String) {
        let child = self.child.take().unwrap();
        let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        let output = ended(child);
        assert!(output.stdout.is_empty());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Ends it at once; its log.
    fn said(&mut self) -> String {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits for its end, and kills it when that does not come.
fn ended(mut child: Child) -> Output {
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), None, "it goes on: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The answer to `GET /healthz`; empty when there is none within `patience`.
fn health(stream: &mut TcpStream, patience: Duration) -> String {
    let mut answer = String::new();
    stream.set_read_timeout(Some(patience)).unwrap();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn ask_health(stream: &mut TcpStream) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
}

#[test]
fn both_start_log_and_end_alike() {
    for (daemon, _) in DAEMONS {
        let place = Place::new(daemon);
        let running = place.starts();
        let address = running.address.clone();
        let mut caller = running.connect();
        ask_health(&mut caller);
        assert!(health(&mut caller, LIMIT).ends_with("ok\n"), "{daemon}");
        let (code, log) = running.end();
        assert_eq!(code, Some(0), "{daemon}: {log}");
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &lines {
            for field in ["timestamp", "level", "target", "message"] {
                assert!(line[field].is_string(), "{daemon}: {line}");
            }
        }
        let listening = lines.iter().find(|line| line["message"] == "listening").unwrap();
        assert_eq!(listening["address"], address.as_str(), "{daemon}");
        assert!(lines.iter().any(|line| line["signal"] == "SIGTERM"), "{daemon}: {log}");
    }
}

#[test]
fn a_check_says_what_is_wrong_with_the_configuration_and_does_no_more() {
    for (daemon, _) in DAEMONS {
        let place = Place::new(daemon);
        assert_eq!(place.ends("config.yaml", &["--check"]), (Some(0), String::new()));
        fs::write(place.path("wrong.yaml"), "service: {name: 1, nonsense: 2}\n").unwrap();
        let (code, said) = place.ends("wrong.yaml", &["--check"]);
        assert!(said.contains("service.nonsense") && said.lines().count() > 1, "{daemon}: {said}");
        assert_eq!(code, Some(78), "{daemon}");
        assert_eq!(place.ends("wrong.yaml", &[]), (Some(78), said), "{daemon}");
        assert!(!place.path("data").exists(), "{daemon}");
    }
}

#[test]
fn a_data_folder_belongs_to_one_process() {
    for (daemon, _) in DAEMONS {
        let place = Place::new(daemon);
        let first = place.starts();
        place.configure("other_port.yaml");
        let (code, said) = place.ends("other_port.yaml", &[]);
        assert_eq!(code, Some(1), "{daemon}: {said}");
        assert!(said.contains("another process works in this folder"), "{daemon}: {said}");
        assert!(said.contains(place.path("data").to_str().unwrap()), "{daemon}: {said}");
        assert_eq!(first.end().0, Some(0), "{daemon}");
        assert_eq!(place.starts().end().0, Some(0), "{daemon}");
    }
}

#[test]
fn a_journal_of_a_newer_version_is_refused_and_left_alone() {
    for (daemon, journal) in DAEMONS {
        let place = Place::new(daemon);
        place.starts().end();
        let file = place.path("data").join(journal);
        let mut bytes = fs::read(&file).unwrap();
        // `user_version` (https://www.sqlite.org/fileformat2.html#the_database_header).
        bytes[60..64].copy_from_slice(&999_u32.to_be_bytes());
        fs::write(&file, &bytes).unwrap();
        let (code, said) = place.ends("config.yaml", &[]);
        assert_eq!(code, Some(65), "{daemon}: {said}");
        assert!(
            said.contains("was written by a newer version") && said.contains(journal),
            "{daemon}: {said}"
        );
        assert_eq!(fs::read(&file).unwrap(), bytes, "{daemon}");
    }
}

#[test]
fn a_damaged_journal_is_said_and_set_aside() {
    for (daemon, journal) in DAEMONS {
        let place = Place::new(daemon);
        place.starts().end();
        let torn = vec![0xa5; 8_192];
        fs::write(place.path("data").join(journal), &torn).unwrap();
        let (code, log) = place.starts().end();
        assert_eq!(code, Some(0), "{daemon}: {log}");
        assert_eq!(log.matches("the journal is damaged").count(), 1, "{daemon}: {log}");
        let aside = place.data(&format!("{journal}.damaged-"));
        assert_eq!(aside.len(), 1, "{daemon}: {aside:?}");
        assert_eq!(fs::read(place.path("data").join(&aside[0])).unwrap(), torn, "{daemon}");
        // The fresh one is whole.
        assert!(!place.starts().end().1.contains("damaged"), "{daemon}");
    }
}

#[test]
fn more_connections_than_places_wait_for_one() {
    for (daemon, _) in DAEMONS {
        let place = Place::new(daemon);
        let running = place.starts();
        let mut silent: Vec<TcpStream> = (0..PLACES).map(|_| running.connect()).collect();
        let mut caller = running.connect();
        ask_health(&mut caller);
        assert_eq!(health(&mut caller, Duration::from_millis(500)), "", "{daemon}");
        silent.pop();
        assert!(health(&mut caller, LIMIT).ends_with("ok\n"), "{daemon}");
        drop(silent);
        assert_eq!(running.end().0, Some(0), "{daemon}");
    }
}
