//! What a failure means: a table of states and kinds of failure, in one place.
//!
//! An answer nobody foresaw waits, says so, and throws nothing away.

use crate::state::MoveState;

/// What went wrong in a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The hot engine does not answer, or an answer was lost.
    #[error("hot engine: {0}")]
    HotAway(String),
    /// The NAS does not answer, or an answer was lost.
    #[error("NAS: {0}")]
    NasAway(String),
    /// The hot engine refuses with something that nobody foresaw.
    #[error("hot engine: {0}")]
    HotRefuses(String),
    /// The NAS, or something in between, refuses with something that nobody foresaw.
    #[error("NAS: {0}")]
    NasRefuses(String),
    /// Something between here and the NAS does not let us in.
    #[error("NAS: {0}")]
    Denied(String),
    /// A disk is full.
    #[error("{0}")]
    Full(String),
    /// The NAS obeys another catalog.
    #[error("NAS: {0}")]
    Stale(String),
    /// The cold table is not the one the batches are in, or another gateway answers.
    #[error("NAS: {0}")]
    ColdReplaced(String),
    /// The head is another table, or on another server, than the move was opened on.
    #[error("{0}")]
    HeadReplaced(String),
    /// The head's columns or keys have changed.
    #[error("{0}")]
    Schema(String),
    /// The head cannot be managed any more, or the table has left the configuration.
    #[error("{0}")]
    Unmanaged(String),
    /// A batch's id is spent, or its bytes are wrong or lost.
    #[error("{0}")]
    Spent(String),
    /// What was asked of the mover itself cannot be done.
    #[error("{0}")]
    Refused(String),
    /// A slice has no rows.
    #[error("no rows")]
    NoRows,
    /// The journal or the spool's disk.
    #[error("{0}")]
    Local(String),
}

/// Why a step did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// A call failed.
    Trouble(Trouble),
    /// It has to wait, and knows for what.
    Wait(Wait),
}

impl From<Trouble> for StepError {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// What is waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wait {
    /// In words; empty: nothing worth telling (it is short, and planned).
    pub what: String,
    /// What would help.
    pub help: String,
    /// An operator has to decide.
    pub operator: bool,
    /// Queries of the window are refused meanwhile.
    pub unsafe_to_read: bool,
    /// Look again after so long; 0: by growing pauses.
    pub pause_ms: u64,
}

impl Wait {
    /// A short, planned pause.
    pub fn pause(ms: u64) -> StepError {
        StepError::Wait(Self { pause_ms: ms, ..Self::default() })
    }

    /// For something that passes.
    pub fn passing(what: impl Into<String>, help: impl Into<String>) -> StepError {
        StepError::Wait(Self { what: what.into(), help: help.into(), ..Self::default() })
    }

    /// For an operator.
    pub fn operator(what: impl Into<String>, unsafe_to_read: bool) -> StepError {
        const HELP: &str = "decide with `storagectl move keep-hot ID` or `storagectl move keep-cold ID`";
        StepError::Wait(Self {
            what: what.into(),
            help: HELP.into(),
            operator: true,
            unsafe_to_read,
            ..Self::default()
        })
    }
}

/// What is done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Try again with growing pauses; the help for an operator.
    Wait(&'static str),
    /// The rows of the batch go again under a new id.
    Replace,
    /// See what answers to the head's name now.
    Compare,
    /// The cold copy is not what it should be: see whether the head has it all.
    Damaged,
    /// See whether the head's new columns can be lived with.
    Adapt,
    /// Queries of the move's window are refused until it passes.
    Refuse(&'static str),
}

/// The table.
pub fn response(state: MoveState, trouble: &Trouble) -> Response {
    use MoveState::{Planned, Published, Reclaiming};
    match (trouble, state) {
        (Trouble::HotAway(_), _) => Response::Wait("start the hot engine"),
        (Trouble::NasAway(_), _) => Response::Wait("see that the NAS, its ClickHouse and the link are up"),
        (Trouble::HotRefuses(_), _) => Response::Wait("see what the hot engine's log says"),
        (Trouble::NasRefuses(_), _) => Response::Wait("see what the gateway's log says"),
        (Trouble::Denied(_), _) => {
            Response::Wait("make the tokens of both sides, and of a proxy between them, agree")
        }
        (Trouble::Refused(_), _) => Response::Wait("see what the move waits for"),
        (Trouble::Full(_), _) => Response::Wait("make room on that disk"),
        (Trouble::Local(_), _) => Response::Wait("see to the disk of service.data_dir"),
        (Trouble::Stale(_), _) => Response::Wait("stop the other storage-service, then restart this one"),
        (Trouble::ColdReplaced(_), Published | Reclaiming) => {
            Response::Refuse("bring the cold table back, or the gateway that has it")
        }
        (Trouble::ColdReplaced(_), _) => {
            Response::Wait("bring the cold table back, or the gateway that has it")
        }
        (Trouble::HeadReplaced(_), _) => Response::Compare,
        (Trouble::Schema(_), Planned | Published | Reclaiming) => Response::Adapt,
        (Trouble::Schema(_), _) => Response::Wait("bring back the columns that the move was opened with"),
        (Trouble::Unmanaged(_), _) => Response::Wait("make the table one that can be managed"),
        (Trouble::Spent(_) | Trouble::NoRows, Planned) => Response::Replace,
        (Trouble::Spent(_), Published) => Response::Damaged,
        (Trouble::Spent(_) | Trouble::NoRows, _) => Response::Wait("see what the gateway's log says"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_foresaw_waits_in_every_state() {
        let text = || "x".to_owned();
        for state in MoveState::ALL {
            for trouble in [
                Trouble::HotRefuses(text()),
                Trouble::NasRefuses(text()),
                Trouble::Denied(text()),
                Trouble::Full(text()),
                Trouble::Local(text()),
                Trouble::HotAway(text()),
                Trouble::NasAway(text()),
            ] {
                assert!(matches!(response(*state, &trouble), Response::Wait(help) if !help.is_empty()));
            }
        }
    }
}
