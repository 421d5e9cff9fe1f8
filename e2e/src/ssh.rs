//! An OpenSSH server and client of a test's own: a tunnel that nobody here wrote.
//!
//! Everything (keys of host and user, configuration, logs) stands in a folder that goes with it; the
//! server listens on loopback, knows one key, and runs as whoever runs the test.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use testbed::{
    lab::{namespace::run, pair::Running, tool},
    stack::free_port,
};

/// Longest wait for the tunnel to stand.
const READY: Duration = Duration::from_secs(20);
/// What a server started by root insists on, without touching the machine's own `/run`.
const OWN_RUN: &str = "mount -t tmpfs none /run && mkdir /run/sshd && exec \"$0\" \"$@\"";

/// A port on loopback and the port it leads to.
pub type Forward = (u16, u16);

/// `ssh -N -R … -L …`, and the server it called.
#[derive(Debug)]
pub struct Tunnel {
    // In the order of their end: a server that is ended first would leave its session's process.
    _client: Running,
    _server: Running,
    _dir: tempfile::TempDir,
}

impl Tunnel {
    /// Whether one can be made here.
    pub fn possible() -> Result<()> {
        tool::find("sshd", "openssh-server")?;
        tool::find("ssh-keygen", "openssh-client")?;
        tool::find("ssh", "openssh-client").map(drop)
    }

    /// What the NAS of somebody without a VPN starts: `remote` is a port of the cloud that leads to
    /// one of the NAS, `local` one of the NAS that leads to the cloud.
    pub fn start(remote: Forward, local: Forward) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("hybrid-storage-ssh-").tempdir()?;
        let (at, port) = (dir.path(), free_port(&[remote.0, remote.1, local.0, local.1])?);
        for key in ["host", "user"] {
            let mut keygen = Command::new(tool::find("ssh-keygen", "openssh-client")?);
            run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at.join(key)))?;
        }
        let host = fs::read_to_string(at.join("host.pub"))?;
        fs::write(at.join("known_hosts"), format!("[127.0.0.1]:{port} {host}"))?;
        fs::copy(at.join("user.pub"), at.join("authorized_keys"))?;
        fs::write(at.join("sshd_config"), server_config(at, port))?;
        let server = serve(at)?;
        listening(port, at).context("start sshd")?;

        let mut command = Command::new(tool::find("ssh", "openssh-client")?);
        command.args(["-N", "-F", "none", "-p", &port.to_string(), "-i"]).arg(at.join("user"));
        command.arg("-E").arg(at.join("ssh.log"));
        for option in ["IdentitiesOnly=yes", "BatchMode=yes", "ExitOnForwardFailure=yes"] {
            command.args(["-o", option]);
        }
        command.arg("-o").arg(format!("UserKnownHostsFile={}", at.join("known_hosts").display()));
        command.args(["-R", &forward(remote), "-L", &forward(local)]);
        command.arg(format!("{}@127.0.0.1", run(Command::new("id").arg("-un"))?.trim()));
        let client = Running::start(&mut command)?;
        for forwarded in [remote.0, local.0] {
            listening(forwarded, at).context("start ssh")?;
        }
        Ok(Self { _client: client, _server: server, _dir: dir })
    }
}

fn forward((from, to): Forward) -> String {
    format!("127.0.0.1:{from}:127.0.0.1:{to}")
}

fn server_config(dir: &Path, port: u16) -> String {
    let file = |name: &str| dir.join(name).display().to_string();
    format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nAllowTcpForwarding yes\n",
        file("host"),
        file("authorized_keys")
    )
}

fn serve(dir: &Path) -> Result<Running> {
    let program = tool::find("sshd", "openssh-server")?;
    let needs_folder = is_root()? && !Path::new("/run/sshd").exists();
    let mut command = if needs_folder {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", OWN_RUN]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(["-D", "-E"]).arg(dir.join("sshd.log")).arg("-f").arg(dir.join("sshd_config"));
    Running::start(&mut command)
}

fn is_root() -> Result<bool> {
    Ok(run(Command::new("id").arg("-u"))?.trim() == "0")
}

/// Waits until somebody listens on `port`.
fn listening(port: u16, dir: &Path) -> Result<()> {
    let deadline = Instant::now() + READY;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let log = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        ensure!(Instant::now() < deadline, "nobody listens:\n{}{}", log("sshd.log"), log("ssh.log"));
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
