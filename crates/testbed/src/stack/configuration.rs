//! The two configuration files of a stack.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clickhouse_sql::accounts::query_grants;
use secret_file::write as write_secret_file;
use wireguard::{Cidr, PeerEndpoint, pair};

use super::{
    ENGINE_USER, Link, ManagedTable, Role,
    record::{Record, secret_path},
};

/// Somebody else's proxies between the daemons.
#[derive(Debug, Clone)]
pub struct Proxies {
    /// Base URL at which the service finds the gateway.
    pub to_gateway: String,
    /// Base URL at which the gateway finds the service.
    pub to_service: String,
    /// `connection.ca_file` of both.
    pub ca_file: Option<PathBuf>,
}

/// What the configurations of a stack say where demo, benchmarks and tests want it their own way; the rest
/// is what `config/` ships. By default no table is managed.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// What carries the connections between the daemons.
    pub link: Link,
    /// The proxies of [`Link::ReverseProxy`], when they are not to be nginx of the stack's own.
    pub proxies: Option<Proxies>,
    /// UDP port on loopback that the gateway's end dials instead of the service's: a bad line's.
    pub dials: Option<u16>,
    /// Managed tables.
    pub tables: Vec<ManagedTable>,
    /// The hot engine has a splice account, which may call anywhere by `url()`, and its query account nowhere,
    /// as on ClickHouse 25.8.
    pub splice_account: bool,
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
    /// `service.min_free_bytes` of the service.
    pub service_min_free: String,
    /// `limits.min_free_bytes` of the gateway.
    pub gateway_min_free: String,
    /// `service.max_body_bytes` of the service.
    pub max_body: String,
    /// `connection.heartbeat_interval` of the gateway in seconds.
    pub heartbeat_s: u32,
    /// `connection.timeout` in seconds.
    pub timeout_s: u32,
    /// Seconds that statements may go on when an engine is asked to end (`--drain-seconds`); its own default.
    pub drain_s: Option<u32>,
    /// What starts each of the four processes, instead of nobody: a program that becomes what the rest of its
    /// command line names.
    pub started_by: Vec<String>,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self {
            link: Link::Userspace,
            proxies: None,
            dials: None,
            tables: Vec::new(),
            splice_account: false,
            retention_days: 7,
            compression_level: "auto".to_owned(),
            bandwidth_limit: "off".to_owned(),
            chunk_size: "50MB".to_owned(),
            batch_rows: 4_000_000,
            grace: "0s".to_owned(),
            service_min_free: "1GiB".to_owned(),
            gateway_min_free: "1GiB".to_owned(),
            max_body: "16MiB".to_owned(),
            heartbeat_s: 30,
            timeout_s: 30,
            drain_s: None,
            started_by: Vec::new(),
        }
    }
}

pub(super) fn cloud_path(dir: &Path) -> PathBuf {
    dir.join("config/cloud_storage.yaml")
}

pub(super) fn nas_path(dir: &Path) -> PathBuf {
    dir.join("config/local_storage.yaml")
}

pub(super) fn hot_accounts_path(dir: &Path) -> PathBuf {
    dir.join("config/hot_accounts.yaml")
}

pub(super) fn write(dir: &Path, record: &Record, config: &StackConfig) -> Result<()> {
    for (path, text) in [
        (cloud_path(dir), cloud(dir, record, config)),
        (nas_path(dir), nas(dir, record, config)),
        (hot_accounts_path(dir), hot_accounts(dir)),
    ] {
        let draft = path.with_extension("tmp");
        fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("replace {}", path.display()))?;
    }
    Ok(())
}

fn wg_path(dir: &Path, end: &str) -> PathBuf {
    dir.join("secrets").join(format!("{end}-wg0.conf"))
}

