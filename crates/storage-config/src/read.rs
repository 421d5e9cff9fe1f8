//! What both files have in common: reading the document, the `service` section, tokens.

use std::{
    fs,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use secret_file::Refusal;

use crate::{
    Account, ConfigError, ConfigErrors, DEPLOYMENT_TYPE, Deployment, LogFormat, Secret,
    node::{Node, Step},
    section::{Problems, Section},
    values,
};

/// A configuration is pages, not megabytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// The parser's time grows with the square of the depth.
const MAX_FLOW_DEPTH: usize = 200;

/// A file being read.
pub(crate) struct Document<'a> {
    pub(crate) problems: Problems,
    /// Folder of the file; relative paths start here.
    pub(crate) base: PathBuf,
    /// `DEPLOYMENT_TYPE`, when set.
    pub(crate) deployment_type: Option<&'a str>,
}

/// The ClickHouse account that a daemon takes when none is named. `clickhouse-embedded` locks `default`;
/// its own is `owner`.
pub(crate) fn default_user(embedded: bool) -> String {
    if embedded { "owner" } else { "default" }.to_owned()
}

/// Reads `path` and hands the top section to `read`; what `read` returns counts only when there was
/// no problem.
pub(crate) fn document<T>(
    path: &Path,
    deployment_type: Option<&str>,
    read: impl FnOnce(&Document<'_>, &Node) -> Option<T>,
) -> Result<T, ConfigErrors> {
    let whole_file = |line, message| ConfigErrors {
        file: path.to_owned(),
        errors: vec![ConfigError { line, path: String::new(), message }],
    };
    let text = bounded_text(path).map_err(|message| whole_file(None, message))?;
    let root: Node = serde_yaml::from_str(&text).map_err(|e| {
        let line = e.location().map(|at| at.line() as u64);
        whole_file(line, format!("not YAML: {e}"))
    })?;
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    let document = Document { problems: Problems::new(), base, deployment_type };
    let value = read(&document, &root);
    let mut errors = document.problems.into_errors(&text);
    match value {
        Some(value) if errors.is_empty() => Ok(value),
        _ => {
            if errors.is_empty() {
                let message = "a required value is missing".to_owned();
                errors.push(ConfigError { line: None, path: String::new(), message });
            }
            Err(ConfigErrors { file: path.to_owned(), errors })
        }
    }
}

fn bounded_text(path: &Path) -> Result<String, String> {
    let file =
        fs::File::open(path).map_err(|e| format!("cannot be opened: {e} (set CONFIG_PATH or --config)"))?;
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    read.map_err(|e| format!("cannot be read: {e} (it must be UTF-8 text)"))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes (a configuration is not)"));
    }
    if flow_depth(&text) > MAX_FLOW_DEPTH {
        return Err(format!("has more than {MAX_FLOW_DEPTH} open brackets at once (close them)"));
    }
    Ok(text)
}

/// Most brackets open at once, strings and comments included: an upper bound that costs one pass.
fn flow_depth(text: &str) -> usize {
    let (mut depth, mut most) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

/// What `service` says in both files.
pub(crate) struct CommonService {
    pub(crate) name: String,
    pub(crate) listen: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) token: Token,
    pub(crate) max_body_bytes: u64,
    pub(crate) drain_seconds: u64,
    pub(crate) log_format: LogFormat,
}

/// What differs in it.
pub(crate) struct ServiceDefaults {
    pub(crate) deployment: Deployment,
    pub(crate) port: u16,
    pub(crate) data_dir: &'static str,
    /// Token file beside the configuration that is used when it exists.
    pub(crate) token_file: &'static str,
}

/// A token and where it came from.
#[derive(Default)]
pub(crate) struct Token {
    pub(crate) file: Option<PathBuf>,
    pub(crate) secret: Option<Secret>,
}

