//! What is written into the comment of every internal table, so that a catalog that was lost can be
//! rebuilt from the tables themselves.

use serde::{Deserialize, Serialize};
use storage_types::{MoveId, TimeRange};

use crate::catalog::MoveRecord;

/// Facts about a move that its manifests do not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotNote {
    /// The move.
    pub move_id: MoveId,
    /// Logical table.
    pub table: String,
    /// `partition`, `window` or `delta`.
    pub kind: String,
    /// Partition of the head.
    pub partition_id: String,
    /// Its value, for people.
    pub partition: String,
    /// The move's range when the table was made.
    pub range: TimeRange,
    /// The move whose delta it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_delta: Option<MoveId>,
}

impl SnapshotNote {
    /// Of this move.
    pub fn of(record: &MoveRecord) -> Self {
        Self {
            move_id: record.id,
            table: record.table.logical.clone(),
            kind: record.kind.as_str().to_owned(),
            partition_id: record.partition_id.clone(),
            partition: record.partition.clone(),
            range: record.range,
            source_delta: record.source_delta,
        }
    }

    /// As it stands in the comment.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From a comment; `None` when somebody else wrote it.
    pub fn parse(comment: &str) -> Option<Self> {
        serde_json::from_str(comment).ok()
    }
}
