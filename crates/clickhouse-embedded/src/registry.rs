//! Which queries run, by the id their callers know.
//!
//! The engine gives every statement an id of its own that cannot be set. Callers know theirs: it is
//! reported back, must be unique among what runs, and names the query in `KILL QUERY WHERE query_id = …`.
//! In the engine a statement carries a tag (see [`crate::engine`]), which is the caller's id except in a
//! session that made itself read-only, whose tag can no longer change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::engine::{TAG_SETTING, literal};
use crate::failure::{Failure, code};
use crate::statement::lexer::Lexer;

/// All running queries: id to tag, which is set once the statement has a connection.
#[derive(Default)]
pub struct Registry {
    running: Mutex<HashMap<String, Arc<OnceLock<String>>>>,
}

/// A query's entry; removed on drop.
pub struct Entry {
    registry: Arc<Registry>,
    id: String,
    tag: Arc<OnceLock<String>>,
}

impl Registry {
    fn running(&self) -> MutexGuard<'_, HashMap<String, Arc<OnceLock<String>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters query `id`.
    ///
    /// # Errors
    /// 216 while a query of this id runs.
    pub fn enter(self: &Arc<Self>, id: &str) -> Result<Entry, Failure> {
        let tag = Arc::new(OnceLock::new());
        let mut running = self.running();
        if running.contains_key(id) {
            let text = format!("Query with id = {id} is already running");
            return Err(Failure::new(code::QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING, text));
        }
        running.insert(id.to_owned(), Arc::clone(&tag));
        Ok(Entry { registry: Arc::clone(self), id: id.to_owned(), tag })
    }

    /// `text`, a KILL, with `query_id` meaning the callers' ids.
    #[must_use]
    pub fn translate(&self, text: &[u8]) -> Vec<u8> {
        let (tags, ids): (Vec<String>, Vec<String>) = self
            .running()
            .iter()
            .filter_map(|(id, tag)| tag.get().filter(|tag| *tag != id).map(|tag| (literal(tag), literal(id))))
            .unzip();
        let tag = format!("Settings['{TAG_SETTING}']");
        let expression = if ids.is_empty() {
            tag
        } else {
            format!("transform({tag}, [{}], [{}], {tag})", tags.join(", "), ids.join(", "))
        };
        let mut translated = Vec::with_capacity(text.len() + expression.len());
        let mut copied = 0;
        for token in Lexer::new(text) {
            let quoted = matches!(&text[token.start..token.end], b"`query_id`" | b"\"query_id\"");
            if token.is(text, "query_id") || quoted {
                translated.extend_from_slice(&text[copied..token.start]);
                translated.extend_from_slice(expression.as_bytes());
                copied = token.end;
            }
        }
        translated.extend_from_slice(&text[copied..]);
        translated
    }
}

impl Entry {
    /// The caller's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the statement's tag will be.
    #[must_use]
    pub fn tag(&self) -> Arc<OnceLock<String>> {
        Arc::clone(&self.tag)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.running().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_runs_once() {
        let registry = Arc::new(Registry::default());
        let first = registry.enter("a").unwrap();
        assert_eq!(registry.enter("a").err().map(|failure| failure.code), Some(216));
        drop(first);
        assert!(registry.enter("a").is_ok());
    }

    #[test]
    fn a_kill_means_the_callers_ids() {
        let registry = Arc::new(Registry::default());
        let kill = b"KILL QUERY WHERE query_id = 'query_id' AND user = 'u' SYNC";
        let plain = String::from_utf8(registry.translate(kill)).unwrap();
        assert_eq!(
            plain,
            format!("KILL QUERY WHERE Settings['{TAG_SETTING}'] = 'query_id' AND user = 'u' SYNC")
        );
        let entry = registry.enter("b").unwrap();
        entry.tag().set("other".into()).unwrap();
        let mapped = String::from_utf8(registry.translate(kill)).unwrap();
        assert!(mapped.contains("['other'], ['b']"), "{mapped}");
    }
}
