//! What a decoder may still allocate for one row group.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::DecodeError;

/// Bytes left; see [`crate::format::MAX_GROUP_BYTES`]. The threads at work on a group share it.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { left: AtomicUsize::new(limit), limit }
    }

    /// Before allocating `count` values of `width` bytes.
    pub(crate) fn spend(&self, count: usize, width: usize) -> Result<(), DecodeError> {
        let spent = count.checked_mul(width).and_then(|bytes| self.change(|left| left.checked_sub(bytes)));
        spent.ok_or(DecodeError::TooLarge { limit_bytes: self.limit as u64 })
    }

    /// Takes back what was only for the while of a decoding step.
    pub(crate) fn release(&self, count: usize, width: usize) {
        let bytes = count.saturating_mul(width);
        self.change(|left| Some(left.saturating_add(bytes).min(self.limit)));
    }

    fn change(&self, to: impl Fn(usize) -> Option<usize>) -> Option<()> {
        // Only a count: nothing else is ordered by it.
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, to).ok().map(drop)
    }

    /// Bytes left.
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}
