//! What an account that runs callers' texts, or our own splices of them, can and cannot do, found out by
//! asking as that account.
//!
//! ClickHouse's grants are the wall between a caller and everything else, so a daemon looks at start
//! whether the wall stands. Nothing is changed and nothing leaves the machine: grants are asked for by
//! `CHECK GRANT`, sources by a call to the discard port of loopback, which the engine refuses before it
//! dials when the grant is missing. How far a grant of `url()` reaches, `url_grant` finds out.

mod url_grant;

use std::time::Duration;

use clickhouse_sql::{accounts::SECRET_SYSTEM_TABLES, quote};

use crate::{Client, Error};

/// Longest wait for one answer.
const WAIT: Duration = Duration::from_secs(10);
/// How long to wait for an engine that is away or does not know the account yet.
const AGAIN: Duration = Duration::from_secs(5);
/// ClickHouse's code for a missing grant.
const ACCESS_DENIED: i32 = 497;
/// Table functions that reach beyond the engine, each with the source that it needs a grant for. `url()`
/// is not among them.
const SOURCES: [(&str, &str); 4] = [
    ("FILE", "file('nothing.csv', 'LineAsString', 'line String')"),
    ("REMOTE", "remote('127.0.0.1:9', system.one)"),
    ("MYSQL", "mysql('127.0.0.1:9', 'd', 't', 'u', 'p')"),
    ("S3", "s3('http://127.0.0.1:9/bucket/key', NOSIGN, 'LineAsString', 'line String')"),
];

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What the account can do and must not, or cannot and must.
    pub what: String,
    /// The statement that mends it.
    pub mend: String,
}

/// What an account must be able to do, and nothing else.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub account: String,
    /// Databases that it reads.
    pub databases: Vec<String>,
    /// Where it calls by `url()`.
    pub calls: Calls,
}

/// Where an account may call by `url()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Calls {
    /// Nowhere: the query account on the NAS, and where the splice account fetches cold rows.
    Nowhere,
    /// storage-service at this base URL, and nowhere else: the query account that fetches cold rows itself.
    OnlyService(String),
    /// storage-service at this base URL, wherever else it may: the splice account.
    Service(String),
}

impl Wanted {
    /// What the account is called in the log.
    fn kind(&self) -> &'static str {
        match self.calls {
            Calls::Nowhere | Calls::OnlyService(_) => "query account",
            Calls::Service(_) => "splice account",
        }
    }
}

/// Checks the account as soon as the engine answers, and logs each finding with the statement that mends it.
/// Ends when that is done; drop it at any time.
pub async fn report(client: Client, wanted: Wanted) {
    let (account, kind) = (&wanted.account, wanted.kind());
    let mut said = false;
    loop {
        match check(&client, &wanted).await {
            Ok(findings) if findings.is_empty() => {
                return tracing::info!(account, "the {kind} reads what it must, and nothing else");
            }
            Ok(findings) => {
                for Finding { what, mend } in findings {
                    tracing::error!(account, %mend, "the {kind} is not as it must be: {what}");
                }
                return;
            }
            Err(error @ Error::Server { .. }) if !said => {
                tracing::error!(account, %error, "the {kind} cannot be used; deploy/sql/accounts.sql makes it");
                said = true;
            }
            // The engine is away: its absence is reported elsewhere.
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Asks as the account, through `client`, whether it can do what it must, and nothing else.
///
/// # Errors
/// The engine does not answer, or refuses the account.
pub async fn check(client: &Client, wanted: &Wanted) -> Result<Vec<Finding>, Error> {
    let asking = Asking { client, account: quote::ident(&wanted.account) };
    let mut findings = Vec::new();
    for database in &wanted.databases {
        let all = format!("{}.*", quote::ident(database));
        findings.extend(asking.must(&format!("SELECT ON {all}")).await?);
        for verb in ["INSERT", "ALTER", "DROP TABLE", "TRUNCATE", "CREATE TABLE"] {
            findings.extend(asking.must_not(&format!("{verb} ON {all}")).await?);
        }
    }
    findings.extend(asking.must("CREATE TEMPORARY TABLE ON *.*").await?);
    for verb in ["SYSTEM", "KILL QUERY", "CREATE USER"] {
        findings.extend(asking.must_not(&format!("{verb} ON *.*")).await?);
    }
    for table in SECRET_SYSTEM_TABLES {
        findings.extend(asking.must_not(&format!("SELECT ON system.{table}")).await?);
    }
    for (source, function) in SOURCES {
        if !asking.is_denied(function).await? {
            findings.push(asking.reaches_beyond(source));
        }
    }
    findings.extend(url_grant::check(&asking, &wanted.calls).await?);
    Ok(findings)
}

struct Asking<'a> {
    client: &'a Client,
    /// Quoted.
    account: String,
}

impl Asking<'_> {
    async fn must(&self, grant: &str) -> Result<Option<Finding>, Error> {
        Ok((!self.has(grant).await?).then(|| Finding {
            what: format!("it lacks {grant}"),
            mend: format!("GRANT {grant} TO {}", self.account),
        }))
    }

    async fn must_not(&self, grant: &str) -> Result<Option<Finding>, Error> {
        Ok(self.has(grant).await?.then(|| Finding {
            what: format!("it has {grant}"),
            mend: format!("REVOKE {grant} FROM {}", self.account),
        }))
    }

    async fn has(&self, grant: &str) -> Result<bool, Error> {
        let answer = self.client.query(format!("CHECK GRANT {grant}")).deadline(WAIT).text().await?;
        Ok(answer.trim() == "1")
    }

    fn reaches_beyond(&self, source: &str) -> Finding {
        Finding {
            what: format!("it reaches beyond the engine by {source}"),
            mend: format!(
                "REVOKE READ, WRITE ON {source} FROM {0} (before ClickHouse 25.9: REVOKE {source} ON *.* FROM {0})",
                self.account
            ),
        }
    }

    async fn is_denied(&self, function: &str) -> Result<bool, Error> {
        let sql = format!("SELECT * FROM {function} LIMIT 1 FORMAT Null");
        let asked =
            self.client.query(sql).setting("readonly", "2").setting("http_max_tries", "1").deadline(WAIT);
        match asked.text().await {
            Err(Error::Server { code, .. }) => Ok(code == ACCESS_DENIED),
            Ok(_) => Ok(false),
            Err(other) => Err(other),
        }
    }
}
