//! The engine's configuration: `config.xml` and `users.xml`, in ClickHouse's own form
//! (<https://clickhouse.com/docs/operations/configuration-files>).
//!
//! One configuration serves both programs. Where libchdb needs more than a server does, it is said here:
//! libchdb's listeners are started by its account `default`, which then must not be of use to anybody
//! else, so it may hold one session (the one that started them) and has no grant that reads or writes.
//!
//! The files are private to this account (mode 0600) and are removed once the engine has read them: they
//! hold the hashes of passwords, and the scalar function `file()` reads what the engine may read.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::accounts::{Account, Constraint, LOCKED};
use crate::folders::Folders;
use crate::program::Program;
use crate::xml::escaped;

/// What the engine is told at start.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Address of the HTTP interface; port 0 takes a free one.
    pub http: SocketAddr,
    /// Port of the native protocol on the same host; 0 takes a free one.
    pub tcp_port: Option<u16>,
    /// Who may log in.
    pub accounts: Vec<Account>,
    /// Pieces of configuration to merge: a file name and its content each.
    pub pieces: Vec<(String, Vec<u8>)>,
    /// Memory of the engine, bytes.
    pub memory_limit_bytes: u64,
    /// Connections open at once.
    pub max_connections: usize,
    /// Statements running at once.
    pub max_queries: usize,
    /// How long a server's running statements may go on after SIGTERM, seconds.
    pub drain_seconds: u64,
}

impl Configuration {
    /// Where [`Configuration::write`] puts the main file.
    #[must_use]
    pub fn path(folders: &Folders) -> PathBuf {
        folders.run.join("config.xml")
    }

    /// Writes the files for `program` into the run folder.
    ///
    /// # Errors
    /// A text that XML cannot carry, or what the file system says.
    pub fn write(&self, folders: &Folders, program: &Program) -> anyhow::Result<()> {
        Self::remove(folders)?;
        let pieces = folders.run.join("config.d");
        std::fs::create_dir(&pieces).with_context(|| pieces.display().to_string())?;
        for (name, content) in &self.pieces {
            private(&pieces.join(name), content)?;
        }
        private(&folders.run.join("users.xml"), self.users_xml(program)?.as_bytes())?;
        private(&Self::path(folders), self.config_xml(folders)?.as_bytes())
    }

