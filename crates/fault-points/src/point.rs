//! The points themselves: one line for each, from which follow its name, its daemon and [`Point::ALL`].

use std::fmt;

/// The program that reaches a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Daemon {
    /// storage-service.
    Service,
    /// storage-gateway.
    Gateway,
}

macro_rules! points {
    ($($daemon:ident { $($point:ident = $name:literal,)* })*) => {
        /// A moment at which a crash means something else than one line earlier.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point {
            $($(
                #[doc = concat!("`", $name, "`")]
                $point,
            )*)*
        }

        impl Point {
            /// Every point there is.
            pub const ALL: &'static [Self] = &[$($(Self::$point,)*)*];

            /// Lower-case words joined by dots; the file that holds a daemon there is called so.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$point => $name,)*)*
                }
            }

            /// Who reaches it.
            #[must_use]
            pub const fn daemon(self) -> Daemon {
                match self {
                    $($(Self::$point => Daemon::$daemon,)*)*
                }
            }
        }
    };
}

points! {
    Service {
        MoveSnapshotBeforeJournal = "move.snapshot.before_journal",
        MoveSnapshotAfterJournal = "move.snapshot.after_journal",
        MoveSnapshotAfterEffect = "move.snapshot.after_effect",
        MoveSnapshotAfterResult = "move.snapshot.after_result",
        MoveEncodeBeforeJournal = "move.encode.before_journal",
        MoveEncodeAfterJournal = "move.encode.after_journal",
        MoveEncodeAfterEffect = "move.encode.after_effect",
        MoveEncodeAfterResult = "move.encode.after_result",
        MoveSendBeforeJournal = "move.send.before_journal",
        MoveSendAfterJournal = "move.send.after_journal",
        MoveSendAfterEffect = "move.send.after_effect",
        MoveSendAfterResult = "move.send.after_result",
        MoveCommitBeforeJournal = "move.commit.before_journal",
        MoveCommitAfterJournal = "move.commit.after_journal",
        MoveCommitAfterEffect = "move.commit.after_effect",
        MoveCommitAfterResult = "move.commit.after_result",
        MoveFenceBeforeJournal = "move.fence.before_journal",
        MoveFenceAfterJournal = "move.fence.after_journal",
        MoveFencePartDropped = "move.fence.part_dropped",
        MoveFenceAfterEffect = "move.fence.after_effect",
        MoveFenceAfterResult = "move.fence.after_result",
        MovePublishBeforeJournal = "move.publish.before_journal",
        MovePublishAfterJournal = "move.publish.after_journal",
        MovePublishAfterEffect = "move.publish.after_effect",
        MovePublishAfterResult = "move.publish.after_result",
        MoveReproveBeforeJournal = "move.reprove.before_journal",
        MoveReproveAfterJournal = "move.reprove.after_journal",
        MoveReproveAfterEffect = "move.reprove.after_effect",
        MoveReproveAfterResult = "move.reprove.after_result",
        MoveReclaimBeforeJournal = "move.reclaim.before_journal",
        MoveReclaimAfterJournal = "move.reclaim.after_journal",
        MoveReclaimAfterEffect = "move.reclaim.after_effect",
        MoveReclaimAfterResult = "move.reclaim.after_result",
    }
    Gateway {
        GatewayManifestBeforeJournal = "gateway.manifest.before_journal",
        GatewayManifestAfterJournal = "gateway.manifest.after_journal",
        GatewayChunkAfterWrite = "gateway.chunk.after_write",
        GatewayCommitBeforeJournal = "gateway.commit.before_journal",
        GatewayCommitAfterJournal = "gateway.commit.after_journal",
        GatewayLoadAfterEffect = "gateway.load.after_effect",
        GatewayProveAfterEffect = "gateway.prove.after_effect",
        GatewayAttachBeforeEffect = "gateway.attach.before_effect",
        GatewayAttachPartitionMoved = "gateway.attach.partition_moved",
        GatewayAttachAfterEffect = "gateway.attach.after_effect",
        GatewayCommitAfterReplyState = "gateway.commit.after_reply_state",
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A step of a move in storage-service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Hard links to the rows.
    Snapshot,
    /// A batch into the spool.
    Encode,
    /// A batch to the gateway.
    Send,
    /// The gateway's proof of a batch.
    Commit,
    /// The rows out of the head.
    Fence,
    /// Cold becomes the visible copy.
    Publish,
    /// The second proof.
    Reprove,
    /// The hot copy is dropped.
    Reclaim,
}

/// A moment that every step of a move has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Before the intent is in the journal.
    BeforeJournal,
    /// The intent is in the journal, nothing is done.
    AfterJournal,
    /// It is done.
    AfterEffect,
    /// That it is done is in the journal.
    AfterResult,
}

