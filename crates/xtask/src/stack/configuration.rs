//! The two configuration files of a stack.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use storage_config::wireguard::{Cidr, PeerEndpoint, pair, write_secret_file};

use super::{
    ENGINE_USER, Role,
    record::{Ports, Record, secret_path},
};

/// One managed table.
#[derive(Debug, Clone)]
pub struct ManagedTable {
    /// Logical name.
    pub name: String,
    /// `database.table` of the head.
    pub hot: String,
    /// `database.table` on the cold side.
    pub cold: String,
    /// Time column.
    pub time_column: String,
    /// ORDER BY of the cold table; the head's when `None`.
    pub cold_order_by: Option<String>,
}

impl ManagedTable {
    /// A table that has its logical name on both sides, in the databases given.
    pub fn named(name: &str, hot_database: &str, cold_database: &str, time_column: &str) -> Self {
        Self {
            name: name.to_owned(),
            hot: format!("{hot_database}.{name}"),
            cold: format!("{cold_database}.{name}"),
            time_column: time_column.to_owned(),
            cold_order_by: None,
        }
    }
}

/// The way between the two daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Link {
    /// WireGuard and TCP/IP inside the daemons: no rights needed.
    Userspace,
    /// Plain HTTP on loopback, as behind a VPN of the operator's own.
    Direct,
}

/// Settings that demo, benchmarks and tests vary; the rest is what `config/` ships.
#[derive(Debug, Clone)]
pub struct Knobs {
    /// The way between the daemons.
    pub link: Link,
    /// Port on loopback of an HTTP proxy in front of the gateway (with [`Link::Direct`]).
    pub proxy: Option<u16>,
    /// UDP port on loopback that the gateway's end dials instead of the service's: a bad line's.
    pub dials: Option<u16>,
    /// Managed tables.
    pub tables: Vec<ManagedTable>,
    /// `hot_storage.retention_days`.
    pub retention_days: u32,
    /// `migration.compression_level`.
    pub compression_level: String,
    /// `migration.bandwidth_limit`.
    pub bandwidth_limit: String,
    /// `migration.chunk_size`.
    pub chunk_size: String,
    /// `migration.batch_rows`.
    pub batch_rows: u64,
    /// `migration.grace`.
    pub grace: String,
    /// `migration.fence_drain`.
    pub fence_drain: String,
    /// `service.min_free_bytes` of the service.
    pub service_min_free: String,
    /// `limits.min_free_bytes` of the gateway.
    pub gateway_min_free: String,
    /// `service.max_body_bytes` of the service.
    pub max_body: String,
    /// `connection.timeout` in seconds.
    pub timeout_s: u32,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            link: Link::Userspace,
            proxy: None,
            dials: None,
            tables: crate::market::tables::managed(),
            retention_days: 7,
            compression_level: "auto".to_owned(),
            bandwidth_limit: "off".to_owned(),
            chunk_size: "50MB".to_owned(),
            batch_rows: 4_000_000,
            grace: "0s".to_owned(),
            fence_drain: "10s".to_owned(),
            service_min_free: "1GiB".to_owned(),
            gateway_min_free: "1GiB".to_owned(),
            max_body: "16MiB".to_owned(),
            timeout_s: 30,
        }
    }
}

pub(super) fn cloud_path(dir: &Path) -> PathBuf {
    dir.join("config/cloud_storage.yaml")
}

pub(super) fn nas_path(dir: &Path) -> PathBuf {
    dir.join("config/local_storage.yaml")
}

pub(super) fn write(dir: &Path, record: &Record, knobs: &Knobs) -> Result<()> {
    if knobs.link == Link::Userspace {
        keys(dir, record, knobs.dials)?;
    }
    for (path, text) in
        [(cloud_path(dir), cloud(dir, record, knobs)), (nas_path(dir), nas(dir, record, knobs))]
    {
        let draft = path.with_extension("tmp");
        fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("replace {}", path.display()))?;
    }
    Ok(())
}

/// Addresses inside the tunnel.
const INSIDE: [&str; 2] = ["10.0.1.1", "10.0.1.2"];

fn wg_path(dir: &Path, end: &str) -> PathBuf {
    dir.join("secrets").join(format!("{end}-wg0.conf"))
}

