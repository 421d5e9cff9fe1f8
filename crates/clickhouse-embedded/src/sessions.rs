//! Sessions: connections that outlive their request, so that `SET` and temporary tables stick.
//!
//! A session runs one query at a time; a second one is refused at once (373), as in ClickHouse. An idle
//! session ends after its timeout (60 s unless the request says otherwise, an hour at most): its connection
//! is closed. Their number is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::chdb::RawConnection;
use crate::engine::Engine;
use crate::failure::{Failure, code};

/// A session's timeout when a request names none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest timeout that a request may name.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// Sessions at once.
const MAX_SESSIONS: usize = 1000;

enum Entry {
    Busy,
    Idle { connection: RawConnection, tag: String, expires: Instant },
}

/// All sessions.
#[derive(Default)]
pub struct Sessions {
    entries: Mutex<HashMap<String, Entry>>,
}

/// Reads `session_timeout`.
///
/// # Errors
/// 374 when it is no number of seconds, or too large.
pub fn timeout(asked: Option<&str>) -> Result<Duration, Failure> {
    let Some(asked) = asked else { return Ok(DEFAULT_TIMEOUT) };
    match asked.parse().map(Duration::from_secs) {
        Ok(timeout) if timeout <= MAX_TIMEOUT => Ok(timeout),
        Ok(_) => Err(Failure::new(
            code::INVALID_SESSION_TIMEOUT,
            format!(
                "Session timeout '{asked}' is larger than max_session_timeout: {}",
                MAX_TIMEOUT.as_secs()
            ),
        )),
        Err(_) => {
            Err(Failure::new(code::INVALID_SESSION_TIMEOUT, format!("Invalid session timeout: '{asked}'")))
        }
    }
}

impl Sessions {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes session `id` for one query, opening it unless `check` says that it must exist.
    ///
    /// # Errors
    /// 373 while it runs another query, 372 when it must exist and does not, 202 when there are too many.
    pub fn take(
        self: &Arc<Self>,
        engine: &Engine,
        id: &str,
        timeout: Duration,
        check: bool,
    ) -> Result<Lease, Failure> {
        self.expire(Instant::now());
        let (connection, tag) = {
            let mut entries = self.entries();
            match entries.get(id) {
                Some(Entry::Busy) => {
                    let text = format!("Session {id} is locked by a concurrent client");
                    return Err(Failure::new(code::SESSION_IS_LOCKED, text));
                }
                None if check => {
                    return Err(Failure::new(code::SESSION_NOT_FOUND, format!("Session {id} not found")));
                }
                None if entries.len() >= MAX_SESSIONS => {
                    return Err(Failure::new(code::TOO_MANY_SIMULTANEOUS_QUERIES, "Too many sessions"));
                }
                Some(Entry::Idle { .. }) | None => {}
            }
            match entries.insert(id.to_owned(), Entry::Busy) {
                Some(Entry::Idle { connection, tag, .. }) => (Some(connection), tag),
                _ => (None, String::new()),
            }
        };
        // From here on the lease's drop cleans up, whatever happens.
        let mut lease = Lease { sessions: Arc::clone(self), id: id.to_owned(), timeout, connection, tag };
        if lease.connection.is_none() {
            lease.connection = Some(engine.connect()?);
        }
        Ok(lease)
    }

    /// Closes the sessions whose time is over at `now`.
    pub fn expire(&self, now: Instant) {
        let gone: Vec<Entry> = {
            let mut entries = self.entries();
            let ids: Vec<String> = entries
                .iter()
                .filter(|(_, entry)| matches!(entry, Entry::Idle { expires, .. } if *expires <= now))
                .map(|(id, _)| id.clone())
                .collect();
            ids.iter().filter_map(|id| entries.remove(id)).collect()
        };
        // Closing a connection drops its temporary tables: not under the lock.
        drop(gone);
    }

    /// Closes every idle session.
    pub fn close(&self) {
        let all: Vec<Entry> = self.entries().drain().map(|(_, entry)| entry).collect();
        drop(all);
    }
}

/// A session while it runs a query; goes back to the idle ones when dropped.
pub struct Lease {
    sessions: Arc<Sessions>,
    id: String,
    timeout: Duration,
    connection: Option<RawConnection>,
    /// The tag that the connection carries.
    pub tag: String,
}

impl Lease {
    /// The session's connection.
    pub fn connection(&mut self) -> Option<&mut RawConnection> {
        self.connection.as_mut()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut entries = self.sessions.entries();
        match self.connection.take() {
            Some(connection) => {
                let expires = Instant::now() + self.timeout;
                let tag = std::mem::take(&mut self.tag);
                entries.insert(std::mem::take(&mut self.id), Entry::Idle { connection, tag, expires });
            }
            None => drop(entries.remove(&self.id)),
        }
    }
}
