//! From the raw tree to [`NasConfig`].

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Archive, ColdKind, ColdStorageConfig, Compression, ConfigErrors, ConnectionConfig, Deployment,
    LimitsConfig, LinkMethod, NasConfig, NasServiceConfig, OfflineMode, endpoint,
    node::Node,
    read::{self, Document, ServiceDefaults},
    read_link,
    section::Section,
    values,
};

const DAY_SECONDS: u64 = 86_400;
/// More than any disk: sizes beyond it are typing errors.
const PETABYTE: u64 = 1 << 50;

pub(crate) fn load(path: &Path, deployment_type: Option<&str>) -> Result<NasConfig, ConfigErrors> {
    read::document(path, deployment_type, |document, root| {
        let mut notes = Vec::new();
        let root = document.root(root);
        let service = service(document, &root);
        let storage = storage(document, &root);
        let connection = connection(document, &root, &mut notes);
        let method = connection.as_ref().map(|connection| connection.method);
        let link = read_link::link(document, &root, method, Some(wireguard::NAS_KEEPALIVE_S), &mut notes);
        let limits = limits(&root);
        if let Some(service) = service.as_ref().filter(|service| service.token.is_none()) {
            notes.push(format!("no service.token_file: anyone on this machine may call {}", service.listen));
        }
        root.finish();
        Some(NasConfig { service: service?, storage: storage?, connection: connection?, link, limits, notes })
    })
}

fn service(document: &Document<'_>, root: &Section<'_>) -> Option<NasServiceConfig> {
    let section = root.section("service");
    let common = document.service(
        &section,
        &ServiceDefaults {
            deployment: Deployment::Nas,
            port: 9000,
            data_dir: "/app/data/gateway",
            token_file: "secrets/gateway.token",
        },
    );
    section.finish();
    let common = common?;
    Some(NasServiceConfig {
        name: common.name,
        deployment: Deployment::Nas,
        listen: common.listen,
        data_dir: common.data_dir,
        token_file: common.token.file,
        token: common.token.secret,
        max_body_bytes: common.max_body_bytes,
        drain_seconds: common.drain_seconds,
        log_format: common.log_format,
    })
}

fn storage(document: &Document<'_>, root: &Section<'_>) -> Option<ColdStorageConfig> {
    let section = root.section("storage");
    let kinds = &[("clickhouse_single", ColdKind::ClickhouseSingle), ("embedded", ColdKind::Embedded)];
    let codecs =
        &[("lz4", Compression::Lz4), ("zstd", Compression::Zstd), ("zstd_ultra", Compression::ZstdUltra)];
    let kind = section.must("type", values::word(kinds));
    let http_port = section.or("http_port", 8123, values::int(1..=u16::MAX));
    let url = match section.node("url") {
        None => endpoint::clickhouse("127.0.0.1", http_port).ok(),
        Some(_) => section.opt("url", |node| endpoint::clickhouse(&values::text(node)?, http_port)),
    };
    let user = section.or("user", read::default_user(kind == Some(ColdKind::Embedded)), values::text);
    let password = document.password(&section);
    let query_account = document.query_account(&section);
    let data_path =
        section.or("data_path", PathBuf::from("/app/data/clickhouse"), values::path(&document.base));
    let compression = section.or("compression", Compression::ZstdUltra, values::word(codecs));
    let decode_threads = section.or("decompression_threads", 1, values::int(1..=2));
    let mut databases = Vec::new();
    for (at, node) in section.list("databases") {
        match values::database(node) {
            Ok(database) => databases.push(database),
            Err(message) => section.problem_at(at, message),
        }
    }
    let archive = section.or("archive", Archive::Delayed { days: 7 }, archive);
    section.finish();
    Some(ColdStorageConfig {
        kind: kind?,
        url: url?,
        http_port,
        user,
        password,
        query_account,
        data_path,
        compression,
        decode_threads,
        databases,
        archive,
    })
}

/// `append_only`, `open`, or `delayed` and a number of days.
fn archive(node: &Node) -> Result<Archive, String> {
    let text = values::text(node)?;
    match text.as_str() {
        "append_only" => return Ok(Archive::AppendOnly),
        "open" => return Ok(Archive::Open),
        _ => {}
    }
    let days = text.strip_prefix("delayed ").and_then(|rest| rest.trim().strip_suffix('d'));
    match days.and_then(|days| days.parse().ok()).filter(|days| (1..=3650).contains(days)) {
        Some(days) => Ok(Archive::Delayed { days }),
        None => {
            Err(format!("{text:?} is not append_only, open, or \"delayed\" with 1 to 3650 days (delayed 7d)"))
        }
    }
}

fn connection(
    document: &Document<'_>,
    root: &Section<'_>,
    notes: &mut Vec<String>,
) -> Option<ConnectionConfig> {
    let section = root.section("connection");
    let method = section.or("method", LinkMethod::Vpn, values::word(read_link::METHODS));
    let cloud_url = read_link::url(&section, Some(method), "cloud_endpoint");
    let ca_file = read_link::ca_file(document, &section);
    let token = document.token(&section, "secrets/service.token");
    let heartbeat_interval =
        section.or("heartbeat_interval", Duration::from_secs(30), values::duration(1..=3600));
    let timeout = section.or("timeout", Duration::from_secs(30), values::duration(1..=600));
    let offline = section.section("offline_mode");
    let offline_mode = OfflineMode {
        enabled: offline.or("enabled", true, values::boolean),
        max_offline_duration: offline.or("max_offline_duration", Duration::from_secs(2 * DAY_SECONDS), {
            values::duration(60..=365 * DAY_SECONDS)
        }),
        queue_incoming_data: offline.or("queue_incoming_data", true, values::boolean),
    };
    offline.finish();
    section.finish();
    if token.file.is_none() {
        notes.push("no connection.token_file: storage-service is called without a token".into());
    }
    Some(ConnectionConfig {
        method,
        cloud_url: cloud_url?,
        ca_file,
        token_file: token.file,
        token: token.secret,
        heartbeat_interval,
        timeout,
        offline_mode,
    })
}

fn limits(root: &Section<'_>) -> LimitsConfig {
    let section = root.section("limits");
    let limits = LimitsConfig {
        min_free_bytes: section.or("min_free_bytes", 5 << 30, values::bytes(0..=PETABYTE)),
        max_batch_raw_bytes: section.or("max_batch_raw_bytes", 16 << 30, values::bytes(1 << 20..=PETABYTE)),
        max_chunk_bytes: section.or("max_chunk_bytes", 128 << 20, values::bytes(1024..=1 << 30)),
        max_spool_bytes: section.or("max_spool_bytes", 32 << 30, values::bytes(1 << 20..=PETABYTE)),
        max_query_seconds: section.or("max_query_seconds", 300, values::int(1..=86_400)),
        max_query_memory_bytes: section.or(
            "max_query_memory_bytes",
            2 << 30,
            values::bytes(16 << 20..=1 << 40),
        ),
        max_concurrent_queries: section.or("max_concurrent_queries", 8, values::int(1..=1000)),
    };
    if limits.max_spool_bytes < limits.max_chunk_bytes {
        section.problem("max_spool_bytes", "does not hold one chunk (raise it, or lower `max_chunk_bytes`)");
    }
    section.finish();
    limits
}
