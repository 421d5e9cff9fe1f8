//! External tables: files that come with a query as `multipart/form-data` and are tables while it runs.
//!
//! A part with a file name is a table of the part's name; `<table>_structure` (or `<table>_types`) and
//! `<table>_format` say what its bytes are. Any other part is a parameter, as if it stood in the URL. Files
//! are spooled to the temporary folder, so that memory does not grow with them, up to a limit.

use std::path::{Path, PathBuf};

use axum::extract::multipart::{Multipart, MultipartError};
use tokio::io::AsyncWriteExt as _;

use crate::chdb::RawConnection;
use crate::engine::identifier;
use crate::failure::{Failure, code};
use crate::run::insert;
use crate::statement::{Insert, lexer::Lexer};
use clickhouse_http::server::RequestParameters;

/// All files of one request together.
const MAX_FILES_BYTES: u64 = 1 << 30;
/// A part that is a parameter.
const MAX_PARAMETER_BYTES: usize = 16 << 20;
/// Parts of one request.
const MAX_PARTS: usize = 256;

/// One table's file; removed on drop.
pub struct Spooled {
    /// The table's name.
    pub table: String,
    path: PathBuf,
}

impl Drop for Spooled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads all parts: files into `folder`, parameters into `parameters`.
///
/// # Errors
/// 36 for a malformed body, 396 beyond the limits, 76 when the folder takes no file.
pub async fn spool(
    mut parts: Multipart,
    folder: &Path,
    parameters: &mut RequestParameters,
) -> Result<Vec<Spooled>, Failure> {
    let mut files = Vec::new();
    let mut total = 0;
    let mut count = 0;
    while let Some(mut part) = parts.next_field().await.map_err(malformed)? {
        count += 1;
        if count > MAX_PARTS {
            return Err(too_large("too many parts"));
        }
        let name = part.name().unwrap_or_default().to_owned();
        if part.file_name().is_none() {
            let mut value = Vec::new();
            while let Some(bytes) = part.chunk().await.map_err(malformed)? {
                if value.len() + bytes.len() > MAX_PARAMETER_BYTES {
                    return Err(too_large("a parameter is too long"));
                }
                value.extend_from_slice(&bytes);
            }
            parameters.add(&name, String::from_utf8_lossy(&value).into_owned());
            continue;
        }
        let spooled =
            Spooled { table: name, path: folder.join(format!("ext-{}", uuid::Uuid::new_v4().simple())) };
        let mut file = tokio::fs::File::create_new(&spooled.path).await.map_err(|error| unwritten(&error))?;
        while let Some(bytes) = part.chunk().await.map_err(malformed)? {
            total += bytes.len() as u64;
            if total > MAX_FILES_BYTES {
                return Err(too_large("the external tables are too large"));
            }
            file.write_all(&bytes).await.map_err(|error| unwritten(&error))?;
        }
        file.flush().await.map_err(|error| unwritten(&error))?;
        files.push(spooled);
    }
    Ok(files)
}

fn malformed(error: MultipartError) -> Failure {
    Failure::new(code::BAD_ARGUMENTS, format!("the multipart body cannot be read: {error}"))
}

fn too_large(what: &str) -> Failure {
    Failure::new(code::TOO_MANY_ROWS_OR_BYTES, format!("multipart body: {what}"))
}

fn unwritten(error: &std::io::Error) -> Failure {
    Failure::new(code::CANNOT_OPEN_FILE, format!("an external table cannot be kept: {error}"))
}

/// Makes a temporary table of each file.
///
/// # Errors
/// 36 without a structure; the engine's own errors.
pub fn create(
    connection: &mut RawConnection,
    files: &[Spooled],
    parameters: &RequestParameters,
) -> Result<(), Failure> {
    let engine = |text: String| Failure::from_engine(&text);
    for file in files {
        let about = |what: &str| {
            let wanted = format!("{}_{what}", file.table);
            parameters.external.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str())
        };
        let structure = match (about("structure"), about("types")) {
            (Some(structure), _) => structure.to_owned(),
            (None, Some(types)) => numbered(types),
            (None, None) => {
                let text = format!(
                    "Neither structure nor types have not been provided for external table {}",
                    file.table
                );
                return Err(Failure::new(code::BAD_ARGUMENTS, text));
            }
        };
        let table = identifier(&file.table);
        let create = format!("CREATE TEMPORARY TABLE {table} ({structure}) ENGINE = Memory");
        connection.query(create.as_bytes(), "Null", &[]).map_err(engine)?;
        let data = std::fs::File::open(&file.path).map_err(|error| unwritten(&error))?;
        let head = Insert {
            head: format!("INSERT INTO {table}").into_bytes(),
            format: about("format").unwrap_or("TabSeparated").to_owned(),
            data_start: 0,
        };
        insert::run(connection, &head, &[], data)?;
    }
    Ok(())
}

/// Drops the tables again, for a connection that lives on.
pub fn remove(connection: &mut RawConnection, files: &[Spooled]) {
    for file in files {
        let drop = format!("DROP TEMPORARY TABLE IF EXISTS {}", identifier(&file.table));
        if let Err(error) = connection.query(drop.as_bytes(), "Null", &[]) {
            tracing::debug!(%error, "an external table stays in its session");
        }
    }
}

/// `Int8, String` as `_1 Int8, _2 String`.
fn numbered(types: &str) -> String {
    let mut structure = String::from("_1 ");
    let (mut at, mut number) = (0, 1);
    for comma in Lexer::new(types.as_bytes()).filter(|token| token.depth == 0 && token.is_symbol(b',')) {
        number += 1;
        structure.push_str(&types[at..comma.end]);
        structure.push_str(&format!(" _{number} "));
        at = comma.end;
    }
    structure.push_str(&types[at..]);
    structure
}

#[cfg(test)]
mod tests {
    #[test]
    fn types_get_numbers_for_names() {
        assert_eq!(
            super::numbered("Int8,Tuple(a Int8, b Int8), String"),
            "_1 Int8, _2 Tuple(a Int8, b Int8), _3  String"
        );
    }
}
