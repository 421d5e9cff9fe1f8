//! What carries the link besides the daemons themselves, set up and taken down: nothing, nginx, or a
//! network namespace (`link_record` has the addresses).

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use super::{
    Link, Options, Role, free_port,
    link_record::{LinkRecord, line},
    record::{Ports, Record},
};
use crate::lab::{
    namespace::{Namespace, run},
    nginx::{Nginx, Site},
};

/// nginx and the network namespace while the stack is ours. Dropping it ends and removes them.
#[derive(Debug, Default)]
pub(super) struct LinkSetup {
    nginx: Option<Nginx>,
    namespace: Option<Namespace>,
}

impl LinkSetup {
    /// Makes the namespace or chooses the proxies' ports, and writes into `record` what configurations and processes must know.
    pub(super) fn prepare(options: &Options, record: &mut Record) -> Result<Self> {
        let config = &options.config;
        config.link.possible()?;
        let mut setup = Self::default();
        record.link = LinkRecord::default();
        match config.link {
            Link::ReverseProxy if config.proxies.is_none() => {
                let first = free_port(&record.ports.all())?;
                let taken = [&record.ports.all()[..], &[first]].concat();
                record.link.proxies = Some([first, free_port(&taken)?]);
            }
            Link::Tun => {
                let mut namespace = Namespace::create("nas")?;
                let net = free_net()?;
                namespace.join(line(net)[0], line(net)[1])?;
                record.link.namespace = Some(namespace.name().to_owned());
                record.link.net = Some(net);
                setup.namespace = Some(namespace);
            }
            _ => {}
        }
        Ok(setup)
    }

    /// Starts what must run before the daemons do.
    pub(super) fn start(&mut self, options: &Options, record: &mut Record) -> Result<()> {
        let Some([to_gateway, to_service]) = record.link.proxies.filter(|_| self.nginx.is_none()) else {
            return Ok(());
        };
        let dir = &options.dir;
        let plain = |listen, role| Site { listen, to: record.url(role), tls: None };
        let sites = [plain(to_gateway, Role::Gateway), plain(to_service, Role::Service)];
        let nginx = Nginx::start(&dir.join("proxy"), &dir.join("logs/proxy.log"), &sites, options.detached)?;
        record.link.proxy = Some(nginx.process());
        self.nginx = Some(nginx);
        Ok(())
    }

    /// nginx dies.
    pub(super) fn end_proxies(&mut self) {
        self.nginx = None;
    }

    /// How a program of `role` is started.
    pub(super) fn command(&self, role: Role, program: &Path) -> Command {
        match (&self.namespace, role) {
            (Some(namespace), Role::Gateway | Role::Cold) => namespace.command(program),
            _ => Command::new(program),
        }
    }

    /// Lets both outlive us.
    pub(super) fn leave(self) {
        if let Some(nginx) = self.nginx {
            nginx.leave();
        }
        if let Some(namespace) = self.namespace {
            namespace.leave();
        }
    }
}

/// An N whose two networks no route here touches.
fn free_net() -> Result<u8> {
    for _ in 0..50 {
        let net = rand::random_range(1..=250_u8);
        let mut known = String::new();
        for range in [format!("10.77.{net}.0/24"), format!("10.78.{net}.0/24")] {
            known += &run(Command::new("ip").args(["-4", "route", "show", "table", "all", "root", &range]))?;
        }
        if known.trim().is_empty() {
            return Ok(net);
        }
    }
    bail!("no free network among 10.77.N.0/24 and 10.78.N.0/24")
}

impl Ports {
    fn all(self) -> Vec<u16> {
        Role::ALL.map(|role| self.of(role)).to_vec()
    }
}
