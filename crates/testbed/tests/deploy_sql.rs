//! `deploy/sql` is what `cargo xtask deploy-sql` prints, and an engine takes it.

use std::{fs, path::Path};

use testbed::{
    engine::Engine,
    market::{Layout, deploy_files},
};

#[test]
fn the_files_are_those_that_are_printed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/sql");
    let printed = deploy_files();
    for (file, text) in &printed {
        let found = fs::read_to_string(folder.join(file)).unwrap_or_default();
        assert_eq!(&found, text, "{file}: run `cargo xtask deploy-sql --write`");
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), printed.len(), "a file that nobody prints");
}

/// The embedded engine makes no accounts by SQL: it parses the statements, and its own query account has
/// the same grants.
#[tokio::test]
async fn an_engine_reads_the_accounts() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path()).await.unwrap();
    let scripts: Vec<_> =
        deploy_files().into_iter().filter(|(file, _)| file.starts_with("accounts")).collect();
    assert_eq!(scripts.len(), 2);
    for (_, script) in scripts {
        let script: String =
            script.lines().filter(|line| !line.starts_with("--")).map(|l| l.to_owned() + "\n").collect();
        let statements: Vec<&str> = script.split(";\n").map(str::trim).filter(|s| !s.is_empty()).collect();
        assert!(statements.len() > 20, "{script}");
        for statement in statements {
            let text = statement.replace('\\', "\\\\").replace('\'', "\\'");
            engine.client().query(format!("SELECT formatQuery('{text}')")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_engine_takes_every_file() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path()).await.unwrap();
    let client = engine.client();
    for layout in Layout::ALL {
        for statement in layout.sql().split(";\n").filter(|statement| !statement.trim().is_empty()) {
            client.query(statement).await.unwrap();
        }
        let database = layout.database();
        let made = client
            .number(&format!("SELECT count() FROM system.tables WHERE database = '{database}'"))
            .await
            .unwrap();
        assert_eq!(made, 8, "{}", layout.file());
        client.query(format!("DROP DATABASE {database} SYNC")).await.unwrap();
    }
}
