//! What must be accepted as it stands, and what it means.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use storage_config::{
    Archive, Compression, Effort, HotKind, config_path, load_cloud, load_cloud_as, load_nas, load_nas_as,
};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn write(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn the_cloud_file_means_what_it_says() {
    let config = load_cloud_as(&here("tests/good/cloud_storage.yaml"), Some("cloud")).unwrap();
    assert_eq!(config.service.listen.to_string(), "127.0.0.1:8002", "no token: loopback only");
    assert_eq!(config.service.data_dir, Path::new("/app/data"));
    assert_eq!(config.hot.kind, HotKind::ClickhouseCluster);
    let nodes: Vec<&str> = config.hot.nodes.iter().map(url::Url::as_str).collect();
    assert_eq!(nodes, [1, 2, 3].map(|n| format!("http://clickhouse-hot-{n}.cloud.internal:8123/")));
    assert_eq!(config.hot.retention_days, 7);
    assert_eq!(config.cold.gateway_url.as_str(), "http://10.0.1.2:9000/", "the gateway, not ClickHouse");
    assert_eq!(config.cold.timeout, Duration::from_secs(30));
    assert_eq!(config.cold.fallback.cache_duration, Duration::from_secs(86_400));
    assert_eq!(config.migration.schedule.as_deref(), Some("0 2 * * *"));
    assert_eq!(config.migration.bandwidth_limit.limit_at(0, 0).up, Some(10_000_000));
    assert_eq!(config.migration.effort, Effort::Ultra);
    assert_eq!(config.migration.chunk_bytes, 50_000_000);
    assert!(config.migration.verification_enabled && config.tables.is_empty());
    assert!(config.notes.iter().any(|n| n.contains("no tables")), "{:?}", config.notes);
}

#[test]
fn the_nas_file_means_what_it_says() {
    let config = load_nas_as(&here("tests/good/local_storage.yaml"), Some("nas")).unwrap();
    assert_eq!(config.service.listen.to_string(), "127.0.0.1:9000");
    assert_eq!(config.storage.url.as_str(), "http://127.0.0.1:8123/");
    assert_eq!(config.storage.compression, Compression::ZstdUltra);
    assert_eq!(config.storage.archive, Archive::Delayed { days: 7 });
    assert_eq!(config.connection.cloud_url.as_str(), "http://10.0.1.1:8002/");
    assert_eq!(config.connection.heartbeat_interval, Duration::from_secs(30));
    assert_eq!(config.connection.offline_mode.max_offline_duration, Duration::from_secs(172_800));
    assert_eq!(config.limits.min_free_bytes, 5 << 30);
}

#[test]
fn the_shipped_files_are_accepted_and_name_the_eight_tables() {
    let config = load_cloud(&here("../../config/cloud_storage.yaml")).unwrap();
    let names: Vec<&str> = config.tables.iter().map(|t| t.logical.as_str()).collect();
    assert_eq!(
        names,
        [
            "trades",
            "orderbooks",
            "funding_rates",
            "open_interests",
            "liquidations",
            "lsr_top_positions",
            "lsr_all_accounts",
            "volatility_indices"
        ]
    );
    for table in &config.tables {
        assert_eq!(
            (table.hot_database.as_str(), table.cold_database.as_str()),
            ("marketprism_hot", "marketprism_cold")
        );
        assert_eq!(table.time_column, "timestamp");
    }
    load_nas(&here("../../config/local_storage.yaml")).unwrap();
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef\n";

#[test]
fn a_token_beside_the_file_opens_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(here("tests/good/cloud_storage.yaml")).unwrap();
    let file = write(dir.path(), "cloud_storage.yaml", &text, 0o644);
    write(dir.path(), "secrets/service.token", TOKEN, 0o600);
    let config = load_cloud_as(&file, None).unwrap();
    assert_eq!(config.service.listen.to_string(), "0.0.0.0:8002");
    assert_eq!(config.service.token.unwrap().expose(), TOKEN.trim());
    assert!(config.cold.token.is_none());
}

#[test]
fn a_secret_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(here("tests/good/local_storage.yaml")).unwrap();
    let file = write(dir.path(), "local_storage.yaml", &text, 0o644);
    for (mode, content, wrong) in [
        (0o640, TOKEN, "is readable by others, mode 0640 (chmod 0600 it)"),
        (0o604, TOKEN, "is readable by others, mode 0604 (chmod 0600 it)"),
        (0o600, "short\n", "holds 5 characters (at least 16 are needed)"),
        (0o600, " \n", "is empty (write the secret into it)"),
        (
            0o600,
            "0123456789abcdef\n0123456789abcdef\n",
            "holds more than one line (write only the secret into it)",
        ),
    ] {
        let secret = write(dir.path(), "secrets/gateway.token", content, mode);
        let errors = load_nas_as(&file, None).unwrap_err();
        assert_eq!(errors.errors.len(), 1, "{errors}");
        assert_eq!(errors.errors[0].path, "service.token_file");
        assert_eq!(errors.errors[0].message, format!("{} {wrong}", secret.display()));
        assert!(!errors.to_string().contains("0123456789"), "the secret is never shown");
        fs::remove_file(secret).unwrap();
    }
}

