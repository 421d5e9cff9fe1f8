//! What an operator may say to the two daemons.
//!
//! One YAML file per daemon becomes one validated struct ([`CloudConfig`], [`NasConfig`]), or all of
//! the file's errors at once, each with its line and key path. Nothing else in the project reads
//! YAML or the environment's `CONFIG_PATH` and `DEPLOYMENT_TYPE`. A value that passed is right: no
//! room checks it again.
//!
//! A file is read once, at start; there is no reload and so nothing to keep consistent.

mod cloud;
mod endpoint;
mod error;
mod nas;
mod node;
mod read;
mod read_cloud;
mod read_link;
mod read_nas;
mod section;
mod timetable;
mod units;
mod values;

use std::path::{Path, PathBuf};

pub use cloud::{
    CloudConfig, ColdProxyConfig, FallbackConfig, HotConfig, HotKind, LinkMethod, MigrationConfig,
    ServiceConfig, TableConfig,
};
pub use error::{ConfigError, ConfigErrors};
pub use nas::{
    Archive, ColdKind, ColdStorageConfig, Compression, ConnectionConfig, LimitsConfig, NasConfig,
    NasServiceConfig, OfflineMode,
};
pub use storage_types::Secret;
pub use timetable::{Limits, Timetable};

/// Environment variable with the path of the file, when the command line names none.
pub const CONFIG_PATH: &str = "CONFIG_PATH";
/// Environment variable that must match `service.deployment` when it is set.
pub const DEPLOYMENT_TYPE: &str = "DEPLOYMENT_TYPE";
/// Where the cloud image keeps its file.
pub const DEFAULT_CLOUD_PATH: &str = "/app/config/cloud_storage.yaml";
/// Where the NAS image keeps its file.
pub const DEFAULT_NAS_PATH: &str = "/app/config/local_storage.yaml";

/// A ClickHouse account beside the owner's.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name: `query_user`, `splice_user`.
    pub user: String,
    /// Its password, from `query_password_file`, `splice_password_file`.
    pub password: Option<Secret>,
}

/// `service.deployment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// `cloud`: storage-service.
    Cloud,
    /// `nas`: storage-gateway.
    Nas,
}

/// `service.log_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `migration.compression_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Least CPU.
    Fast,
    /// Between the two.
    Auto,
    /// Fewest bytes on the line.
    Ultra,
}

impl Effort {
    /// `fast`, `auto` or `ultra`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Auto => "auto",
            Self::Ultra => "ultra",
        }
    }
}

/// The file to read: `given` (the command line), else `CONFIG_PATH`, else `default`.
#[must_use]
pub fn config_path(given: Option<PathBuf>, default: &str) -> PathBuf {
    given
        .or_else(|| std::env::var_os(CONFIG_PATH).filter(|p| !p.is_empty()).map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(default))
}

/// Reads and validates the file of `storage-service`.
pub fn load_cloud(path: &Path) -> Result<CloudConfig, ConfigErrors> {
    load_cloud_as(path, deployment_type().as_deref())
}

/// Reads and validates the file of `storage-gateway`.
pub fn load_nas(path: &Path) -> Result<NasConfig, ConfigErrors> {
    load_nas_as(path, deployment_type().as_deref())
}

/// [`load_cloud`] with `DEPLOYMENT_TYPE` given instead of taken from the environment.
pub fn load_cloud_as(path: &Path, deployment_type: Option<&str>) -> Result<CloudConfig, ConfigErrors> {
    read_cloud::load(path, deployment_type)
}

/// [`load_nas`] with `DEPLOYMENT_TYPE` given instead of taken from the environment.
pub fn load_nas_as(path: &Path, deployment_type: Option<&str>) -> Result<NasConfig, ConfigErrors> {
    read_nas::load(path, deployment_type)
}

fn deployment_type() -> Option<String> {
    std::env::var(DEPLOYMENT_TYPE).ok().filter(|text| !text.is_empty())
}
