//! Exit codes: one table for both daemons, so that whoever starts them (systemd, a script) can tell
//! what passes by itself from what waits for a person.
//!
//! The codes are those of BSD's `sysexits.h` where it has one. clap ends the process with 2 on a wrong
//! command line, before there is anything to end.

use std::process::ExitCode;

use crate::sqlite::OpenError;

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to end and everything that ran has ended; or no more than a check was asked for.
    Clean,
    /// It could not start; the last line of its log says why. Starting again may help.
    Failed,
    /// `EX_DATAERR`: its journal was written by a newer version. Starting again does not help.
    NewerJournal,
    /// `EX_SOFTWARE`: one of its tasks died. Starting again helps.
    TaskDied,
    /// `EX_TEMPFAIL`: it was asked to end, and something was still running when the drain time was over;
    /// that is begun again after the next start.
    Undrained,
    /// `EX_CONFIG`: the configuration is wrong. Starting again does not help.
    Config,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failed => 1,
            Self::NewerJournal => 65,
            Self::TaskDied => 70,
            Self::Undrained => 75,
            Self::Config => 78,
        }
    }

    /// Of a daemon that could not start.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let newer = |cause: &OpenError| matches!(cause, OpenError::Newer { .. });
        let found = error.chain().filter_map(|cause| cause.downcast_ref()).any(newer);
        if found { Self::NewerJournal } else { Self::Failed }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_told_every_code_and_units_know_those_that_starting_again_does_not_mend() {
        let operations = include_str!("../../../docs/operations.md");
        let all =
            [Exit::Clean, Exit::Failed, Exit::NewerJournal, Exit::TaskDied, Exit::Undrained, Exit::Config];
        for exit in all {
            let row = format!("\n| {} | ", exit.code());
            assert!(operations.contains(&row), "{exit:?} is not in docs/operations.md");
        }
        let hopeless =
            format!("RestartPreventExitStatus={} {}\n", Exit::NewerJournal.code(), Exit::Config.code());
        for unit in [
            include_str!("../../../deploy/systemd/storage-service.service"),
            include_str!("../../../deploy/systemd/storage-gateway.service"),
        ] {
            assert!(unit.contains(&hopeless), "{unit}");
        }
    }

    #[test]
    fn a_newer_journal_is_found_below_what_was_being_done() {
        let newer = OpenError::Newer { file: "gateway.sqlite".into(), found: 9, known: 1 };
        let error = anyhow::Error::new(newer).context("open the journal");
        assert_eq!(Exit::of(&error), Exit::NewerJournal);
        assert_eq!(Exit::of(&anyhow::anyhow!("no address")), Exit::Failed);
    }
}
