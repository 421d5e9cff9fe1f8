//! What a decoder may still allocate for one row group.

use crate::DecodeError;

/// Bytes left; see [`crate::format::MAX_GROUP_BYTES`].
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { left: limit, limit }
    }

    /// Before allocating `count` values of `width` bytes.
    pub(crate) fn spend(&mut self, count: usize, width: usize) -> Result<(), DecodeError> {
        let left = count.checked_mul(width).and_then(|bytes| self.left.checked_sub(bytes));
        self.left = left.ok_or(DecodeError::TooLarge { limit_bytes: self.limit as u64 })?;
        Ok(())
    }

    /// Takes back what was only for the while of a decoding step.
    pub(crate) fn release(&mut self, count: usize, width: usize) {
        self.left = self.left.saturating_add(count.saturating_mul(width)).min(self.limit);
    }

    /// Bytes left.
    pub(crate) fn left(&self) -> usize {
        self.left
    }
}
