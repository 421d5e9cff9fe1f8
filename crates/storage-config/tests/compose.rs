//! The two compose files say what the daemons expect: names, images, ports, environment, mounts;
//! and `docker-compose` itself accepts them where it is installed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_yaml::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn services(file: &str) -> Value {
    let text = fs::read_to_string(root().join(file)).unwrap();
    serde_yaml::from_str::<Value>(&text).unwrap()["services"].clone()
}

fn list(value: &Value) -> Vec<&str> {
    value.as_sequence().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

/// What every service of ours must have.
fn is_operable(name: &str, service: &Value) {
    assert_eq!(service["restart"].as_str(), Some("unless-stopped"), "{name}");
    assert!(!list(&service["healthcheck"]["test"]).is_empty(), "{name}");
    let grace = service["stop_grace_period"].as_str().unwrap().trim_end_matches('s').parse::<u64>().unwrap();
    assert!(grace > 30, "{name}: shorter than the default drain_seconds");
    if let Some(dockerfile) = service["build"]["dockerfile"].as_str() {
        let text = fs::read_to_string(root().join(dockerfile)).unwrap();
        assert!(text.lines().any(|l| l == "USER storage"), "{dockerfile} runs as root");
        assert_eq!(service["read_only"].as_bool(), Some(true), "{name}");
    }
}

#[test]
fn the_cloud_file() {
    let services = services("docker-compose.cloud.yml");
    let service = &services["data-storage-service"];
    assert_eq!(service["image"].as_str(), Some("marketprism/storage-cloud:v1.0.0"));
    assert_eq!(list(&service["ports"]), ["8002:8002"]);
    assert_eq!(service["environment"]["DEPLOYMENT_TYPE"].as_str(), Some("cloud"));
    assert_eq!(service["environment"]["CONFIG_PATH"].as_str(), Some("/app/config/cloud_storage.yaml"));
    let mounts = list(&service["volumes"]);
    for mount in ["./config:/app/config", "/etc/wireguard:/etc/wireguard"] {
        assert!(mounts.contains(&mount), "{mount}");
    }
    is_operable("data-storage-service", service);

    let hot = &services["clickhouse-hot-cluster"];
    is_pinned_lts(hot);
    is_operable("clickhouse-hot-cluster", hot);
    // The shipped configuration's nodes lead to it.
    let aliases = list(&hot["networks"]["default"]["aliases"]);
    let config = storage_config::load_cloud(&root().join("config/cloud_storage.yaml")).unwrap();
    for node in &config.hot.nodes {
        assert!(aliases.contains(&node.host_str().unwrap()), "{node} is nowhere");
    }
    assert_eq!(config.service.internal_url.unwrap().host_str(), Some("data-storage-service"));
}

#[test]
fn the_nas_file() {
    let services = services("docker-compose.nas.yml");
    let gateway = &services["local-storage-gateway"];
    assert_eq!(gateway["image"].as_str(), Some("marketprism/storage-gateway:v1.0.0"));
    assert_eq!(list(&gateway["ports"]), ["9000:9000"]);
    assert_eq!(gateway["environment"]["DEPLOYMENT_TYPE"].as_str(), Some("nas"));
    assert_eq!(gateway["environment"]["CONFIG_PATH"].as_str(), Some("/app/config/local_storage.yaml"));
    assert_eq!(
        list(&gateway["volumes"]),
        ["./config:/app/config", "/etc/wireguard:/etc/wireguard", "/volume1/marketprism:/app/data"]
    );
    is_operable("local-storage-gateway", gateway);

    let cold = &services["clickhouse-local"];
    is_pinned_lts(cold);
    assert_eq!(list(&cold["volumes"]), ["/volume1/marketprism/clickhouse:/var/lib/clickhouse"]);
    is_operable("clickhouse-local", cold);
    let config = storage_config::load_nas(&root().join("config/local_storage.yaml")).unwrap();
    assert_eq!(config.storage.url.host_str(), Some("clickhouse-local"));
}

/// A line of long-term support (the .3 and .8 releases), never `latest`.
fn is_pinned_lts(service: &Value) {
    let image = service["image"].as_str().unwrap();
    let version = image.strip_prefix("clickhouse/clickhouse-server:").unwrap();
    let month = version.split('.').nth(1).unwrap();
    assert!(matches!(month, "3" | "8"), "{image} is no LTS");
}

#[test]
fn docker_compose_accepts_both() {
    let compose = [vec!["docker-compose"], vec!["docker", "compose"]].into_iter().find(|command| {
        Command::new(command[0]).args(&command[1..]).arg("version").output().is_ok_and(|o| o.status.success())
    });
    let Some(compose) = compose else {
        eprintln!("skipped: neither docker-compose nor the compose plugin is installed");
        return;
    };
    for file in ["docker-compose.cloud.yml", "docker-compose.nas.yml"] {
        let output = Command::new(compose[0])
            .args(&compose[1..])
            .args(["-f", file, "config", "--quiet"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_file_a_compose_file_mounts_is_there() {
    for file in ["docker-compose.cloud.yml", "docker-compose.nas.yml"] {
        for (name, service) in services(file).as_mapping().unwrap() {
            for mount in list(&service["volumes"]) {
                let source = mount.split(':').next().unwrap();
                let ours = source.starts_with("./");
                assert!(!ours || root().join(source).exists(), "{file}: {name:?} mounts {source}");
            }
        }
    }
}
