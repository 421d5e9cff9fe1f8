//! The catalog as the journal of moves.

use moves::{
    Book, Change, Trouble,
    world::{Answer, Journal},
};
use storage_types::TimeRange;

use crate::catalog::Catalog;

impl Journal for Catalog {
    fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        Self::read(self, look)
    }

    fn commit(&self, changes: Vec<Change>) -> Answer<u64> {
        Self::commit(self, changes).map_err(|error| Trouble::Local(error.to_string()))
    }

    fn is_drained(&self, logical: &str, range: TimeRange, version: u64) -> bool {
        Self::is_drained(self, logical, range, version)
    }

    fn catalog(&self) -> u64 {
        self.id()
    }
}