impl Point {
    /// The point of a step of a move.
    #[must_use]
    pub const fn of_move(step: Step, moment: Moment) -> Self {
        match (step, moment) {
            (Step::Snapshot, Moment::BeforeJournal) => Self::MoveSnapshotBeforeJournal,
            (Step::Snapshot, Moment::AfterJournal) => Self::MoveSnapshotAfterJournal,
            (Step::Snapshot, Moment::AfterEffect) => Self::MoveSnapshotAfterEffect,
            (Step::Snapshot, Moment::AfterResult) => Self::MoveSnapshotAfterResult,
            (Step::Encode, Moment::BeforeJournal) => Self::MoveEncodeBeforeJournal,
            (Step::Encode, Moment::AfterJournal) => Self::MoveEncodeAfterJournal,
            (Step::Encode, Moment::AfterEffect) => Self::MoveEncodeAfterEffect,
            (Step::Encode, Moment::AfterResult) => Self::MoveEncodeAfterResult,
            (Step::Send, Moment::BeforeJournal) => Self::MoveSendBeforeJournal,
            (Step::Send, Moment::AfterJournal) => Self::MoveSendAfterJournal,
            (Step::Send, Moment::AfterEffect) => Self::MoveSendAfterEffect,
            (Step::Send, Moment::AfterResult) => Self::MoveSendAfterResult,
            (Step::Commit, Moment::BeforeJournal) => Self::MoveCommitBeforeJournal,
            (Step::Commit, Moment::AfterJournal) => Self::MoveCommitAfterJournal,
            (Step::Commit, Moment::AfterEffect) => Self::MoveCommitAfterEffect,
            (Step::Commit, Moment::AfterResult) => Self::MoveCommitAfterResult,
            (Step::Fence, Moment::BeforeJournal) => Self::MoveFenceBeforeJournal,
            (Step::Fence, Moment::AfterJournal) => Self::MoveFenceAfterJournal,
            (Step::Fence, Moment::AfterEffect) => Self::MoveFenceAfterEffect,
            (Step::Fence, Moment::AfterResult) => Self::MoveFenceAfterResult,
            (Step::Publish, Moment::BeforeJournal) => Self::MovePublishBeforeJournal,
            (Step::Publish, Moment::AfterJournal) => Self::MovePublishAfterJournal,
            (Step::Publish, Moment::AfterEffect) => Self::MovePublishAfterEffect,
            (Step::Publish, Moment::AfterResult) => Self::MovePublishAfterResult,
            (Step::Reprove, Moment::BeforeJournal) => Self::MoveReproveBeforeJournal,
            (Step::Reprove, Moment::AfterJournal) => Self::MoveReproveAfterJournal,
            (Step::Reprove, Moment::AfterEffect) => Self::MoveReproveAfterEffect,
            (Step::Reprove, Moment::AfterResult) => Self::MoveReproveAfterResult,
            (Step::Reclaim, Moment::BeforeJournal) => Self::MoveReclaimBeforeJournal,
            (Step::Reclaim, Moment::AfterJournal) => Self::MoveReclaimAfterJournal,
            (Step::Reclaim, Moment::AfterEffect) => Self::MoveReclaimAfterEffect,
            (Step::Reclaim, Moment::AfterResult) => Self::MoveReclaimAfterResult,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_are_names_of_files() {
        let names: BTreeSet<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
        let fits = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
        assert!(names.iter().all(|name| name.chars().all(fits) && name.split('.').count() == 3), "{names:?}");
    }

    #[test]
    fn a_name_begins_with_what_its_daemon_does() {
        for point in Point::ALL {
            let begins = match point.daemon() {
                Daemon::Service => "move.",
                Daemon::Gateway => "gateway.",
            };
            assert!(point.name().starts_with(begins), "{point} of {:?}", point.daemon());
        }
    }

    #[test]
    fn steps_and_moments_are_the_service_s_points() {
        use Moment::{AfterEffect, AfterJournal, AfterResult, BeforeJournal};
        use Step::{Commit, Encode, Fence, Publish, Reclaim, Reprove, Send, Snapshot};
        let mut points = BTreeSet::from([Point::MoveFencePartDropped]);
        for step in [Snapshot, Encode, Send, Commit, Fence, Publish, Reprove, Reclaim] {
            for (moment, ends) in [
                (BeforeJournal, "before_journal"),
                (AfterJournal, "after_journal"),
                (AfterEffect, "after_effect"),
                (AfterResult, "after_result"),
            ] {
                let point = Point::of_move(step, moment);
                let name = format!("move.{}.{ends}", format!("{step:?}").to_lowercase());
                assert_eq!(point.name(), name);
                points.insert(point);
            }
        }
        let service: BTreeSet<_> =
            Point::ALL.iter().copied().filter(|point| point.daemon() == Daemon::Service).collect();
        assert_eq!(points, service);
    }
}