/// Both ends' keys, new for every start; the cloud listens on the UDP port of its API's number.
pub(super) fn keys(dir: &Path, record: &Record, config: &StackConfig) -> Result<()> {
    let dials = match config.link {
        Link::Userspace | Link::Tun => config.dials,
        Link::Direct | Link::ReverseProxy => return Ok(()),
    };
    let link = &record.link;
    let endpoint = PeerEndpoint { host: link.dialled().to_string(), port: record.ports.of(Role::Service) };
    let [cloud, nas] = link.inside().map(|ip| Cidr { address: ip.into(), prefix: 24 });
    let mut ends = pair(endpoint, cloud, nas)?;
    for endpoint in ends.nas.peers.iter_mut().filter_map(|peer| peer.endpoint.as_mut()) {
        endpoint.port = dials.unwrap_or(endpoint.port);
    }
    for (end, config) in [("cloud", &ends.cloud), ("nas", &ends.nas)] {
        let path = wg_path(dir, end);
        // A key file is never written over.
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        write_secret_file(&path, &config.expose_wg_quick())
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// One end, as its own configuration names it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Cloud,
    Nas,
}

/// How an end calls the other (entries of its `connection`), and its `link` section.
fn connection_of(dir: &Path, record: &Record, config: &StackConfig, end: End) -> (Vec<String>, String) {
    let (file, other, key) = match end {
        End::Cloud => ("cloud", Role::Gateway, "vpn_endpoint"),
        End::Nas => ("nas", Role::Service, "cloud_endpoint"),
    };
    let vpn = |url: &str| vec!["method: vpn".to_owned(), format!("{key}: {}", quoted(url))];
    let inside = || {
        let [cloud, nas] = record.link.inside();
        let there = if end == End::Cloud { nas } else { cloud };
        vpn(&format!("http://{there}:{}", record.ports.of(other)))
    };
    let tunnel = |mode: &str| format!("link: {{mode: {mode}, config_file: {}}}\n", path(&wg_path(dir, file)));
    match config.link {
        Link::Direct => (vpn(&record.url(other)), String::new()),
        Link::Userspace => (inside(), tunnel("userspace")),
        Link::Tun => (inside(), tunnel("tun")),
        Link::ReverseProxy => (proxied(record, config, end), String::new()),
    }
}

fn proxied(record: &Record, config: &StackConfig, end: End) -> Vec<String> {
    let at = usize::from(end == End::Nas);
    let (url, authority) = match &config.proxies {
        Some(proxies) => ([&proxies.to_gateway, &proxies.to_service][at].clone(), proxies.ca_file.as_deref()),
        None => {
            let port = record.link.proxies.map_or(0, |ports| ports[at]);
            (format!("http://127.0.0.1:{port}"), None)
        }
    };
    let mut entries = vec!["method: reverse_proxy".to_owned(), format!("proxy_url: {}", quoted(url))];
    entries.extend(authority.map(|file| format!("ca_file: {}", path(file))));
    entries
}

/// A double-quoted YAML scalar (JSON's quoting is YAML's).
fn quoted(text: impl AsRef<str>) -> String {
    serde_json::Value::from(text.as_ref()).to_string()
}

fn path(path: &Path) -> String {
    quoted(path.to_string_lossy())
}

/// The splice account of the hot engine.
fn hot_accounts(dir: &Path) -> String {
    let mut grants = query_grants(&[], None);
    grants.push("GRANT READ ON URL".to_owned());
    let grants: Vec<String> = grants.iter().map(quoted).collect();
    format!(
        "accounts:\n- name: splice\n  password_file: {}\n  grants: [{}]\n",
        path(&secret_path(dir, "hot_splice_password")),
        grants.join(", ")
    )
}

fn cloud(dir: &Path, record: &Record, config: &StackConfig) -> String {
    let ports = &record.ports;
    let (connection, link) = connection_of(dir, record, config, End::Cloud);
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
  query_password_file: {query_password}
{splice}cold_storage_proxy:
  type: \"nas_proxy\"
  connection: {{{connection}, timeout: {timeout}, retry_attempts: 3, token_file: {gateway_token}}}
  fallback: {{enabled: false}}
{link}migration:
  schedule: \"off\"
  bandwidth_limit: {bandwidth}
  compression_level: {effort}
  chunk_size: {chunk}
  verification_enabled: true
  batch_rows: {batch_rows}
  grace: {grace}
tables:
",
        port = ports.of(Role::Service),
        connection = connection.join(", "),
        data = path(&dir.join("service")),
        url = record.url(Role::Service),
        token = path(&secret_path(dir, "service_token")),
        max_body = quoted(&config.max_body),
        min_free = quoted(&config.service_min_free),
        hot = record.url(Role::Hot),
        retention = config.retention_days,
        password = path(&secret_path(dir, "hot_password")),
        query_password = path(&secret_path(dir, "hot_query_password")),
        splice = splice_account(dir, config),
        timeout = config.timeout_s,
        gateway_token = path(&secret_path(dir, "gateway_token")),
        bandwidth = quoted(&config.bandwidth_limit),
        effort = quoted(&config.compression_level),
        chunk = quoted(&config.chunk_size),
        batch_rows = config.batch_rows,
        grace = quoted(&config.grace),
    );
    for table in &config.tables {
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

fn splice_account(dir: &Path, config: &StackConfig) -> String {
    let file = path(&secret_path(dir, "hot_splice_password"));
    if config.splice_account { format!("  splice_password_file: {file}\n") } else { String::new() }
}

fn nas(dir: &Path, record: &Record, config: &StackConfig) -> String {
    let (connection, link) = connection_of(dir, record, config, End::Nas);
    let port = record.ports.of(Role::Gateway);
    // Where the kernel has the tunnel's address, the gateway listens on every address, as it ships.
    let listen = match config.link {
        Link::Tun => format!("0.0.0.0:{port}"),
        _ => format!("127.0.0.1:{port}"),
    };
    format!(
        "service:
  name: \"local-storage-gateway\"
  deployment: \"nas\"
  listen: \"{listen}\"
  data_dir: {data}
  token_file: {token}
storage:
  type: \"embedded\"
  data_path: {cold_data}
  compression: \"zstd\"
  url: \"{cold}\"
  user: \"{ENGINE_USER}\"
  password_file: {password}
  query_password_file: {query_password}
connection:
  {connection}
  heartbeat_interval: {heartbeat}
  offline_mode: {{enabled: true, max_offline_duration: \"48h\", queue_incoming_data: true}}
  token_file: {service_token}
{link}limits:
  min_free_bytes: {min_free}
",
        connection = connection.join("\n  "),
        heartbeat = config.heartbeat_s,
        data = path(&dir.join("gateway")),
        token = path(&secret_path(dir, "gateway_token")),
        cold_data = path(&dir.join("cold")),
        cold = record.url(Role::Cold),
        password = path(&secret_path(dir, "cold_password")),
        query_password = path(&secret_path(dir, "cold_query_password")),
        service_token = path(&secret_path(dir, "service_token")),
        min_free = quoted(&config.gateway_min_free),
    )
}
