//! The testbed's engine, asked by tests that wait for each answer.

use testbed::engine;
use tokio::runtime::Runtime;

/// The engine; killed when dropped.
pub struct Engine {
    process: engine::Engine,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Engine {
    /// Starts the engine and waits until it answers.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let process = runtime.block_on(engine::Engine::start(folder.path())).unwrap();
        Self { process, runtime, _folder: folder }
    }

    /// Runs a statement with parameters `a=b&c=d`; the answer, or the engine's error.
    pub fn run(&self, sql: &str, parameters: &str) -> Result<String, String> {
        let settings: Vec<(&str, &str)> =
            parameters.split('&').filter_map(|one| one.split_once('=')).collect();
        let answer = self.process.client().query_with(sql, &settings);
        self.runtime.block_on(answer).map_err(|error| format!("{error:#}"))
    }

    /// Runs statements that must succeed.
    pub fn all(&self, statements: &[String]) {
        for sql in statements {
            self.run(sql, "insert_allow_materialized_columns=1").unwrap_or_else(|e| panic!("{sql}\n{e}"));
        }
    }
}