#[test]
fn paths_start_at_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(here("tests/good/cloud_storage.yaml")).unwrap();
    let text =
        text.replace("{name:", "{data_dir: \"state\", token_file: \"t\", listen: \"0.0.0.0:0\", name:");
    let file = write(dir.path(), "c.yaml", &text, 0o644);
    write(dir.path(), "t", TOKEN, 0o400);
    let config = load_cloud_as(&file, None).unwrap();
    assert_eq!(config.service.data_dir, dir.path().join("state"));
    assert_eq!(config.service.token_file, Some(dir.path().join("t")));
}

#[test]
fn tables_have_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = fs::read_to_string(here("tests/good/cloud_storage.yaml")).unwrap();
    text.push_str("tables:\n  - {name: t, hot: t, time_column: ts}\n  - {name: u, hot: d.u, cold: e, time_column: ts}\n");
    let config = load_cloud_as(&write(dir.path(), "c.yaml", &text, 0o644), None).unwrap();
    let names = |n: usize| {
        let t = &config.tables[n];
        [&t.hot_database, &t.hot_table, &t.cold_database, &t.cold_table].map(String::as_str)
    };
    assert_eq!(names(0), ["default", "t", "default", "t"]);
    assert_eq!(names(1), ["d", "u", "d", "e"]);
}

#[test]
fn a_missing_or_huge_file_is_one_clear_error() {
    let missing = load_cloud_as(Path::new("/nonexistent/c.yaml"), None).unwrap_err();
    assert!(missing.to_string().starts_with("/nonexistent/c.yaml: cannot be opened: "), "{missing}");
    let dir = tempfile::tempdir().unwrap();
    let huge = write(dir.path(), "c.yaml", &"# x\n".repeat(100_000), 0o644);
    assert!(load_cloud_as(&huge, None).unwrap_err().to_string().contains("is larger than 262144 bytes"));
}

#[test]
fn hostile_yaml_ends_in_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let refs = format!("*a{}", n - 1);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", [refs.as_str(); 10].join(", ")));
    }
    for text in
        [bomb, format!("a: {}", "[".repeat(100_000)), "? {a: b}\n: c\n".into(), "\u{0}".into(), String::new()]
    {
        let file = write(dir.path(), "c.yaml", &text, 0o644);
        let started = std::time::Instant::now();
        let shown = text.chars().take(40).collect::<String>();
        assert!(load_cloud_as(&file, None).is_err(), "{shown}");
        assert!(started.elapsed() < Duration::from_secs(5), "{shown} took {:?}", started.elapsed());
    }
}

#[test]
fn the_command_line_names_the_file_first() {
    assert_eq!(config_path(Some("given.yaml".into()), "default.yaml"), PathBuf::from("given.yaml"));
}
