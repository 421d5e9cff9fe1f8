//! Network namespaces, the veth pairs between them, and a NAT that can change its address.
//!
//! Everything goes through `ip` (iproute2), `tc` and `nft`. Names carry our pid, so that two runs do not
//! meet; dropping a [`Namespace`] deletes it, and with it its interfaces.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result, bail, ensure};

/// Numbers names within this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Why namespaces with TUN devices in them cannot be made here: no rights, no device, no `ip`.
pub fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("network namespaces need root".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err("there is no /dev/net/tun".to_owned());
    }
    super::tool::find("ip", "iproute2").map_err(|error| error.to_string())?;
    // The proof is a namespace made.
    Namespace::create("probe").map(drop).map_err(|error| format!("{error:#}"))
}

/// Why the whole lab cannot be set up here: as [`possible`], or a tool that is missing.
pub fn available() -> Result<(), String> {
    possible()?;
    for tool in ["wireguard-go", "wg", "nft", "ping"] {
        if Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output()
            .is_ok_and(|o| o.status.success())
        {
            continue;
        }
        return Err(format!(
            "{tool} is not installed (Debian: wireguard-go, wireguard-tools, nftables, iputils-ping)"
        ));
    }
    Ok(())
}

/// Runs a command to its end; its stderr is in the error.
///
/// # Errors
/// When it cannot be started or ends with failure.
pub fn run(command: &mut Command) -> Result<String> {
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    if !out.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// One network namespace, with loopback up. Dropping it deletes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// Our own side's interface of a line to it.
    host: Option<String>,
    left: bool,
}

impl Namespace {
    /// Makes one whose name ends with `label`.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn create(label: &str) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hs-{}-{number}-{label}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let made = Self { name, host: None, left: false };
        made.run("ip", &["link", "set", "lo", "up"])?;
        Ok(made)
    }

    /// One that another process made and left: it goes when this is dropped. Only names of ours are
    /// taken.
    ///
    /// # Errors
    /// When `name` is none of ours.
    pub fn adopt(name: &str) -> Result<Self> {
        ensure!(name.starts_with("hs-"), "{name:?} is no namespace of ours");
        Ok(Self { name: name.to_owned(), host: None, left: false })
    }

    /// Whether it is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        Path::new("/run/netns").join(&self.name).exists()
    }

    /// Lets it outlive us.
    pub fn leave(mut self) {
        self.left = true;
    }

    /// A line between us, at `host`, and it, at `inside`, both in one /24. It goes with the namespace.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn join(&mut self, host: Ipv4Addr, inside: Ipv4Addr) -> Result<()> {
        // At most 15 bytes.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let ours = format!("hs{}-{number}", std::process::id());
        let pair = ["type", "veth", "peer", "name", "eth0", "netns", &self.name];
        run(Command::new("ip").args(["link", "add", &ours]).args(pair))?;
        self.host = Some(ours.clone());
        run(Command::new("ip").args(["addr", "add", &format!("{host}/24"), "dev", &ours]))?;
        run(Command::new("ip").args(["link", "set", &ours, "up"]))?;
        self.run("ip", &["addr", "add", &format!("{inside}/24"), "dev", "eth0"])?;
        self.run("ip", &["link", "set", "eth0", "up"]).map(drop)
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside; `ip` executes it in its own place, so that the child's pid is
    /// the program's.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a program inside to its end; returns its stdout.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        run(self.command(program).args(arguments))
    }

    /// Limits what leaves through `interface` (tc-tbf(8)): bits per second, with 64 KiB of burst and
    /// 100 ms of queue.
    ///
    /// # Errors
    /// What `tc` says.
    pub fn limit(&self, interface: &str, bits_per_s: u64) -> Result<()> {
        let rate = format!("{bits_per_s}bit");
        let shape = ["rate", &rate, "burst", "64kb", "latency", "100ms"];
        let mut arguments = vec!["qdisc", "replace", "dev", interface, "root", "tbf"];
        arguments.extend(shape);
        self.run("tc", &arguments).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        // The kernel takes its time over a namespace; a line goes at once.
        if let Some(host) = &self.host {
            let _ = run(Command::new("ip").args(["link", "del", host]));
        }
        if let Err(error) = run(Command::new("ip").args(["netns", "del", &self.name])) {
            eprintln!("a network namespace stays behind: {error:#}");
        }
    }
}

/// One end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub struct Port<'a> {
    /// Where it stands.
    pub namespace: &'a Namespace,
    /// Its interface's name, at most 15 bytes.
    pub interface: &'a str,
    /// Its address, in a /24.
    pub address: Ipv4Addr,
}

