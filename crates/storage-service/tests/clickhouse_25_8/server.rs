//! A real ClickHouse 25.8: it stands in the library of a Python package, which is fetched once by pip, held
//! against its hash, and kept in the target folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clickhouse_http::client::{Client, NodeList};
use testbed::{clients::ClickHouse, process::Running, wait::eventually};

/// The package whose library is ClickHouse 25.8.2.1.
const PACKAGE: &str =
    "chdb==3.7.2 --hash=sha256:c119f0830c12438a4e4b60b8370859ba50992e8b1b01a8c681e1c57eeb2dc82d";

/// The Python that runs it, and the unpacked package; `Err`: why there is none.
pub fn package() -> Result<(PathBuf, PathBuf), String> {
    let run = |command: &mut Command| -> Result<(), String> {
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients").join("chdb==3.7.2");
    let (python, unpacked) = (folder.join("python/bin/python"), folder.join("package"));
    // Tests run side by side: the first one fetches it, the others wait.
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let lock = std::fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !folder.join("complete").is_file() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("requirements.txt"), PACKAGE).unwrap();
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder.join("python")))?;
        let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"];
        let pinned = ["--require-hashes", "--dest", "wheel", "--requirement", "requirements.txt"];
        run(Command::new(&python).args(download).args(pinned).current_dir(&folder))?;
        let wheel = std::fs::read_dir(folder.join("wheel")).unwrap().next().unwrap().unwrap().path();
        run(Command::new(&python).args(["-m", "zipfile", "--extract"]).args([&wheel, &unpacked]))?;
        std::fs::remove_file(wheel).unwrap();
        std::fs::write(folder.join("complete"), "").unwrap();
    }
    Ok((python, unpacked))
}

/// A server in a folder of its own, on one port; killed when dropped.
pub struct Server {
    package: (PathBuf, PathBuf),
    dir: PathBuf,
    /// Its administrator.
    pub admin: ClickHouse,
    running: Option<Running>,
}

impl Server {
    /// A server at `url` with one account, its administrator.
    pub async fn start(package: (PathBuf, PathBuf), dir: PathBuf, url: &str) -> Self {
        std::fs::create_dir_all(&dir).unwrap();
        let (at, port) = (dir.display(), url.rsplit(':').next().unwrap());
        let config = format!(
            "<clickhouse><path>{at}/data/</path><listen_host>127.0.0.1</listen_host><http_port>{port}</http_port>\
             <logger><level>error</level><log>{at}/engine.log</log></logger><mark_cache_size>100000000</mark_cache_size>\
             <user_directories><users_xml><path>{at}/users.xml</path></users_xml>\
             <local_directory><path>{at}/access/</path></local_directory></user_directories></clickhouse>"
        );
        let users = "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><admin>\
             <password>admin</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>\
             <quota>default</quota><access_management>1</access_management></admin></users></clickhouse>";
        std::fs::write(dir.join("config.xml"), config).unwrap();
        std::fs::write(dir.join("users.xml"), users).unwrap();
        let admin = ClickHouse::new(url, "admin", "admin").unwrap();
        let mut server = Self { package, dir, admin, running: None };
        server.restart().await;
        server
    }

    /// Stops it in order, where it runs, and starts it.
    pub async fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            assert!(running.stop(Duration::from_secs(30)).unwrap(), "the server does not end");
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clickhouse_25_8/serve.py");
        let mut command = Command::new(&self.package.0);
        command.arg(script).arg(&self.package.1).arg(self.dir.join("config.xml")).current_dir(&self.dir);
        let mut running = Running::start(command, &self.dir.join("said.log"), false).unwrap();
        eventually("the server answers", async || {
            running.check().unwrap();
            self.admin.ping().await.then_some(())
        })
        .await
        .unwrap();
        self.running = Some(running);
    }

    /// A client of it as this account.
    pub fn as_account(&self, user: &str, password: &str) -> Client {
        let node = NodeList::single(self.admin.url.parse().unwrap(), user, password.to_owned());
        Client::new(node).unwrap()
    }
}