    /// Empties the run folder; the folder itself stays, since the engine's walls know it by its inode.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(folders: &Folders) -> anyhow::Result<()> {
        let empty = || {
            for entry in std::fs::read_dir(&folders.run)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => std::fs::remove_dir_all(entry.path())?,
                    false => std::fs::remove_file(entry.path())?,
                }
            }
            std::io::Result::Ok(())
        };
        empty().with_context(|| folders.run.display().to_string())
    }

    fn config_xml(&self, folders: &Folders) -> anyhow::Result<String> {
        let path = |path: &Path| escaped(path.to_str().context("--data: its path must be UTF-8")?);
        let caches = self.memory_limit_bytes / 16;
        let (http_port, host) = (self.http.port(), self.http.ip());
        let tcp_port = self.tcp_port.map(|port| format!("<tcp_port>{port}</tcp_port>")).unwrap_or_default();
        Ok(format!(
            "<clickhouse>
 <path>{data}/</path><tmp_path>{data}/tmp/</tmp_path><user_files_path>{user_files}/</user_files_path>
 <listen_host>{host}</listen_host><http_port>{http_port}</http_port>{tcp_port}
 <logger><level>error</level><log>{log}/engine.log</log><size>10M</size><count>2</count><console>0</console></logger>
 <max_server_memory_usage>{memory}</max_server_memory_usage><memory_worker_use_cgroup>0</memory_worker_use_cgroup>
 <mark_cache_size>{caches}</mark_cache_size><primary_index_cache_size>{caches}</primary_index_cache_size>
 <index_mark_cache_size>{index_caches}</index_mark_cache_size><uncompressed_cache_size>0</uncompressed_cache_size>
 <max_connections>{connections}</max_connections><max_concurrent_queries>{queries}</max_concurrent_queries>
 <keep_alive_timeout>10</keep_alive_timeout>
 <shutdown_wait_unfinished_queries>1</shutdown_wait_unfinished_queries><shutdown_wait_unfinished>{drain}</shutdown_wait_unfinished>
 <background_pool_size>2</background_pool_size><background_schedule_pool_size>4</background_schedule_pool_size>
 <background_distributed_schedule_pool_size>2</background_distributed_schedule_pool_size>
 <user_directories><users_xml><path>{run}/users.xml</path></users_xml></user_directories>
</clickhouse>
",
            data = path(&folders.data)?,
            user_files = path(&folders.user_files)?,
            log = path(&folders.log)?,
            run = path(&folders.run)?,
            memory = self.memory_limit_bytes,
            index_caches = caches / 4,
            connections = self.max_connections,
            queries = self.max_queries,
            drain = self.drain_seconds,
        ))
    }

    fn users_xml(&self, program: &Program) -> anyhow::Result<String> {
        // `clickhouse local` has looser defaults than a server; these are a server's.
        let mut profiles = String::from(
            "<default><implicit_select>0</implicit_select>\
             <allow_introspection_functions>0</allow_introspection_functions>\
             <storage_file_read_method>pread</storage_file_read_method>\
             <local_filesystem_read_method>pread</local_filesystem_read_method>\
             <output_format_arrow_use_native_writer>1</output_format_arrow_use_native_writer>\
             <output_format_pretty_max_rows>1000</output_format_pretty_max_rows>\
             <cancel_http_readonly_queries_on_client_close>1</cancel_http_readonly_queries_on_client_close></default>",
        );
        let mut users = String::new();
        if matches!(program, Program::Library(_)) {
            profiles.push_str("<starter><max_sessions_for_user>1</max_sessions_for_user></starter>");
            write!(
                users,
                "<{LOCKED}><password></password><networks><ip>127.0.0.1</ip></networks><profile>starter</profile>\
                 <quota>default</quota><grants><query>GRANT SYSTEM LISTEN ON *.*</query>\
                 <query>GRANT SELECT ON system.processes</query></grants></{LOCKED}>"
            )?;
        }
        for account in &self.accounts {
            profiles.push_str(&profile(account)?);
            users.push_str(&user(account)?);
        }
        Ok(format!(
            "<clickhouse><profiles>{profiles}</profiles><users>{users}</users><quotas><default/></quotas></clickhouse>\n"
        ))
    }
}

/// The account's settings profile, `profile_NAME`.
fn profile(account: &Account) -> anyhow::Result<String> {
    let name = &account.name;
    let mut text = format!("<profile_{name}><profile>default</profile>");
    for (setting, value) in &account.settings {
        write!(text, "<{setting}>{}</{setting}>", escaped(&value.text())?)?;
    }
    if !account.constraints.is_empty() {
        text.push_str("<constraints>");
        for (setting, bounds) in &account.constraints {
            write!(text, "<{setting}>{}</{setting}>", constraint(bounds)?)?;
        }
        text.push_str("</constraints>");
    }
    write!(text, "</profile_{name}>")?;
    Ok(text)
}

fn constraint(bounds: &Constraint) -> anyhow::Result<String> {
    let mut text = String::new();
    for (word, value) in [("min", &bounds.min), ("max", &bounds.max)] {
        if let Some(value) = value {
            write!(text, "<{word}>{}</{word}>", escaped(&value.text())?)?;
        }
    }
    for (word, set) in
        [("readonly", bounds.readonly), ("changeable_in_readonly", bounds.changeable_in_readonly)]
    {
        if set {
            write!(text, "<{word}/>")?;
        }
    }
    Ok(text)
}

fn user(account: &Account) -> anyhow::Result<String> {
    let name = &account.name;
    let password = match &account.password_sha256 {
        Some(digest) => format!("<password_sha256_hex>{digest}</password_sha256_hex>"),
        None => "<password></password>".into(),
    };
    let any = ["::/0".to_owned()];
    let networks = if account.networks.is_empty() { &any[..] } else { &account.networks[..] };
    let networks = networks
        .iter()
        .map(|ip| Ok(format!("<ip>{}</ip>", escaped(ip)?)))
        .collect::<anyhow::Result<String>>()?;
    let grants = account
        .grants
        .iter()
        .map(|grant| Ok(format!("<query>{}</query>", escaped(grant)?)))
        .collect::<anyhow::Result<String>>()?;
    Ok(format!(
        "<{name}>{password}<networks>{networks}</networks><profile>profile_{name}</profile>\
         <quota>default</quota><grants>{grants}</grants></{name}>"
    ))
}

fn private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| path.display().to_string())
}
