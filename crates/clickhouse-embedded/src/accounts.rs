//! The accounts that the engine knows: the owner, the query account, and those of the `--accounts` file.
//!
//! Passwords leave this module only as SHA-256. What an account may do is said by ClickHouse's own grants,
//! and what it may set by a settings profile of its own (<https://clickhouse.com/docs/operations/settings/settings-users>);
//! the engine reads both at start and never again, so a changed file needs a restart of the engine (less
//! than a second).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use clickhouse_sql::accounts::{FIXED_SETTINGS, query_grants};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::xml;

/// A file with accounts is not longer than this, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// ClickHouse's own account, which starts the listeners and is locked to everybody else.
pub const LOCKED: &str = "default";

/// One account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// SHA-256 of its password in hexadecimal; `None`: it has an empty password.
    pub password_sha256: Option<String>,
    /// Networks it may come from (`10.0.0.0/8`, `::1`); empty: any.
    pub networks: Vec<String>,
    /// `GRANT …` and `REVOKE …` without `TO` and `FROM`.
    pub grants: Vec<String>,
    /// Settings of its profile.
    pub settings: BTreeMap<String, Value>,
    /// Bounds of settings of its profile.
    pub constraints: BTreeMap<String, Constraint>,
}

/// A setting's value.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Any other number.
    Fraction(f64),
    /// A text.
    Text(String),
}

impl Value {
    /// As ClickHouse's configuration writes it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Flag(flag) => u8::from(*flag).to_string(),
            Self::Number(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Bounds of one setting (<https://clickhouse.com/docs/operations/settings/constraints-on-settings>).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// The least value.
    pub min: Option<Value>,
    /// The greatest value.
    pub max: Option<Value>,
    /// The account cannot change it.
    #[serde(default)]
    pub readonly: bool,
    /// It can be changed within its bounds even under `readonly = 1`.
    #[serde(default)]
    pub changeable_in_readonly: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    accounts: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    password_file: std::path::PathBuf,
    #[serde(default)]
    networks: Vec<String>,
    #[serde(default)]
    grants: Vec<String>,
    #[serde(default)]
    settings: BTreeMap<String, Value>,
    #[serde(default)]
    constraints: BTreeMap<String, Constraint>,
}

impl Account {
    /// The owner: everything but ending the engine and its listeners, which is the supervisor's.
    ///
    /// # Errors
    /// A name that cannot be an account's, a password file that cannot be read.
    pub fn owner(name: &str, password_file: Option<&Path>) -> anyhow::Result<Self> {
        check_name(name).context("--user")?;
        let password_sha256 =
            password_file.map(password_sha256).transpose().context("--password-file")?.flatten();
        Ok(Self {
            name: name.to_owned(),
            password_sha256,
            networks: Vec::new(),
            grants: vec!["GRANT ALL ON *.*".into(), "REVOKE SYSTEM SHUTDOWN, SYSTEM LISTEN ON *.*".into()],
            settings: BTreeMap::new(),
            constraints: BTreeMap::new(),
        })
    }
}

impl Account {
    /// The query account: it runs what callers wrote, and reads. `service_url`: where it may call by `url()`.
    ///
    /// # Errors
    /// A name that cannot be an account's, a password that is empty or cannot be read.
    pub fn query(name: &str, password_file: &Path, service_url: Option<&str>) -> anyhow::Result<Self> {
        check_name(name).context("--query-user")?;
        if let Some(url) = service_url {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let plain = |c: char| c.is_ascii_graphic() && !"?#@'\"\\".contains(c);
            ensure!(
                rest.is_some_and(|rest| !rest.is_empty()
                    && !rest.starts_with('/')
                    && rest.chars().all(plain)),
                "--query-url {url:?}: not of the form http://HOST:PORT"
            );
        }
        let password_sha256 = password_sha256(password_file).context("--query-password-file")?;
        ensure!(password_sha256.is_some(), "--query-password-file: the password is empty");
        let fixed = |(setting, _): &(&str, &str)| {
            ((*setting).to_owned(), Constraint { readonly: true, ..Constraint::default() })
        };
        let value =
            |(setting, value): &(&str, &str)| ((*setting).to_owned(), Value::Text((*value).to_owned()));
        Ok(Self {
            name: name.to_owned(),
            password_sha256,
            networks: Vec::new(),
            grants: query_grants(&[], service_url),
            settings: FIXED_SETTINGS.iter().map(value).collect(),
            constraints: FIXED_SETTINGS.iter().map(fixed).collect(),
        })
    }
}

/// The accounts of the file at `path`; names of password files are relative to its folder.
///
/// # Errors
/// What is wrong, with the account's name.
pub fn read(path: &Path) -> anyhow::Result<Vec<Account>> {
    let text = bounded(path, MAX_FILE_BYTES)?;
    let file: File = serde_yaml::from_str(&text)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    file.accounts.into_iter().map(|entry| account(folder, entry)).collect()
}

fn account(folder: &Path, entry: Entry) -> anyhow::Result<Account> {
    let name = entry.name.clone();
    check(&entry).with_context(|| format!("account {name:?}"))?;
    let password_sha256 =
        password_sha256(&folder.join(&entry.password_file)).with_context(|| format!("account {name:?}"))?;
    ensure!(password_sha256.is_some(), "account {name:?}: its password is empty");
    Ok(Account {
        name,
        password_sha256,
        networks: entry.networks,
        grants: entry.grants,
        settings: entry.settings,
        constraints: entry.constraints,
    })
}

fn check(entry: &Entry) -> anyhow::Result<()> {
    check_name(&entry.name)?;
    for network in &entry.networks {
        ensure!(
            is_network(network),
            "{network:?} is no network: an IP address, or one with a prefix (10.0.0.0/8)"
        );
    }
    for grant in &entry.grants {
        let word = grant.split_ascii_whitespace().next().unwrap_or_default();
        ensure!(
            word.eq_ignore_ascii_case("GRANT") || word.eq_ignore_ascii_case("REVOKE"),
            "{grant:?} is neither a GRANT nor a REVOKE"
        );
    }
    for setting in entry.settings.keys().chain(entry.constraints.keys()) {
        ensure!(xml::is_name(setting), "{setting:?} is no setting's name");
    }
    Ok(())
}

fn check_name(name: &str) -> anyhow::Result<()> {
    if name == LOCKED {
        bail!("`{LOCKED}` is the engine's own account and locked: choose another name, e.g. `owner`");
    }
    ensure!(
        xml::is_name(name),
        "{name:?} is no account's name: letters, digits, `_` and `-`, a letter first"
    );
    Ok(())
}

fn is_network(text: &str) -> bool {
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

/// `None` for an empty password.
fn password_sha256(file: &Path) -> anyhow::Result<Option<String>> {
    let bytes = secret_file::read_bytes(file).with_context(|| file.display().to_string())?;
    let text = String::from_utf8(bytes).with_context(|| file.display().to_string())?;
    let password = text.trim_end_matches(['\r', '\n']);
    Ok((!password.is_empty()).then(|| {
        let digest = Sha256::digest(password.as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }))
}

fn bounded(path: &Path, max_bytes: u64) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(max_bytes + 1).read_to_string(&mut text));
    read.with_context(|| path.display().to_string())?;
    ensure!(text.len() as u64 <= max_bytes, "{}: longer than {max_bytes} bytes", path.display());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(text: &str) -> anyhow::Result<Vec<Account>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, mode) in
            [("p", "secret\n", 0o600), ("empty", "\n", 0o600), ("open", "secret\n", 0o644)]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
            std::fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        std::fs::write(folder.path().join("accounts.yaml"), text).unwrap();
        read(&folder.path().join("accounts.yaml"))
    }

