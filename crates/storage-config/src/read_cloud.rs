//! From the raw tree to [`CloudConfig`].

use std::{path::Path, time::Duration};

use url::Url;

use crate::{
    Account, CloudConfig, ColdProxyConfig, ConfigErrors, Deployment, Effort, FallbackConfig, HotConfig,
    HotKind, MigrationConfig, ServiceConfig, TableConfig, Timetable, endpoint,
    read::{self, Document, ServiceDefaults},
    read_link,
    section::Section,
    timetable, values,
};

const DAY_SECONDS: u64 = 86_400;
/// A gateway refuses larger chunks by default.
const MAX_CHUNK_BYTES: u64 = 128 << 20;

pub(crate) fn load(path: &Path, deployment_type: Option<&str>) -> Result<CloudConfig, ConfigErrors> {
    read::document(path, deployment_type, |document, root| {
        let mut notes = Vec::new();
        let root = document.root(root);
        let service = service(document, &root);
        let hot = hot(document, &root);
        let cold = cold(document, &root, &mut notes);
        let method = cold.as_ref().map(|cold| cold.method);
        let link = read_link::link(document, &root, method, None, &mut notes);
        let migration = migration(&root);
        let tables = tables(&root, hot.as_ref().map_or("default", |hot| &hot.database));
        if let Some(service) = &service {
            note_service(service, tables.len(), &mut notes);
            let splices = hot.as_ref().is_some_and(|hot| hot.splice_account.is_some());
            if splices && service.internal_url.is_none() {
                notes.push("hot_storage.splice_user is not used: there is no service.internal_url".into());
            }
            if service.spool_max_bytes < migration.chunk_bytes {
                root.section("service").problem(
                    "spool_max_bytes",
                    format!("{} bytes do not hold one chunk (migration.chunk_size)", service.spool_max_bytes),
                );
            }
        }
        root.finish();
        Some(CloudConfig { service: service?, hot: hot?, cold: cold?, link, migration, tables, notes })
    })
}

fn note_service(service: &ServiceConfig, tables: usize, notes: &mut Vec<String>) {
    if service.token.is_none() {
        notes.push(format!("no service.token_file: anyone on this machine may call {}", service.listen));
    }
    if tables == 0 {
        notes.push("no tables are managed: nothing is moved, every query goes to the hot ClickHouse".into());
    }
}

fn service(document: &Document<'_>, root: &Section<'_>) -> Option<ServiceConfig> {
    let section = root.section("service");
    let common = document.service(
        &section,
        &ServiceDefaults {
            deployment: Deployment::Cloud,
            port: 8002,
            data_dir: "/app/data",
            token_file: "secrets/service.token",
        },
    );
    let internal_url = section.opt("internal_url", |node| endpoint::daemon(&values::text(node)?));
    let min_free_bytes = section.or("min_free_bytes", 2 << 30, values::bytes(0..=1 << 50));
    let spool_max_bytes = section.or("spool_max_bytes", 8 << 30, values::bytes(1 << 20..=1 << 50));
    section.finish();
    let common = common?;
    Some(ServiceConfig {
        name: common.name,
        deployment: Deployment::Cloud,
        listen: common.listen,
        data_dir: common.data_dir,
        internal_url,
        token_file: common.token.file,
        token: common.token.secret,
        max_body_bytes: common.max_body_bytes,
        min_free_bytes,
        spool_max_bytes,
        drain_seconds: common.drain_seconds,
        log_format: common.log_format,
    })
}

