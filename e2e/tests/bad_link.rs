//! A link that cannot be had: the daemon alone, with one thing wrong, says in one line what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use secret_file::write as write_secret_file;
use testbed::{binaries, clients::Service, lab::namespace, logs, stack::free_port};
use wireguard::{PresharedKey, PrivateKey};

const LIMIT: Duration = Duration::from_secs(60);
const TOKEN: &str = "a token of sixteen or more";

/// One daemon's folder, and the daemon while it runs.
struct Alone {
    dir: tempfile::TempDir,
    daemon: &'static str,
    port: u16,
    child: Option<Child>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Alone {
    /// A daemon whose peer is nowhere; `interface` and `peer` are further lines of its wg-quick file.
    fn new(daemon: &'static str, mode: &str, interface: &str, peer: &str) -> Self {
        let [own, nobody] = [PrivateKey::generate(), PrivateKey::generate()];
        Self::with_keys(daemon, mode, [&own, &nobody], interface, peer)
    }

    /// A daemon with its own key, and the public half of its peer's.
    fn with_keys(
        daemon: &'static str,
        mode: &str,
        [own, theirs]: [&PrivateKey; 2],
        interface: &str,
        peer: &str,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port(&[]).unwrap();
        let at = dir.path();
        let cloud = daemon == "storage-service";
        write_secret_file(&at.join("token"), TOKEN).unwrap();
        let [here, there] = if cloud { ["10.0.1.1", "10.0.1.2"] } else { ["10.0.1.2", "10.0.1.1"] };
        let keys = format!(
            "[Interface]\nPrivateKey = {}\nAddress = {here}/24\n{interface}\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = {there}/32\n{peer}\n",
            own.expose_base64(),
            theirs.public()
        );
        write_secret_file(&at.join("wg0.conf"), &keys).unwrap();
        let of_daemon = if cloud {
            "hot_storage: {type: embedded, nodes: [\"http://127.0.0.1:1\"], retention_days: 7}\n\
             cold_storage_proxy: {type: nas_proxy, connection: {method: vpn, vpn_endpoint: \"10.0.1.2:9000\"}}\n"
        } else {
            "storage: {type: embedded, url: \"http://127.0.0.1:1\"}\n\
             connection: {cloud_endpoint: \"10.0.1.1:8002\"}\n"
        };
        let text = format!(
            "service: {{name: s, deployment: {}, listen: \"127.0.0.1:{port}\", data_dir: data, token_file: token}}\n\
             {of_daemon}link: {{mode: {mode}, config_file: wg0.conf}}\n",
            if cloud { "cloud" } else { "nas" }
        );
        fs::write(at.join("config.yaml"), text).unwrap();
        Self { dir, daemon, port, child: None }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Starts it as the last words of the command line `before`.
    fn start(&mut self, before: &[&str]) {
        let program = binaries::path(self.daemon).unwrap();
        let mut command = match before {
            [] => Command::new(program),
            [first, others @ ..] => {
                let mut command = Command::new(first);
                command.args(others).arg(program);
                command
            }
        };
        let out = fs::File::create(self.log()).unwrap();
        command.arg("--config").arg(self.dir.path().join("config.yaml"));
        command.env_remove("CONFIG_PATH").env_remove("DEPLOYMENT_TYPE");
        command.env("RUST_LOG", "info,boringtun=off,tunnel=debug");
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        self.child = Some(command.spawn().unwrap());
    }

    /// Its exit code and what it said, once it has ended.
    fn ended(mut self, before: &[&str]) -> (Option<i32>, String) {
        self.start(before);
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                return (status.code(), self.said());
            }
            assert!(Instant::now() < deadline, "it goes on:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it has said `words`.
    fn says(&mut self, words: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let said = self.said();
            if said.contains(words) {
                return said;
            }
            assert!(self.child.as_mut().unwrap().try_wait().unwrap().is_none(), "it ended:\n{said}");
            assert!(Instant::now() < deadline, "it does not say {words:?}:\n{said}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The one line of `said` that somebody must read.
fn the_error(said: &str) -> &str {
    let lines: Vec<&str> = said.lines().filter(|line| logs::severe(line) && !is_note(line)).collect();
    assert_eq!(lines.len(), 1, "{said}");
    lines[0]
}

/// What the configuration's notes say at every start.
fn is_note(line: &str) -> bool {
    ["token_file", "no tables are managed"].iter().any(|note| line.contains(note))
}

/// Ways to run a program without a TUN device, each as the words before it.
fn without_a_device() -> Vec<(&'static str, Vec<&'static str>)> {
    // Root would make the device node anew, where it may.
    let hidden = "mount -t tmpfs none /dev/net && \
                  exec setpriv --inh-caps=-mknod --bounding-set=-mknod \"$0\" \"$@\"";
    vec![
        ("no /dev/net/tun", vec!["unshare", "--mount", "--propagation", "private", "sh", "-c", hidden]),
        ("no right to use it", vec!["setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin"]),
    ]
}

#[test]
fn without_a_tun_device_the_mode_says_what_is_missing_and_auto_goes_on() {
    if let Err(why) = namespace::possible() {
        println!("SKIPPED: {why}");
        return;
    }
    for daemon in ["storage-gateway", "storage-service"] {
        for (what, before) in without_a_device() {
            let (code, said) = Alone::new(daemon, "tun", "", "").ended(&before);
            let line = the_error(&said);
            assert_eq!(code, Some(1), "{daemon}, {what}: {said}");
            for word in ["no TUN device", "CAP_NET_ADMIN and /dev/net/tun", "link.mode to auto or userspace"]
            {
                assert!(line.contains(word), "{daemon}, {what}: {line}");
            }
            let mut auto = Alone::new(daemon, "auto", "", "");
            auto.start(&before);
            let said = auto.says("the tunnel is open");
            assert!(said.contains("link.mode auto takes the userspace stack: no TUN device"), "{said}");
        }
    }
}

#[test]
fn a_udp_port_in_use_is_named() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let Ok(taken) = UdpSocket::bind(address) else { continue };
        let port = taken.local_addr().unwrap().port();
        let listen = format!("ListenPort = {port}");
        let (code, said) = Alone::new("storage-service", "userspace", &listen, "").ended(&[]);
        let line = the_error(&said);
        assert_eq!(code, Some(1), "{said}");
        for word in [&format!("UDP port {port} cannot be listened on"), "set another ListenPort"] {
            assert!(line.contains(word), "{line}");
        }
    }
}

#[test]
fn a_key_file_of_somebody_else_says_whose_it_must_be() {
    let alone = Alone::new("storage-gateway", "userspace", "", "");
    fs::set_permissions(alone.dir.path().join("wg0.conf"), fs::Permissions::from_mode(0o000)).unwrap();
    let own = "--bounding-set=-dac_override,-dac_read_search";
    let root = namespace::run(Command::new("id").arg("-u")).unwrap().trim() == "0";
    let before: &[&str] =
        if root { &["setpriv", "--inh-caps=-dac_override,-dac_read_search", own] } else { &[] };
    let file = alone.dir.path().join("wg0.conf");
    let (code, said) = alone.ended(before);
    assert_eq!(code, Some(78), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let words =
        format!("{}: cannot be read: Permission denied (os error 13) (it must belong to", file.display());
    assert!(said.contains("link.config_file: ") && said.contains(&words), "{said}");
}

/// Runs a program with a resolver and a hosts file of its own: the first two of its arguments.
const OWN_NAMES: &str =
    "mount --bind \"$0\" /etc/resolv.conf && mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_an_address_is_said_once_shown_and_tried_again() {
    if let Err(why) = namespace::possible() {
        println!("SKIPPED: {why}");
        return;
    }
    let mut alone = Alone::new("storage-service", "userspace", "", "Endpoint = nas.invalid:51820");
    let file = |name: &str| alone.dir.path().join(name).display().to_string();
    // Questions go to loopback, where nobody answers them.
    let (resolver, hosts) = (file("resolv.conf"), file("hosts"));
    fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let before = ["unshare", "--mount", "--propagation", "private", "sh", "-c", OWN_NAMES, &resolver, &hosts];
    alone.start(&before);
    let text = "endpoint nas.invalid:51820 cannot be resolved";
    alone.says(text);
    let service = Service::new(&format!("http://127.0.0.1:{}", alone.port), TOKEN).unwrap();
    // Further attempts are said to nobody but those who ask for it.
    let said = alone.says("still: the peer's endpoint");
    let warned = said.lines().filter(|line| line.contains("\"WARN\"") && line.contains(text));
    assert_eq!(warned.count(), 1, "{said}");
    let link = service.status().await.unwrap().link.unwrap();
    let problem = link.problem.unwrap_or_default();
    assert_eq!(link.state, "down");
    assert!(problem.contains(text) && problem.contains("check Endpoint"), "{problem}");
    // As soon as the name has an address, it is used.
    fs::write(&hosts, "127.0.0.1 localhost nas.invalid\n").unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        let link = service.status().await.unwrap().link.unwrap();
        if !link.problem.as_deref().unwrap_or_default().contains(text) {
            break;
        }
        assert!(Instant::now() < deadline, "{link:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The NAS calls a cloud that cannot make a session with it: the NAS says so once, and the cloud shows it, each
/// with `advice`.
async fn no_session_is_said_once_and_shown(udp: u16, mut cloud: Alone, mut nas: Alone, advice: &str) {
    cloud.start(&[]);
    cloud.says("the tunnel is open");
    nas.start(&[]);
    let said = nas.says("still: no handshake with the peer");
    let text = format!("no handshake with the peer at 127.0.0.1:{udp}");
    let warned: Vec<&str> =
        said.lines().filter(|line| line.contains("\"WARN\"") && line.contains(&text)).collect();
    assert_eq!(warned.len(), 1, "{said}");
    // What is said first may come before the peer has asked too.
    let said_first = ["public key and the same preshared key", advice];
    assert!(said_first.iter().any(|words| warned[0].contains(words)), "{said}");
    assert!(said.lines().any(|line| line.contains(&text) && line.contains(advice)), "{said}");
    let service = Service::new(&format!("http://127.0.0.1:{}", cloud.port), TOKEN).unwrap();
    let link = service.status().await.unwrap().link.unwrap();
    let problem = link.problem.unwrap_or_default();
    assert_eq!(link.state, "down");
    assert!(problem.contains("no handshake") && problem.contains(advice), "{problem}");
}

fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_another_key_is_said_once_and_shown_on_both_ends() {
    let udp = free_udp_port();
    // Each made its keys for itself: neither knows the other.
    let cloud = Alone::new("storage-service", "userspace", &format!("ListenPort = {udp}"), "");
    let nas = Alone::new("storage-gateway", "userspace", "", &format!("Endpoint = 127.0.0.1:{udp}"));
    let advice = "do both ends have each other's public key and the same preshared key?";
    no_session_is_said_once_and_shown(udp, cloud, nas, advice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_preshared_key_is_said_once_and_shown_on_both_ends() {
    let udp = free_udp_port();
    let keys = [PrivateKey::generate(), PrivateKey::generate()];
    let preshared = || format!("PresharedKey = {}", PresharedKey::generate().expose_base64());
    let listen = format!("ListenPort = {udp}");
    let dial = format!("{}\nEndpoint = 127.0.0.1:{udp}", preshared());
    let [ours, theirs] = &keys;
    let cloud = Alone::with_keys("storage-service", "userspace", [ours, theirs], &listen, &preshared());
    let nas = Alone::with_keys("storage-gateway", "userspace", [theirs, ours], "", &dial);
    let advice = "is the preshared key the same on both ends";
    no_session_is_said_once_and_shown(udp, cloud, nas, advice).await;
}
