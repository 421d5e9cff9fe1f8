//! Tickets: how the hot engine's `url()` gets at a cold stream.
//!
//! The hot engine sends no token, so the ticket in the path is the authorisation: 128 random bits,
//! good for one GET, and only while the query it was issued for runs (the query revokes what is left
//! when it ends, however it ends). A second GET finds nothing, so an engine that retried could not
//! read rows twice. The number of tickets is bounded by running queries times cold reads per query.

use std::{collections::HashMap, fmt, str::FromStr, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::cold::ColdRead;

/// Name of one pending cold read: 32 hex digits in a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u128);

impl Ticket {
    fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A ticket is a secret: not for logs.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(***)")
    }
}

impl FromStr for Ticket {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(());
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| ())
    }
}

/// Every pending cold read.
#[derive(Debug, Default)]
pub struct Tickets {
    pending: Mutex<HashMap<Ticket, ColdRead>>,
}

impl Tickets {
    fn lock(&self) -> MutexGuard<'_, HashMap<Ticket, ColdRead>> {
        // A map of owned values is whole whatever a panicking holder did.
        self.pending.lock()
    }

    /// Issues a ticket for `read`.
    pub fn issue(&self, read: ColdRead) -> Ticket {
        let ticket = Ticket::random();
        self.lock().insert(ticket, read);
        ticket
    }

    /// Whether the ticket is good (HEAD).
    pub fn is_good(&self, ticket: Ticket) -> bool {
        self.lock().contains_key(&ticket)
    }

    /// Takes the read; the ticket is spent.
    pub fn redeem(&self, ticket: Ticket) -> Option<ColdRead> {
        self.lock().remove(&ticket)
    }

    /// Forgets a ticket that was not used.
    pub fn revoke(&self, ticket: Ticket) {
        // Dropped outside the lock: it may close a connection.
        let unused = self.lock().remove(&ticket);
        drop(unused);
    }

    /// Tickets not yet used.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// No ticket is out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tickets of one query; those unused are revoked when it is dropped, and open reads are stopped.
pub struct TicketBook {
    tickets: Arc<Tickets>,
    issued: Vec<Ticket>,
    stop: CancellationToken,
}

impl TicketBook {
    /// Of a query whose reads listen to `stop`.
    pub fn new(tickets: Arc<Tickets>, stop: CancellationToken) -> Self {
        Self { tickets, issued: Vec::new(), stop }
    }

    /// Issues a ticket for `read`.
    pub fn issue(&mut self, read: ColdRead) -> Ticket {
        let ticket = self.tickets.issue(read);
        self.issued.push(ticket);
        ticket
    }
}

impl Drop for TicketBook {
    fn drop(&mut self) {
        self.stop.cancel();
        for ticket in &self.issued {
            self.tickets.revoke(*ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_exactly_32_hex_digits() {
        let ticket = Ticket::random();
        assert_eq!(ticket.to_string().parse::<Ticket>(), Ok(ticket));
        for bad in ["", "../x", "0", "+0000000000000000000000000000000", "0000000000000000000000000000000G"] {
            assert!(bad.parse::<Ticket>().is_err(), "{bad:?}");
        }
        assert!(!format!("{ticket:?}").contains(&ticket.to_string()));
    }
}