fn hot(document: &Document<'_>, root: &Section<'_>) -> Option<HotConfig> {
    let section = root.section("hot_storage");
    let kinds = &[
        ("clickhouse_cluster", HotKind::ClickhouseCluster),
        ("clickhouse_single", HotKind::ClickhouseSingle),
        ("embedded", HotKind::Embedded),
    ];
    let kind = section.must("type", values::word(kinds));
    let http_port = section.or("http_port", 8123, values::int(1..=u16::MAX));
    let nodes = nodes(&section, kind, http_port);
    let user = section.or("user", read::default_user(kind == Some(HotKind::Embedded)), values::text);
    let password = document.password(&section);
    let query_account = document.query_account(&section);
    let splice_account = document.splice_account(&section);
    if let Some(splices) = &splice_account {
        check_splice_account(&section, splices, &user, query_account.as_ref());
    }
    let database = section.or("database", "default".to_owned(), values::database);
    let retention_days = section.must("retention_days", values::int(1..=36_500));
    section.finish();
    Some(HotConfig {
        kind: kind?,
        nodes,
        http_port,
        user,
        password,
        query_account,
        splice_account,
        database,
        retention_days: retention_days?,
    })
}

/// The splice account may call by `url()`: neither callers' texts nor moves may run as it.
fn check_splice_account(section: &Section<'_>, splices: &Account, owner: &str, queries: Option<&Account>) {
    match queries {
        None => section.problem(
            "splice_user",
            "needs an account that judges callers' queries before (give query_user and query_password_file)",
        ),
        Some(queries) if queries.user == splices.user => {
            section
                .problem("splice_user", format!("{:?} is also query_user (make two accounts)", splices.user));
        }
        Some(_) if owner == splices.user => {
            section.problem("splice_user", format!("{owner:?} is also user (make two accounts)"));
        }
        Some(_) => {}
    }
}

fn nodes(section: &Section<'_>, kind: Option<HotKind>, http_port: u16) -> Vec<Url> {
    let given = section.list("nodes");
    let count = given.len();
    let mut nodes: Vec<Url> = Vec::new();
    for (n, (at, node)) in given.into_iter().enumerate() {
        match values::text(node).and_then(|text| endpoint::clickhouse(&text, http_port)) {
            Ok(url) if nodes.contains(&url) => {
                section.problem_at(at, format!("node {n} is the same as an earlier one (keep one)"));
            }
            Ok(url) => nodes.push(url),
            Err(message) => section.problem_at(at, message),
        }
    }
    match kind {
        Some(HotKind::Embedded) if count == 0 => {
            nodes.extend(endpoint::clickhouse("127.0.0.1", http_port));
        }
        Some(_) if count == 0 => section.problem("nodes", "is missing or empty (name at least one node)"),
        Some(HotKind::ClickhouseSingle | HotKind::Embedded) if count > 1 => {
            section.problem("nodes", format!("has {count} nodes (several need type \"clickhouse_cluster\")"));
        }
        _ => {}
    }
    nodes
}

fn cold(document: &Document<'_>, root: &Section<'_>, notes: &mut Vec<String>) -> Option<ColdProxyConfig> {
    let section = root.section("cold_storage_proxy");
    section.must("type", values::word(&[("nas_proxy", ())]));
    let connection = section.section("connection");
    let method = connection.must("method", values::word(read_link::METHODS));
    let gateway_url = read_link::url(&connection, method, "vpn_endpoint");
    let ca_file = read_link::ca_file(document, &connection);
    let token = document.token(&connection, "secrets/gateway.token");
    let timeout = connection.or("timeout", Duration::from_secs(30), values::duration(1..=600));
    let retry_attempts = connection.or("retry_attempts", 3, values::int(0..=20));
    connection.finish();
    let fallback = fallback(&section, notes);
    section.finish();
    if token.file.is_none() {
        notes.push(
            "no cold_storage_proxy.connection.token_file: the gateway is called without a token".into(),
        );
    }
    Some(ColdProxyConfig {
        method: method?,
        gateway_url: gateway_url?,
        ca_file,
        token_file: token.file,
        token: token.secret,
        timeout,
        retry_attempts,
        fallback,
    })
}

