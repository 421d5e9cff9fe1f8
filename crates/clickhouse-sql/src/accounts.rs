//! The accounts that the daemons use on a ClickHouse: the owner, who moves rows and makes tables, and the
//! query account, which runs everything that a caller wrote.
//!
//! Cold rows reach the hot ClickHouse by `url()`, for which the query account has a grant that holds for
//! storage-service's address only. ClickHouse 25.8 takes that grant and writes it to its disk without the
//! filter: from its next start on the grant holds for any address. There a third account fetches cold rows,
//! the splice account: it runs nothing but storage-service's own splices, each after the query account, which
//! then may not call at all, has judged the caller's text.
//!
//! What the accounts may do is decided by ClickHouse's grants
//! (<https://clickhouse.com/docs/sql-reference/statements/grant>); the list here is the one source of the
//! embedded engine's account, of `deploy/sql/accounts*.sql`, and of the daemons' check at start.

use crate::quote;

/// The owner's name in an embedded engine where nobody chose one.
pub const OWNER: &str = "owner";
/// The query account's name in an embedded engine where nobody chose one.
pub const QUERY: &str = "query";
/// The accounts' names in `deploy/sql/accounts*.sql`: a server has other accounts beside them.
const ON_A_SERVER: (&str, &str, &str) = ("storage_owner", "storage_query", "storage_splice");

/// Tables of `system` that describe tables, functions and settings. Those that show other callers' texts
/// (`processes`, `query_log` and its kin), accounts, files or the machine are not among them.
pub const SYSTEM_TABLES: &[&str] = &[
    "aggregate_function_combinators",
    "collations",
    "columns",
    "contributors",
    "data_skipping_indices",
    "data_type_families",
    "databases",
    "formats",
    "functions",
    "keywords",
    "licenses",
    "numbers",
    "numbers_mt",
    "one",
    "projections",
    "settings",
    "table_engines",
    "table_functions",
    "tables",
    "time_zones",
    "zeros",
    "zeros_mt",
];

/// Tables of `system` that the query account must not read, though it would be the worst of them.
pub const SECRET_SYSTEM_TABLES: &[&str] = &[
    "processes",
    "query_log",
    "query_thread_log",
    "query_views_log",
    "session_log",
    "text_log",
    "users",
    "grants",
];

/// Settings that the query account cannot change, and their values: they name files or servers, or open the engine.
pub const FIXED_SETTINGS: &[(&str, &str)] = &[
    ("allow_introspection_functions", "0"),
    ("format_avro_schema_registry_url", ""),
    ("format_schema", ""),
    ("format_template_resultset", ""),
    ("format_template_row", ""),
    ("input_format_record_errors_file_path", ""),
    ("output_format_schema", ""),
    ("rename_files_after_processing", ""),
];

/// Where the query account may call by `url()`: the tickets of cold reads that storage-service at
/// `internal_url` issues, as the regular expression that a source grant takes.
#[must_use]
pub fn cold_url_pattern(internal_url: &str) -> String {
    let mut pattern = String::new();
    for character in internal_url.trim_end_matches('/').chars() {
        if "\\.+*?()|[]{}^$".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push_str("/internal/v1/cold/.*");
    pattern
}

/// The grants of the query account, each a statement without its `TO`; with an `internal_url` also those of
/// the splice account.
///
/// `databases`: those it may read; empty: all but `system`. `internal_url`: storage-service as this
/// ClickHouse reaches it, where cold rows come in by `url()`.
#[must_use]
pub fn query_grants(databases: &[&str], internal_url: Option<&str>) -> Vec<String> {
    let mut grants = Vec::new();
    if databases.is_empty() {
        grants.push("GRANT SELECT ON *.*".to_owned());
        for database in ["system", "information_schema", "INFORMATION_SCHEMA"] {
            grants.push(format!("REVOKE SELECT ON {database}.*"));
        }
    }
    for database in databases {
        grants.push(format!("GRANT SELECT ON {}.*", quote::ident(database)));
    }
    grants.extend(SYSTEM_TABLES.iter().map(|table| format!("GRANT SELECT ON system.{table}")));
    grants.push("GRANT CREATE TEMPORARY TABLE ON *.*".to_owned());
    if let Some(url) = internal_url {
        grants.push(format!("GRANT READ ON URL({})", quote::string(&cold_url_pattern(url))));
    }
    grants
}

/// Who fetches cold rows on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColdRows {
    /// The query account, by a grant that holds for storage-service's address only.
    ByQueryAccount,
    /// The splice account, where ClickHouse forgets the filter of a grant: 25.8.
    BySpliceAccount,
}

