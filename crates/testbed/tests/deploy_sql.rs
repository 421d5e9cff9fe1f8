//! `deploy/sql` is what `cargo xtask deploy-sql` prints, and an engine takes it.

use std::{fs, path::Path};

use testbed::{engine::Engine, market::Layout};

#[test]
fn the_files_are_those_that_are_printed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/sql");
    for layout in Layout::ALL {
        let file = fs::read_to_string(folder.join(layout.file())).unwrap();
        assert_eq!(file, layout.sql(), "{}: run `cargo xtask deploy-sql --write`", layout.file());
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), Layout::ALL.len(), "a file that nobody prints");
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