    #[test]
    fn an_account_has_grants_settings_and_bounds() {
        let accounts = file(
            "accounts:\n- name: reader\n  password_file: p\n  networks: ['::1']\n  grants: [GRANT SELECT ON a.*]\n  \
             settings: {readonly: 1, log_comment: x}\n  constraints: {max_threads: {max: 4, changeable_in_readonly: true}}\n",
        )
        .unwrap();
        let [reader] = &accounts[..] else { panic!("{accounts:?}") };
        // sha256sum of `secret`.
        let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert_eq!(reader.password_sha256.as_deref(), Some(digest));
        assert_eq!(reader.settings["readonly"].text(), "1");
        assert!(reader.constraints["max_threads"].changeable_in_readonly);
    }

    #[test]
    fn what_cannot_be_an_account_is_told_by_name() {
        for (text, said) in [
            ("accounts: [{name: default, password_file: p}]", "locked"),
            ("accounts: [{name: 'a b', password_file: p}]", "no account's name"),
            ("accounts: [{name: a, password_file: nowhere}]", "nowhere"),
            ("accounts: [{name: a, password_file: empty}]", "its password is empty"),
            ("accounts: [{name: a, password_file: p, grants: [SELECT ON x.*]}]", "neither a GRANT"),
            ("accounts: [{name: a, password_file: p, settings: {'x/y': 1}}]", "no setting's name"),
            ("accounts: [{name: a, password_file: p, grant: []}]", "unknown field"),
            ("accounts: [{name: include, password_file: p}]", "no account's name"),
            ("accounts: [{name: a, password_file: open}]", "readable by others"),
            ("accounts: [{name: a, password_file: p, networks: [nonsense]}]", "no network"),
            ("accounts: [{name: a, password_file: p, networks: [10.0.0.0/99]}]", "no network"),
            ("accounts: [{name: a, password_file: p, networks: [localhost]}]", "no network"),
        ] {
            let error = format!("{:#}", file(text).unwrap_err());
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