/// `deploy/sql/accounts.sql` and `accounts-25.8.sql`: the accounts on a server, for its administrator to fill
/// in and run.
#[must_use]
pub fn server_script(databases: &[&str], internal_url: &str, cold_rows: ColdRows) -> String {
    let (owner, query, splice) = ON_A_SERVER;
    let mut readers = vec![(query, "QUERY_PASSWORD", Some(internal_url))];
    if cold_rows == ColdRows::BySpliceAccount {
        readers = vec![(query, "QUERY_PASSWORD", None), (splice, "SPLICE_PASSWORD", Some(internal_url))];
    }
    let mut script = what_it_is_for(cold_rows);
    let fixed: Vec<String> = FIXED_SETTINGS
        .iter()
        .map(|(name, value)| format!("{name} = {} READONLY", quote::string(value)))
        .collect();
    let user = |name: &str, password: &str| {
        format!("CREATE USER IF NOT EXISTS {name} IDENTIFIED WITH sha256_password BY '{password}'")
    };
    script += &format!("CREATE SETTINGS PROFILE IF NOT EXISTS {query} SETTINGS {};\n", fixed.join(", "));
    script += &format!("{};\n", user(owner, "OWNER_PASSWORD"));
    for (reader, password, _) in &readers {
        script += &format!("{} SETTINGS PROFILE '{query}';\n", user(reader, password));
    }
    script.push('\n');
    for database in databases {
        script += &format!("GRANT ALL ON {}.* TO {owner};\n", quote::ident(database));
    }
    script += &format!("GRANT SELECT ON system.* TO {owner};\nGRANT CREATE DATABASE ON *.* TO {owner};\n");
    for (reader, _, url) in readers {
        script.push('\n');
        for grant in query_grants(databases, url) {
            script += &format!("{grant} TO {reader};\n");
        }
    }
    script
}

fn what_it_is_for(cold_rows: ColdRows) -> String {
    let (owner, query, splice) = ON_A_SERVER;
    match cold_rows {
        ColdRows::ByQueryAccount => format!(
            "-- The two accounts of storage-service and storage-gateway on a ClickHouse server.\n\
             -- Replace both passwords, the databases and the URL, then run it as an administrator:\n\
             --   clickhouse-client --multiquery < accounts.sql\n\
             -- and name them in the daemon's configuration: user {owner}, query_user {query}.\n\
             -- On the NAS leave out the last statement. On ClickHouse 25.8 take accounts-25.8.sql: that version\n\
             -- forgets the filter of the last grant when it starts again, and {query} could then call anywhere\n\
             -- (SHOW GRANTS FOR {query} shows it).\n\n"
        ),
        ColdRows::BySpliceAccount => format!(
            "-- The three accounts of storage-service and storage-gateway on a ClickHouse server of version 25.8. It\n\
             -- forgets the filter of the last grant when it starts again (SHOW GRANTS FOR {splice} shows it), so an\n\
             -- account has it that runs nothing a caller wrote. On later versions accounts.sql is enough.\n\
             -- Replace the passwords, the databases and the URL, then run it as an administrator:\n\
             --   clickhouse-client --multiquery < accounts-25.8.sql\n\
             -- and name them in the daemon's configuration: user {owner}, query_user {query}, splice_user {splice}.\n\
             -- On the NAS leave {splice} out.\n\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_pattern_of_itself_only() {
        assert_eq!(cold_url_pattern("http://a.b:8002/"), "http://a\\.b:8002/internal/v1/cold/.*");
    }

    #[test]
    fn one_account_of_a_server_may_call() {
        for (cold_rows, caller) in
            [(ColdRows::ByQueryAccount, "storage_query"), (ColdRows::BySpliceAccount, "storage_splice")]
        {
            let script = server_script(&["d"], "http://s:1", cold_rows);
            let calls: Vec<&str> = script.lines().filter(|line| line.contains("ON URL")).collect();
            let grant = format!("GRANT READ ON URL('http://s:1/internal/v1/cold/.*') TO {caller};");
            assert_eq!(calls, [grant], "{script}");
        }
    }

    #[test]
    fn what_shows_other_callers_is_never_granted() {
        for secret in SECRET_SYSTEM_TABLES {
            assert!(!SYSTEM_TABLES.contains(secret), "{secret}");
        }
        let grants = query_grants(&["it's `odd`"], Some("http://s:1"));
        assert!(grants.contains(&"GRANT SELECT ON `it's \\`odd\\``.*".to_owned()), "{grants:?}");
        assert!(!grants.iter().any(|grant| grant.contains("ON *.*") && !grant.contains("TEMPORARY")));
    }
}
