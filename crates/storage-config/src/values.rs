//! Single values: words, numbers in a range, names, paths, cron expressions.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use crate::{node::Node, units};

/// Databases that belong to ClickHouse or to the daemons.
const RESERVED_DATABASES: [&str; 4] =
    ["system", "information_schema", "INFORMATION_SCHEMA", "storage_internal"];

/// Text that is not empty and has no control characters.
pub(crate) fn text(node: &Node) -> Result<String, String> {
    match node {
        Node::Text(text) if text.trim().is_empty() => {
            Err("is empty (write something or leave the key out)".into())
        }
        Node::Text(text) if text.chars().any(char::is_control) => Err("holds control characters".into()),
        Node::Text(text) => Ok(text.clone()),
        other => Err(format!("expected text, found {} (put it in quotes)", other.kind())),
    }
}

/// A whole number in a range.
pub(crate) fn int<T>(range: RangeInclusive<T>) -> impl FnOnce(&Node) -> Result<T, String>
where
    T: TryFrom<i128> + PartialOrd + std::fmt::Display,
{
    move |node| {
        let Node::Int(n) = node else {
            return Err(format!("expected a whole number, found {}", node.kind()));
        };
        T::try_from(*n)
            .ok()
            .filter(|v| range.contains(v))
            .ok_or_else(|| format!("{n} is out of range ({} to {})", range.start(), range.end()))
    }
}

/// A size in a range of bytes.
pub(crate) fn bytes(range: RangeInclusive<u64>) -> impl FnOnce(&Node) -> Result<u64, String> {
    move |node| {
        let n = units::bytes(node)?;
        if range.contains(&n) {
            Ok(n)
        } else {
            Err(format!("{n} bytes is out of range ({} to {} bytes)", range.start(), range.end()))
        }
    }
}

/// A duration in a range of seconds.
pub(crate) fn duration(range: RangeInclusive<u64>) -> impl FnOnce(&Node) -> Result<Duration, String> {
    move |node| {
        let value = units::duration(node)?;
        if (Duration::from_secs(*range.start())..=Duration::from_secs(*range.end())).contains(&value) {
            Ok(value)
        } else {
            Err(format!("{value:?} is out of range ({} s to {} s)", range.start(), range.end()))
        }
    }
}

pub(crate) fn boolean(node: &Node) -> Result<bool, String> {
    match node {
        Node::Bool(value) => Ok(*value),
        other => Err(format!("expected true or false, found {}", other.kind())),
    }
}

/// One of some words.
pub(crate) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl FnOnce(&Node) -> Result<T, String> {
    move |node| {
        let found = text(node)?;
        words.iter().find(|(word, _)| *word == found).map(|(_, value)| *value).ok_or_else(|| {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!("{found:?} is none of {}", all.join(", "))
        })
    }
}

pub(crate) fn listen(node: &Node) -> Result<SocketAddr, String> {
    let text = text(node)?;
    SocketAddr::from_str(&text).map_err(|_| format!("{text:?} is not an address (write \"0.0.0.0:8002\")"))
}

/// A path; a relative one starts from the folder of the configuration file.
pub(crate) fn path(base: &Path) -> impl FnOnce(&Node) -> Result<PathBuf, String> {
    move |node| text(node).map(|text| base.join(text))
}

/// Cron, five fields, UTC; `None` for `off`.
pub(crate) fn schedule(node: &Node) -> Result<Option<String>, String> {
    if *node == Node::Bool(false) {
        return Ok(None);
    }
    let text = text(node)?;
    if text == "off" {
        return Ok(None);
    }
    let fields = text.split_whitespace().count();
    if fields != 5 {
        return Err(format!("{text:?} has {fields} fields (cron has five: minute hour day month weekday)"));
    }
    croner::Cron::from_str(&text).map_err(|e| format!("{text:?} is not a cron expression: {e}"))?;
    Ok(Some(text))
}

/// A database's or table's name, unquoted.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let right = !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if right {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a name (letters, digits, _ and - only)"))
    }
}

/// A name SQL needs no quotes for: callers write it bare.
pub(crate) fn logical_name(node: &Node) -> Result<String, String> {
    let text = text(node)?;
    let bare = |part: &str| {
        part.len() <= 128
            && part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if text.split('.').count() <= 2 && text.split('.').all(bare) {
        Ok(text)
    } else {
        Err(format!("{text:?} is not a bare SQL name (letters, digits and _, not starting with a digit)"))
    }
}

/// A database that is the user's.
pub(crate) fn database(node: &Node) -> Result<String, String> {
    let name = name(&text(node)?)?;
    if RESERVED_DATABASES.contains(&name.as_str()) {
        Err(format!("{name:?} is ClickHouse's or ours (name a database of your own)"))
    } else {
        Ok(name)
    }
}

/// `database.table`, or `table` in `default_database`.
pub(crate) fn table(default_database: &str) -> impl FnOnce(&Node) -> Result<(String, String), String> {
    move |node| {
        let text = text(node)?;
        let (db, table) = text.split_once('.').unwrap_or((default_database, &text));
        Ok((database(&Node::Text(db.to_owned()))?, name(table)?))
    }
}

/// An ORDER BY list: it becomes part of a `CREATE TABLE`, so it must be one whole expression.
pub(crate) fn order_by(node: &Node) -> Result<String, String> {
    let text = text(node)?;
    let mut depth = 0_i32;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            c if c.is_ascii_alphanumeric() || "_,. `+-*/%".contains(c) => {}
            c => return Err(format!("{text:?} holds {c:?} (columns and simple functions of them only)")),
        }
        if depth < 0 {
            break;
        }
    }
    let comment = text.contains("--") || text.contains("/*");
    if depth != 0 || comment || text.matches('`').count() % 2 == 1 {
        return Err(format!(
            "{text:?} is not an ORDER BY list (unbalanced brackets or quotes, or a comment)"
        ));
    }
    Ok(text)
}