/// Both ends' keys, once; the cloud listens on the UDP port of its API's number.
fn keys(dir: &Path, record: &Record, dials: Option<u16>) -> Result<()> {
    if wg_path(dir, "nas").exists() {
        return Ok(());
    }
    let endpoint = PeerEndpoint { host: "127.0.0.1".to_owned(), port: record.ports.of(Role::Service) };
    let inside = |ip: &str| format!("{ip}/24").parse::<Cidr>();
    let mut ends = pair(endpoint, inside(INSIDE[0])?, inside(INSIDE[1])?)?;
    for endpoint in ends.nas.peers.iter_mut().filter_map(|peer| peer.endpoint.as_mut()) {
        endpoint.port = dials.unwrap_or(endpoint.port);
    }
    for (end, config) in [("cloud", &ends.cloud), ("nas", &ends.nas)] {
        let path = wg_path(dir, end);
        write_secret_file(&path, &config.expose_wg_quick())
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The `link` section of one end, and how it calls the other (on `port`).
fn link(dir: &Path, knobs: &Knobs, end: &str, other: &str, ports: &Ports, role: Role) -> (String, String) {
    match knobs.link {
        Link::Direct => (String::new(), ports.url(role)),
        Link::Userspace => {
            let section = format!("link: {{mode: userspace, config_file: {}}}\n", path(&wg_path(dir, end)));
            (section, format!("http://{other}:{}", ports.of(role)))
        }
    }
}

/// A double-quoted YAML scalar (JSON's quoting is YAML's).
fn quoted(text: impl AsRef<str>) -> String {
    serde_json::Value::from(text.as_ref()).to_string()
}

fn path(path: &Path) -> String {
    quoted(path.to_string_lossy())
}

fn cloud(dir: &Path, record: &Record, knobs: &Knobs) -> String {
    let ports = &record.ports;
    let (link, gateway) = link(dir, knobs, "cloud", INSIDE[1], ports, Role::Gateway);
    let way = match knobs.proxy {
        None => format!("method: \"vpn\", vpn_endpoint: \"{gateway}\""),
        Some(port) => format!("method: \"reverse_proxy\", proxy_url: \"http://127.0.0.1:{port}\""),
    };
    let mut text = format!(
        "service:
  name: \"data-storage-service\"
  deployment: \"cloud\"
  listen: \"127.0.0.1:{port}\"
  data_dir: {data}
  internal_url: \"{url}\"
  token_file: {token}
  max_body_bytes: {max_body}
  min_free_bytes: {min_free}
hot_storage:
  type: \"embedded\"
  nodes: [\"{hot}\"]
  retention_days: {retention}
  user: \"{ENGINE_USER}\"
  password_file: {password}
cold_storage_proxy:
  type: \"nas_proxy\"
  connection: {{{way}, timeout: {timeout}, retry_attempts: 3, token_file: {gateway_token}}}
  fallback: {{enabled: false}}
{link}migration:
  schedule: \"0 2 * * *\"
  bandwidth_limit: {bandwidth}
  compression_level: {effort}
  chunk_size: {chunk}
  verification_enabled: true
  batch_rows: {batch_rows}
  grace: {grace}
  fence_drain: {drain}
tables:
",
        port = ports.of(Role::Service),
        data = path(&dir.join("service")),
        url = ports.url(Role::Service),
        token = path(&secret_path(dir, "service_token")),
        max_body = quoted(&knobs.max_body),
        min_free = quoted(&knobs.service_min_free),
        hot = ports.url(Role::Hot),
        retention = knobs.retention_days,
        password = path(&secret_path(dir, "hot_password")),
        timeout = knobs.timeout_s,
        gateway_token = path(&secret_path(dir, "gateway_token")),
        bandwidth = quoted(&knobs.bandwidth_limit),
        effort = quoted(&knobs.compression_level),
        chunk = quoted(&knobs.chunk_size),
        batch_rows = knobs.batch_rows,
        grace = quoted(&knobs.grace),
        drain = quoted(&knobs.fence_drain),
    );
    for table in &knobs.tables {
        let order = table
            .cold_order_by
            .as_ref()
            .map(|o| format!(", cold_order_by: {}", quoted(o)))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "  - {{name: {}, hot: {}, cold: {}, time_column: {}{order}}}",
            quoted(&table.name),
            quoted(&table.hot),
            quoted(&table.cold),
            quoted(&table.time_column)
        );
    }
    text
}

fn nas(dir: &Path, record: &Record, knobs: &Knobs) -> String {
    let ports = &record.ports;
    let (link, cloud) = link(dir, knobs, "nas", INSIDE[0], ports, Role::Service);
    format!(
        "service:
  name: \"local-storage-gateway\"
  deployment: \"nas\"
  listen: \"127.0.0.1:{port}\"
  data_dir: {data}
  token_file: {token}
storage:
  type: \"embedded\"
  data_path: {cold_data}
  compression: \"zstd\"
  url: \"{cold}\"
  user: \"{ENGINE_USER}\"
  password_file: {password}
connection:
  cloud_endpoint: \"{cloud}\"
  heartbeat_interval: 30
  offline_mode: {{enabled: true, max_offline_duration: \"48h\", queue_incoming_data: true}}
  token_file: {service_token}
{link}limits:
  min_free_bytes: {min_free}
",
        port = ports.of(Role::Gateway),
        data = path(&dir.join("gateway")),
        token = path(&secret_path(dir, "gateway_token")),
        cold_data = path(&dir.join("cold")),
        cold = ports.url(Role::Cold),
        password = path(&secret_path(dir, "cold_password")),
        service_token = path(&secret_path(dir, "service_token")),
        min_free = quoted(&knobs.gateway_min_free),
    )
}
