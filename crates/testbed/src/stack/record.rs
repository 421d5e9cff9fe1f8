//! What a stack's folder remembers: ports, secrets, processes.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{ENGINE_USER, ProcessId, Role, free_port, link_record::LinkRecord};

/// Ports of the four processes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ports {
    hot: u16,
    cold: u16,
    gateway: u16,
    service: u16,
}

impl Ports {
    fn choose() -> Result<Self> {
        let mut taken = Vec::new();
        for _ in Role::ALL {
            taken.push(free_port(&taken)?);
        }
        Ok(Self { hot: taken[0], cold: taken[1], gateway: taken[2], service: taken[3] })
    }

    /// Port of a role.
    pub const fn of(self, role: Role) -> u16 {
        match role {
            Role::Hot => self.hot,
            Role::Cold => self.cold,
            Role::Gateway => self.gateway,
            Role::Service => self.service,
        }
    }
}

/// Random secrets of a stack; each also stands alone in a file of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Secrets {
    hot_password: String,
    hot_query_password: String,
    hot_splice_password: String,
    cold_password: String,
    cold_query_password: String,
    gateway_token: String,
    service_token: String,
}

impl Secrets {
    fn random() -> Self {
        let one = || hex::encode(rand::random::<[u8; 24]>());
        Self {
            hot_password: one(),
            hot_query_password: one(),
            hot_splice_password: one(),
            cold_password: one(),
            cold_query_password: one(),
            gateway_token: one(),
            service_token: one(),
        }
    }
}

/// `stack.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Ports, chosen once.
    pub ports: Ports,
    secrets: Secrets,
    /// Processes last started.
    pub processes: BTreeMap<Role, ProcessId>,
    /// What carries the link besides them.
    #[serde(default)]
    pub link: LinkRecord,
}

/// A daemon as callers see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DaemonInfo {
    /// Base URL.
    pub url: String,
    /// Bearer token.
    pub token: String,
    /// Process id; 0 while it does not run.
    pub pid: u32,
}

/// An engine as callers see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EngineInfo {
    /// Base URL of the HTTP interface.
    pub url: String,
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
    /// Process id; 0 while it does not run.
    pub pid: u32,
}

/// What `--json` prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Info {
    /// storage-service.
    pub service: DaemonInfo,
    /// storage-gateway.
    pub gateway: DaemonInfo,
    /// The hot engine.
    pub hot: EngineInfo,
    /// The cold engine.
    pub cold: EngineInfo,
    /// Folder of the stack.
    pub dir: PathBuf,
}

impl Record {
    fn path(dir: &Path) -> PathBuf {
        dir.join("stack.json")
    }

    /// The record of a folder; `None` when no stack was ever started there.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = Self::path(dir);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a stack's record", path.display()))
            .map(Some)
    }

    /// Makes the folders, and takes over the ports and secrets of an earlier stack in them.
    pub(super) fn prepare(dir: &Path) -> Result<Self> {
        let mut folders = fs::DirBuilder::new();
        folders.recursive(true).mode(0o700);
        for name in ["", "config", "secrets", "logs", "faults", "service", "gateway"] {
            folders.create(dir.join(name)).with_context(|| format!("make {}", dir.join(name).display()))?;
        }
        let record = match Self::read(dir)? {
            Some(old) => {
                ensure!(
                    old.processes.values().chain(&old.link.proxy).all(|p| !p.alive()),
                    "a stack already runs in {}: stop it with `cargo xtask stack down --dir {0}`",
                    dir.display()
                );
                old.link.remove()?;
                Self { processes: BTreeMap::new(), link: LinkRecord::default(), ..old }
            }
            None => Self {
                ports: Ports::choose()?,
                secrets: Secrets::random(),
                processes: BTreeMap::new(),
                link: LinkRecord::default(),
            },
        };
        for (name, value) in [
            ("hot_password", &record.secrets.hot_password),
            ("hot_query_password", &record.secrets.hot_query_password),
            ("hot_splice_password", &record.secrets.hot_splice_password),
            ("cold_query_password", &record.secrets.cold_query_password),
            ("cold_password", &record.secrets.cold_password),
            ("gateway_token", &record.secrets.gateway_token),
            ("service_token", &record.secrets.service_token),
        ] {
            write_private(&secret_path(dir, name), value)?;
        }
        record.write(dir)?;
        Ok(record)
    }

    /// Writes the record, whole or not at all.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let path = Self::path(dir);
        let draft = path.with_extension("json.tmp");
        write_private(&draft, &serde_json::to_string_pretty(self)?)?;
        fs::rename(&draft, &path).context("replace stack.json")
    }

    /// Where a role listens.
    pub fn address(&self, role: Role) -> SocketAddr {
        SocketAddr::from((self.link.host(role), self.ports.of(role)))
    }

    /// Base URL of a role, for us.
    pub fn url(&self, role: Role) -> String {
        format!("http://{}", self.address(role))
    }

    /// What callers need.
    pub fn info(&self, dir: &Path) -> Info {
        let pid = |role: Role| self.processes.get(&role).filter(|p| p.alive()).map_or(0, |p| p.pid);
        let engine = |role: Role, password: &str| EngineInfo {
            url: self.url(role),
            user: ENGINE_USER.to_owned(),
            password: password.to_owned(),
            pid: pid(role),
        };
        let daemon = |role: Role, token: &str| DaemonInfo {
            url: self.url(role),
            token: token.to_owned(),
            pid: pid(role),
        };
        Info {
            service: daemon(Role::Service, &self.secrets.service_token),
            gateway: daemon(Role::Gateway, &self.secrets.gateway_token),
            hot: engine(Role::Hot, &self.secrets.hot_password),
            cold: engine(Role::Cold, &self.secrets.cold_password),
            dir: dir.to_owned(),
        }
    }
}

/// File of one secret.
pub(super) fn secret_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("secrets").join(name)
}

/// Writes a file only its owner can read.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("write {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    Ok(())
}