/// Connects two namespaces; `bits_per_s` limits both directions.
///
/// # Errors
/// What `ip` or `tc` says.
pub fn veth(a: Port<'_>, b: Port<'_>, bits_per_s: Option<u64>) -> Result<()> {
    run(Command::new("ip").args(["link", "add", a.interface, "netns", &a.namespace.name]).args([
        "type",
        "veth",
        "peer",
        "name",
        b.interface,
        "netns",
        &b.namespace.name,
    ]))?;
    for port in [a, b] {
        let address = format!("{}/24", port.address);
        port.namespace.run("ip", &["addr", "add", &address, "dev", port.interface])?;
        port.namespace.run("ip", &["link", "set", port.interface, "up"])?;
        if let Some(rate) = bits_per_s {
            port.namespace.limit(port.interface, rate)?;
        }
    }
    Ok(())
}

/// cloud — router — nas, where the router masquerades the nas: the cloud cannot dial it.
#[derive(Debug)]
pub struct Nat {
    /// Has [`Nat::CLOUD`].
    pub cloud: Arc<Namespace>,
    /// Between them.
    pub router: Namespace,
    /// Has [`Nat::NAS`], hidden behind the router.
    pub nas: Arc<Namespace>,
    /// Last byte of the router's outer address.
    outer: u8,
}

impl Nat {
    /// The cloud's address.
    pub const CLOUD: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);
    /// The nas's address, which the cloud never sees.
    pub const NAS: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 2);

    /// Makes the three.
    ///
    /// # Errors
    /// What `ip` or `nft` says.
    pub fn create() -> Result<Self> {
        let made = Self {
            cloud: Arc::new(Namespace::create("cloud")?),
            router: Namespace::create("router")?,
            nas: Arc::new(Namespace::create("nas")?),
            outer: 10,
        };
        let (router, inner) = (&made.router, Ipv4Addr::new(10, 77, 2, 1));
        veth(
            Port { namespace: router, interface: "out0", address: made.address() },
            Port { namespace: &made.cloud, interface: "eth0", address: Self::CLOUD },
            None,
        )?;
        veth(
            Port { namespace: router, interface: "in0", address: inner },
            Port { namespace: &made.nas, interface: "eth0", address: Self::NAS },
            None,
        )?;
        made.nas.run("ip", &["route", "add", "default", "via", &inner.to_string()])?;
        router.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"])?;
        made.translate()?;
        Ok(made)
    }

    /// The router's present outer address: what the cloud takes for the nas's.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 1, self.outer)
    }

    fn translate(&self) -> Result<()> {
        self.router.run("nft", &["add", "table", "ip", "nat"])?;
        let chain = "{ type nat hook postrouting priority 100 ; }";
        self.router.run("nft", &["add", "chain", "ip", "nat", "post", chain])?;
        self.router
            .run("nft", &["add", "rule", "ip", "nat", "post", "oifname", "out0", "masquerade"])
            .map(drop)
    }

    /// The nas gets another address of its own, and loses the old one.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn readdress(&mut self) -> Result<()> {
        let old = format!("{}/24", Self::NAS);
        self.nas.run("ip", &["addr", "del", &old, "dev", "eth0"])?;
        self.nas.run("ip", &["addr", "add", "10.77.2.77/24", "dev", "eth0"])?;
        // The kernel drops a route with the last address it could be used from.
        self.nas.run("ip", &["route", "replace", "default", "via", "10.77.2.1"]).map(drop)
    }

    /// What a provider does at night: the outer address changes and every mapping is forgotten (the
    /// kernel drops a masquerade's mappings with its address).
    ///
    /// # Errors
    /// What `ip` or `nft` says.
    pub fn rebind(&mut self) -> Result<()> {
        let old = format!("{}/24", self.address());
        self.outer = if self.outer == 250 { 10 } else { self.outer + 1 };
        self.router.run("nft", &["delete", "table", "ip", "nat"])?;
        self.router.run("ip", &["addr", "del", &old, "dev", "out0"])?;
        let new = format!("{}/24", self.address());
        self.router.run("ip", &["addr", "add", &new, "dev", "out0"])?;
        self.translate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nat_lets_out_and_changes_its_address() {
        if let Err(why) = available() {
            println!("SKIPPED: {why}");
            return;
        }
        let mut nat = Nat::create().unwrap();
        let cloud = Nat::CLOUD.to_string();
        for _ in 0..2 {
            nat.nas.run("ping", &["-c1", "-W2", &cloud]).unwrap();
            assert!(nat.cloud.run("ping", &["-c1", "-W1", &Nat::NAS.to_string()]).is_err());
            let before = nat.address();
            nat.rebind().unwrap();
            assert_ne!(before, nat.address());
        }
        let name = nat.nas.name().to_owned();
        drop(nat);
        assert!(!run(Command::new("ip").args(["netns", "list"])).unwrap().contains(&name));
    }
}
