//! Two namespaces with a line between them, and wireguard-go at either end.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use wireguard::{PresharedKey, PrivateKey, PublicKey};

use super::{
    cpu,
    namespace::{Namespace, Nat, Port, run, veth},
};
use crate::binaries;

/// The UDP port of both ends.
pub const UDP_PORT: u16 = 51820;
/// The UDP port of a bad line's near end.
const LINE_PORT: u16 = 51_821;
/// How long a program gets to end by itself.
const GRACE: Duration = Duration::from_secs(2);
/// Numbers wireguard-go's interfaces within this process.
static NEXT: AtomicU32 = AtomicU32::new(0);
/// How long a program may take to be ready.
const READY: Duration = Duration::from_secs(10);

/// A program that is ended when its owner is dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts it; its stdout is ours to read.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        // An input that stays open: some of them end with it.
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Ok(Self(child.with_context(|| format!("start {command:?}"))?))
    }

    /// A bad line from `listen` to `forward` (`testbed impair`'s other arguments), once it stands. `program`:
    /// `testbed`, wherever it is to run. `cut both on` and the like can be told to it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn line_between(
        mut program: Command,
        listen: SocketAddr,
        forward: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        program.args(["impair", "--listen", &listen.to_string(), "--forward", forward]).args(arguments);
        let mut line = Self::start(&mut program)?;
        ensure!(line.line()? == "ready", "the line does not stand");
        Ok(line)
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// When it does not read any more.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.0.stdin.as_mut().context("it has no input")?;
        writeln!(input, "{line}").and_then(|()| input.flush()).context("tell a program")
    }

    /// Its next line; empty at its end.
    ///
    /// # Errors
    /// When its stdout was read before.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().context("its stdout was read")?).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Processor seconds it has used.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu_s(&self) -> Result<f64> {
        cpu::seconds(self.0.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Asked first: wireguard-go then removes its control socket.
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// One end: its namespace, key and addresses.
#[derive(Debug)]
pub struct Side {
    /// Where it runs.
    pub namespace: Arc<Namespace>,
    /// Its key.
    pub key: PrivateKey,
    /// Its address on the line.
    pub outer: Ipv4Addr,
    /// Its address in the tunnel.
    pub inner: Ipv4Addr,
}

/// Two ends.
#[derive(Debug)]
pub struct Pair {
    /// Both.
    pub sides: [Side; 2],
    /// The second secret of both.
    pub preshared: PresharedKey,
    /// Key files of our own ends.
    keys: tempfile::TempDir,
}

impl Pair {
    /// Makes the namespaces and the line.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn create() -> Result<Self> {
        let side = |label: &str, n: u8| -> Result<Side> {
            Ok(Side {
                namespace: Arc::new(Namespace::create(label)?),
                key: PrivateKey::generate(),
                outer: Ipv4Addr::new(10, 77, 0, n),
                inner: Ipv4Addr::new(10, 78, 0, n),
            })
        };
        let sides = [side("a", 1)?, side("b", 2)?];
        let [a, b] =
            sides.each_ref().map(|s| Port { namespace: &s.namespace, interface: "eth0", address: s.outer });
        veth(a, b, None)?;
        let keys = tempfile::tempdir().context("make a folder for keys")?;
        Ok(Self { sides, preshared: PresharedKey::generate(), keys })
    }

    /// The same two behind and before a NAT: side 0 is the nas, side 1 the cloud.
    ///
    /// # Errors
    /// When a folder for keys cannot be made.
    pub fn over(nat: &Nat) -> Result<Self> {
        let side = |namespace: &Arc<Namespace>, outer, n| Side {
            namespace: Arc::clone(namespace),
            key: PrivateKey::generate(),
            outer,
            inner: Ipv4Addr::new(10, 78, 0, n),
        };
        Ok(Self {
            sides: [side(&nat.nas, Nat::NAS, 1), side(&nat.cloud, Nat::CLOUD, 2)],
            preshared: PresharedKey::generate(),
            keys: tempfile::tempdir().context("make a folder for keys")?,
        })
    }

    /// Starts wireguard-go at side `at` (0 or 1), which dials `endpoint` or is dialled, and waits until it is up.
    ///
    /// # Errors
    /// When wireguard-go, `wg` or `ip` fails.
    pub fn wireguard_go(&self, at: usize, endpoint: Option<SocketAddr>) -> Result<Running> {
        let (us, peer) = (&self.sides[at], &self.sides[1 - at]);
        // The control socket's folder is everybody's: the name must be ours alone.
        let interface =
            format!("hs{}-{}", std::process::id() % 100_000, NEXT.fetch_add(1, Ordering::Relaxed));
        let mut command = us.namespace.command("wireguard-go");
        // Its stderr is a banner that recommends the kernel's own.
        let running = Running::start(command.args(["-f", &interface]).stderr(Stdio::null()))?;
        let public: PublicKey = peer.key.public();
        let mut file = tempfile::NamedTempFile::new().context("make a file for wg setconf")?;
        write!(
            file,
            "[Interface]\nPrivateKey = {}\nListenPort = {UDP_PORT}\n[Peer]\nPublicKey = {public}\n\
             PresharedKey = {}\nAllowedIPs = {}/32\n{}\n",
            us.key.expose_base64(),
            self.preshared.expose_base64(),
            peer.inner,
            endpoint.map(|at| format!("Endpoint = {at}\nPersistentKeepalive = 5")).unwrap_or_default(),
        )?;
        let deadline = Instant::now() + READY;
        loop {
            let set = run(us.namespace.command("wg").arg("setconf").arg(&interface).arg(file.path()));
            match set {
                Ok(_) => break,
                // It makes its control socket when it is ready, and tells nobody.
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(error),
            }
        }
        let inner = format!("{}/24", us.inner);
        us.namespace.run("ip", &["addr", "add", &inner, "dev", &interface])?;
        us.namespace.run("ip", &["link", "set", &interface, "mtu", "1420", "up"])?;
        Ok(running)
    }

    /// Starts `testbed link-end` at side `at`.
    ///
    /// # Errors
    /// When the binary is missing or does not start.
    pub fn end(&self, at: usize, arguments: &[&str]) -> Result<Running> {
        let program = binaries::path("testbed")?;
        Running::start(self.sides[at].namespace.command(program).arg("link-end").args(arguments))
    }

    /// A sink at side 1's inner address, without a tunnel of its own, once it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub fn sink(&self, port: u16) -> Result<Running> {
        let (port, inner) = (port.to_string(), format!("{}/24", self.sides[1].inner));
        let mut sink = self.end(1, &["--mode", "external", "--address", &inner, "--serve", &port])?;
        ensure!(sink.line()? == "ready", "the sink does not listen");
        Ok(sink)
    }

    /// Starts `testbed link-end` at side `at` with a tunnel of its own to the other side.
    ///
    /// # Errors
    /// As [`Pair::end`], or when the key files cannot be written.
    pub fn tunnel_end(
        &self,
        at: usize,
        mode: &str,
        endpoint: Option<SocketAddr>,
        arguments: &[&str],
    ) -> Result<Running> {
        let (us, peer) = (&self.sides[at], &self.sides[1 - at]);
        let path = |name: &str| self.keys.path().join(format!("{at}-{name}"));
        std::fs::write(path("private"), us.key.expose_base64()).context("write a key")?;
        std::fs::write(path("shared"), self.preshared.expose_base64()).context("write a key")?;
        let mut command = us.namespace.command(binaries::path("testbed")?);
        command.args(["link-end", "--mode", mode, "--private-key-file"]).arg(path("private"));
        command.arg("--peer-preshared-key-file").arg(path("shared"));
        for (name, value) in [
            ("--address", format!("{}/24", us.inner)),
            ("--listen-port", UDP_PORT.to_string()),
            ("--peer-public-key", peer.key.public().to_string()),
            ("--allowed-ip", format!("{}/32", peer.inner)),
        ] {
            command.arg(name).arg(value);
        }
        if let Some(endpoint) = endpoint {
            command.arg("--endpoint").arg(endpoint.to_string());
        }
        Running::start(command.args(arguments))
    }

    /// Where side 0 dials side 1 on a line without flaws.
    #[must_use]
    pub fn straight(&self) -> SocketAddr {
        SocketAddr::from((self.sides[1].outer, UDP_PORT))
    }

    /// A bad line from side 0 to side 1 (`testbed impair`'s arguments), and where side 0 dials it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn bad_line(&self, arguments: &[&str]) -> Result<(Running, SocketAddr)> {
        let at = SocketAddr::from((self.sides[0].outer, LINE_PORT));
        let program = self.sides[0].namespace.command(binaries::path("testbed")?);
        Ok((Running::line_between(program, at, &self.straight().to_string(), arguments)?, at))
    }
}