impl Document<'_> {
    pub(crate) fn root<'s>(&'s self, node: &'s Node) -> Section<'s> {
        Section::new(&self.problems, Vec::<Step>::new(), node)
    }

    /// The `service` section's common keys.
    pub(crate) fn service(&self, section: &Section<'_>, defaults: &ServiceDefaults) -> Option<CommonService> {
        let name = section.must("name", values::text);
        self.deployment(section, defaults.deployment);
        let token = self.token(section, defaults.token_file);
        let given = section.opt("listen", values::listen);
        let host = if token.file.is_some() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let listen = given.unwrap_or(SocketAddr::new(IpAddr::V4(host), defaults.port));
        if token.file.is_none() && !listen.ip().is_loopback() {
            section.problem(
                "listen",
                format!("{listen} is open to others and there is no token (set `token_file`, or listen on 127.0.0.1)"),
            );
        }
        Some(CommonService {
            listen,
            data_dir: section.or("data_dir", PathBuf::from(defaults.data_dir), values::path(&self.base)),
            token,
            max_body_bytes: section.or("max_body_bytes", 8 << 20, values::bytes(1024..=1 << 30)),
            drain_seconds: section.or("drain_seconds", 30, values::int(0..=3600)),
            log_format: section.or(
                "log_format",
                LogFormat::Json,
                values::word(&[("json", LogFormat::Json), ("text", LogFormat::Text)]),
            ),
            name: name?,
        })
    }

    fn deployment(&self, section: &Section<'_>, wanted: Deployment) {
        let words = &[("cloud", Deployment::Cloud), ("nas", Deployment::Nas)];
        let Some(found) = section.must("deployment", values::word(words)) else { return };
        if found != wanted {
            section.problem(
                "deployment",
                format!(
                    "{:?} belongs to the other daemon (this one is {:?})",
                    found.as_str(),
                    wanted.as_str()
                ),
            );
        } else if let Some(env) = self.deployment_type.filter(|env| *env != found.as_str()) {
            section.problem(
                "deployment",
                format!("{:?} contradicts {DEPLOYMENT_TYPE}={env:?} (make them agree)", found.as_str()),
            );
        }
    }

    /// `token_file`, else the file `default` beside the configuration when it exists.
    pub(crate) fn token(&self, section: &Section<'_>, default: &str) -> Token {
        section.forbid_inline("token", "token_file");
        self.secret(section, "token_file", default, secret_file::read_token)
    }

    /// `password_file`, else `secrets/clickhouse.password` beside the configuration when it exists.
    pub(crate) fn password(&self, section: &Section<'_>) -> Option<Secret> {
        section.forbid_inline("password", "password_file");
        self.secret(section, "password_file", "secrets/clickhouse.password", secret_file::read).secret
    }

    /// `query_user` and `query_password_file` (else `secrets/query.password` beside the configuration when it
    /// exists): the account for what callers wrote. `None` when neither is given.
    pub(crate) fn query_account(&self, section: &Section<'_>) -> Option<Account> {
        section.forbid_inline("query_password", "query_password_file");
        let named = section.opt("query_user", values::text);
        let password =
            self.secret(section, "query_password_file", "secrets/query.password", secret_file::read).secret;
        account(named, password, "query")
    }

    /// `splice_user` and `splice_password_file` (else `secrets/splice.password` beside the configuration when
    /// it exists): the account for our own splices. `None` when neither is given.
    pub(crate) fn splice_account(&self, section: &Section<'_>) -> Option<Account> {
        section.forbid_inline("splice_password", "splice_password_file");
        let named = section.opt("splice_user", values::text);
        let password =
            self.secret(section, "splice_password_file", "secrets/splice.password", secret_file::read).secret;
        account(named, password, "splice")
    }

    fn secret(
        &self,
        section: &Section<'_>,
        key: &'static str,
        default: &str,
        read: fn(&Path) -> Result<Secret, Refusal>,
    ) -> Token {
        // A link to nowhere, or a folder that is closed, is no secret that was left out.
        let is_absent =
            |path: &Path| path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        let by_default = Some(self.base.join(default)).filter(|path| !is_absent(path));
        let Some(file) = section.opt(key, values::path(&self.base)).or(by_default) else {
            return Token::default();
        };
        match read(&file) {
            Ok(secret) => Token { file: Some(file), secret: Some(secret) },
            Err(refusal) => {
                section.problem(key, format!("{} {refusal}", file.display()));
                // Kept, so that the missing token is not reported a second time.
                Token { file: Some(file), secret: None }
            }
        }
    }
}

fn account(named: Option<String>, password: Option<Secret>, default: &str) -> Option<Account> {
    (named.is_some() || password.is_some())
        .then(|| Account { user: named.unwrap_or_else(|| default.to_owned()), password })
}

impl Deployment {
    /// `cloud` or `nas`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Nas => "nas",
        }
    }
}
