//! A request's database and settings on a connection, and back again.

use clickhouse_http::server::RequestParameters;

use crate::chdb::RawConnection;
use crate::engine::{TAG_SETTING, identifier, literal};
use crate::failure::{Failure, code};

fn call(connection: &mut RawConnection, sql: &str) -> Result<(), Failure> {
    connection.query(sql.as_bytes(), "Null", &[]).map(drop).map_err(|text| Failure::from_engine(&text))
}

/// Enters the request's database.
pub fn choose_database(
    connection: &mut RawConnection,
    parameters: &RequestParameters,
) -> Result<(), Failure> {
    match &parameters.database {
        Some(database) => call(connection, &format!("USE {}", identifier(database))),
        None => Ok(()),
    }
}

/// Whether `name` can be a setting's: anything else would be SQL of the caller's in a statement of ours.
fn is_setting_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
}

/// The settings that are the caller's to set here.
fn of(parameters: &RequestParameters) -> impl Iterator<Item = &(String, String)> {
    parameters.settings.iter().filter(|(name, _)| name != TAG_SETTING && name != "readonly")
}

/// Sets `tag`, the request's settings, and last the read-only level.
///
/// # Errors
/// 115 for an unknown setting; the engine's own errors for a wrong value.
pub fn apply(
    connection: &mut RawConnection,
    parameters: &RequestParameters,
    tag: Option<&str>,
    read_only: u8,
) -> Result<(), Failure> {
    let mut changes = Vec::new();
    if let Some(tag) = tag {
        changes.push(tag_changes(tag));
    }
    for (name, value) in of(parameters) {
        if !is_setting_name(name) {
            return Err(Failure::new(code::UNKNOWN_SETTING, format!("Unknown setting '{name}'")));
        }
        changes.push(format!("{name} = {}", literal(value)));
    }
    if read_only > 0 {
        changes.push(format!("readonly = {read_only}"));
    }
    if changes.is_empty() { Ok(()) } else { call(connection, &format!("SET {}", changes.join(", "))) }
}

/// The tag, and the library's own defaults put back to those of a server.
fn tag_changes(tag: &str) -> String {
    format!("{TAG_SETTING} = {}, implicit_select = 0, allow_introspection_functions = 0", literal(tag))
}

/// Gives a session's connection a new tag, and returns the one that it has: a session that has made itself
/// read-only keeps its old one.
pub fn tag(connection: &mut RawConnection, new: &str, old: &str) -> Result<String, Failure> {
    match call(connection, &format!("SET {}", tag_changes(new))) {
        Ok(()) => Ok(new.to_owned()),
        Err(failure) if failure.code == code::READONLY && !old.is_empty() => Ok(old.to_owned()),
        Err(failure) => Err(failure),
    }
}

/// What a session's connection was set to before a request changed it.
pub struct Before {
    statements: Vec<String>,
}

impl Before {
    /// Notes what the request's parameters will change.
    pub fn of(connection: &mut RawConnection, parameters: &RequestParameters) -> Result<Self, Failure> {
        let engine = |text: String| Failure::from_engine(&text);
        let mut statements = Vec::new();
        if parameters.database.is_some() {
            let output = connection.query(b"SELECT currentDatabase()", "RowBinary", &[]).map_err(engine)?;
            let database = super::empty_native::strings(output.bytes()).next().unwrap_or_default().to_vec();
            statements.push(format!("USE {}", identifier(&String::from_utf8_lossy(&database))));
        }
        let names: Vec<String> = of(parameters).map(|(name, _)| literal(name)).collect();
        if !names.is_empty() {
            let sql = format!(
                "SELECT name, if(changed, value, ''), toString(changed) FROM system.settings WHERE name IN ({})",
                names.join(", ")
            );
            let output = connection.query(sql.as_bytes(), "RowBinary", &[]).map_err(engine)?;
            let texts: Vec<_> =
                super::empty_native::strings(output.bytes()).map(String::from_utf8_lossy).collect();
            for row in texts.chunks_exact(3) {
                let value = if row[2] == "1" { literal(&row[1]) } else { "DEFAULT".into() };
                statements.push(format!("SET {} = {value}", row[0]));
            }
        }
        Ok(Self { statements })
    }

    /// Puts it back.
    pub fn restore(self, connection: &mut RawConnection) {
        for statement in self.statements {
            if let Err(failure) = call(connection, &statement) {
                tracing::debug!(%failure, statement, "a session keeps what a request had set");
            }
        }
    }
}
