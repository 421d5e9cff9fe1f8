//! Reading one section of the tree: every key asked for is known, everything else is an error, and
//! no error stops the reading.
//!
//! A key that is wrong yields its default, so that reading goes on; the result is thrown away as
//! soon as there is one error.

use std::cell::RefCell;

use crate::{
    error::ConfigError,
    node::{Node, Step, line_of, path_text},
};

/// What was wrong, with the way there.
pub(crate) struct Problems {
    found: RefCell<Vec<(Vec<Step>, String)>>,
}

impl Problems {
    pub(crate) fn new() -> Self {
        Self { found: RefCell::new(Vec::new()) }
    }

    pub(crate) fn add(&self, at: Vec<Step>, message: impl Into<String>) {
        self.found.borrow_mut().push((at, message.into()));
    }

    /// The problems with their lines in `text`, in the order of lines.
    pub(crate) fn into_errors(self, text: &str) -> Vec<ConfigError> {
        let mut errors: Vec<ConfigError> = self
            .found
            .into_inner()
            .into_iter()
            .map(|(at, message)| ConfigError { line: line_of(text, &at), path: path_text(&at), message })
            .collect();
        errors.sort_by_key(|e| e.line);
        errors
    }
}

/// One section (mapping) of the file.
pub(crate) struct Section<'a> {
    problems: &'a Problems,
    at: Vec<Step>,
    entries: &'a [(String, Node)],
    /// Something else stands where the section should be: what it lacks is not worth a word.
    broken: bool,
    known: RefCell<Vec<&'static str>>,
}

const EMPTY: &[(String, Node)] = &[];

impl<'a> Section<'a> {
    pub(crate) fn new(problems: &'a Problems, at: Vec<Step>, node: &'a Node) -> Self {
        let entries = match node {
            Node::Map(entries) => entries.as_slice(),
            Node::Null => EMPTY,
            other => {
                let message = format!("expected a section, found {} (write keys and values)", other.kind());
                problems.add(at.clone(), message);
                EMPTY
            }
        };
        let broken = !matches!(node, Node::Map(_) | Node::Null);
        Self { problems, at, entries, broken, known: RefCell::new(Vec::new()) }
    }

    /// The way to `key`.
    pub(crate) fn at(&self, key: &str) -> Vec<Step> {
        let mut at = self.at.clone();
        at.push(Step::key(key));
        at
    }

    /// Reports something about `key`.
    pub(crate) fn problem(&self, key: &str, message: impl Into<String>) {
        self.problems.add(self.at(key), message);
    }

    /// Reports something about the place `at`, which came from [`Self::list`].
    pub(crate) fn problem_at(&self, at: Vec<Step>, message: impl Into<String>) {
        self.problems.add(at, message);
    }

    /// The section that is the element `node` at `at`, which came from [`Self::list`].
    pub(crate) fn child(&self, at: Vec<Step>, node: &'a Node) -> Section<'a> {
        Section::new(self.problems, at, node)
    }

    /// The value of `key`; a key without a value counts as absent.
    pub(crate) fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.known.borrow_mut().push(key);
        self.entries.iter().find(|(k, _)| k == key).map(|(_, node)| node).filter(|node| **node != Node::Null)
    }

    /// The section under `key`; empty when it is not there.
    pub(crate) fn section(&self, key: &'static str) -> Section<'a> {
        let node = self.node(key).unwrap_or(&Node::Null);
        let mut section = Section::new(self.problems, self.at(key), node);
        section.broken |= self.broken;
        section
    }

    /// The elements under `key`, each with its way; none when it is not there.
    pub(crate) fn list(&self, key: &'static str) -> Vec<(Vec<Step>, &'a Node)> {
        match self.node(key) {
            None => Vec::new(),
            Some(Node::List(items)) => items
                .iter()
                .enumerate()
                .map(|(n, item)| {
                    let mut at = self.at(key);
                    at.push(Step::Index(n));
                    (at, item)
                })
                .collect(),
            Some(other) => {
                self.problem(key, format!("expected a list, found {} (write [a, b])", other.kind()));
                Vec::new()
            }
        }
    }

    /// `key` by `parse`; `None` when it is absent or wrong (which is reported).
    pub(crate) fn opt<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.node(key)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }

    /// As [`Self::opt`], with a default.
    pub(crate) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> T {
        self.opt(key, parse).unwrap_or(default)
    }

    /// As [`Self::opt`], but absence is an error too.
    pub(crate) fn must<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        if self.node(key).is_none() && !self.broken {
            self.problem(key, "is missing (it has no default)");
        }
        self.opt(key, parse)
    }

    /// A secret must not stand in the file itself; says whether one did.
    pub(crate) fn forbid_inline(&self, key: &'static str, instead: &str) -> bool {
        let inline = self.entries.iter().any(|(k, _)| k == key);
        if inline {
            self.known.borrow_mut().push(key);
            self.problem(
                key,
                format!("secrets come from files only (write it into a file and name it as `{instead}`)"),
            );
        }
        inline
    }

    /// To be called last: reports unknown keys and keys given twice.
    pub(crate) fn finish(self) {
        let known = self.known.borrow();
        for (n, (key, _)) in self.entries.iter().enumerate() {
            let nth = self.entries[..n].iter().filter(|(k, _)| k == key).count();
            let mut at = self.at.clone();
            at.push(Step::Key { key: key.clone(), nth });
            if !known.contains(&key.as_str()) {
                self.problems.add(at, format!("unknown key ({})", wireguard::suggestion(key, &known)));
            } else if nth > 0 {
                self.problems.add(at, "is given twice (keep one)");
            }
        }
    }
}