fn fallback(cold: &Section<'_>, notes: &mut Vec<String>) -> FallbackConfig {
    let section = cold.section("fallback");
    let fallback = FallbackConfig {
        enabled: section.or("enabled", false, values::boolean),
        cache_duration: section.or("cache_duration", Duration::from_secs(DAY_SECONDS), {
            values::duration(0..=365 * DAY_SECONDS)
        }),
        backup_storage: section.opt("backup_storage", values::text),
    };
    section.finish();
    if fallback.enabled {
        notes.push(
            "cold_storage_proxy.fallback is accepted but not acted on: cold answers come from the NAS only"
                .into(),
        );
    }
    fallback
}

fn migration(root: &Section<'_>) -> MigrationConfig {
    let section = root.section("migration");
    let efforts = &[("fast", Effort::Fast), ("auto", Effort::Auto), ("ultra", Effort::Ultra)];
    let migration = MigrationConfig {
        schedule: section.or("schedule", None, values::schedule),
        bandwidth_limit: section.or("bandwidth_limit", Timetable::default(), timetable::read),
        effort: section.or("compression_level", Effort::Ultra, values::word(efforts)),
        encode_threads: section.or("compression_threads", 1, values::int(1..=2)),
        chunk_bytes: section.or("chunk_size", 50_000_000, values::bytes(1024..=MAX_CHUNK_BYTES)),
        verification_enabled: section.or("verification_enabled", true, |node| match values::boolean(node)? {
            true => Ok(true),
            false => {
                Err("cannot be false: nothing is dropped without proof (write true, or leave it out)".into())
            }
        }),
        batch_rows: section.or("batch_rows", 4_000_000, values::int(1..=100_000_000)),
        grace: section.or("grace", Duration::from_secs(600), values::duration(0..=30 * DAY_SECONDS)),
        connections: section.or("connections", 2, values::int(1..=16)),
        longest_outage_days: section.or("longest_outage_days", 2, values::int(0..=3650)),
    };
    // Of earlier releases; nothing is drained any more.
    let _: Duration = section.or("fence_drain", Duration::ZERO, values::duration(0..=3600));
    section.finish();
    migration
}

fn tables(root: &Section<'_>, hot_database: &str) -> Vec<TableConfig> {
    let mut tables: Vec<TableConfig> = Vec::new();
    for (at, node) in root.list("tables") {
        let section = root.child(at, node);
        let table = table(&section, hot_database);
        let Some(table) = table else {
            section.finish();
            continue;
        };
        for earlier in &tables {
            if earlier.logical == table.logical {
                section.problem("name", format!("{:?} names two tables (names are unique)", table.logical));
            }
            if (&earlier.hot_database, &earlier.hot_table) == (&table.hot_database, &table.hot_table) {
                section.problem("hot", format!("is also the hot table of {:?} (one each)", earlier.logical));
            }
            if (&earlier.cold_database, &earlier.cold_table) == (&table.cold_database, &table.cold_table) {
                section
                    .problem("cold", format!("is also the cold table of {:?} (one each)", earlier.logical));
            }
        }
        section.finish();
        tables.push(table);
    }
    tables
}

fn table(section: &Section<'_>, hot_database: &str) -> Option<TableConfig> {
    let logical = section.must("name", values::logical_name);
    let hot = section.must("hot", values::table(hot_database));
    let default = hot.clone().unwrap_or_default();
    let (cold_database, cold_table) = section.or("cold", default.clone(), values::table(&default.0));
    let time_column = section.must("time_column", |node| values::name(&values::text(node)?));
    let cold_order_by = section.opt("cold_order_by", values::order_by);
    let ttl_acknowledged = section.or("ttl_acknowledged", false, values::boolean);
    let (hot_database, hot_table) = hot?;
    Some(TableConfig {
        logical: logical?,
        hot_database,
        hot_table,
        cold_database,
        cold_table,
        time_column: time_column?,
        cold_order_by,
        ttl_acknowledged,
    })
}
