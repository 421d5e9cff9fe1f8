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
        MoveOpenBefore = "move.open.before",
        MoveOpenAfterJournal = "move.open.after_journal",
        MoveEncodeBefore = "move.encode.before",
        MoveEncodeAfterEffect = "move.encode.after_effect",
        MoveEncodeAfterJournal = "move.encode.after_journal",
        MoveSendBefore = "move.send.before",
        MoveSendAfterEffect = "move.send.after_effect",
        MoveSendAfterJournal = "move.send.after_journal",
        MoveProveBefore = "move.prove.before",
        MoveProveAfterEffect = "move.prove.after_effect",
        MoveProveAfterJournal = "move.prove.after_journal",
        MovePublishBefore = "move.publish.before",
        MovePublishAfterJournal = "move.publish.after_journal",
        MoveTellBefore = "move.tell.before",
        MoveTellAfterEffect = "move.tell.after_effect",
        MoveTellAfterJournal = "move.tell.after_journal",
        MoveReproveAfterEffect = "move.reprove.after_effect",
        MoveDeleteBefore = "move.delete.before",
        MoveDeleteBeforeEffect = "move.delete.before_effect",
        MoveDeletePartDropped = "move.delete.part_dropped",
        MoveDeleteAfterEffect = "move.delete.after_effect",
        MoveDeleteAfterJournal = "move.delete.after_journal",
        MoveFinishBefore = "move.finish.before",
        MoveFinishAfterJournal = "move.finish.after_journal",
        MoveRetireBefore = "move.retire.before",
        MoveRetireAfterEffect = "move.retire.after_effect",
        MoveRetireAfterJournal = "move.retire.after_journal",
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
    /// Which rows it means is fixed.
    Open,
    /// A batch into the spool.
    Encode,
    /// A batch to the gateway.
    Send,
    /// The gateway's proof of a batch.
    Prove,
    /// Cold becomes the visible copy.
    Publish,
    /// The gateway is told.
    Tell,
    /// The gateway's fresh proof before a deletion.
    Reprove,
    /// The rows out of the head.
    Delete,
    /// None are left there.
    Finish,
    /// The gateway retires batches.
    Retire,
}

/// A moment of a step; not every step has each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Before its first look.
    Before,
    /// The intent is in the journal, nothing is done.
    BeforeEffect,
    /// One part of several is dropped.
    PartDropped,
    /// It is done.
    AfterEffect,
    /// That it is done is in the journal.
    AfterJournal,
}

impl Point {
    /// The point of a step of a move, where it has one.
    #[must_use]
    pub const fn of_move(step: Step, moment: Moment) -> Option<Self> {
        match (step, moment) {
            (Step::Open, Moment::Before) => Some(Self::MoveOpenBefore),
            (Step::Open, Moment::AfterJournal) => Some(Self::MoveOpenAfterJournal),
            (Step::Encode, Moment::Before) => Some(Self::MoveEncodeBefore),
            (Step::Encode, Moment::AfterEffect) => Some(Self::MoveEncodeAfterEffect),
            (Step::Encode, Moment::AfterJournal) => Some(Self::MoveEncodeAfterJournal),
            (Step::Send, Moment::Before) => Some(Self::MoveSendBefore),
            (Step::Send, Moment::AfterEffect) => Some(Self::MoveSendAfterEffect),
            (Step::Send, Moment::AfterJournal) => Some(Self::MoveSendAfterJournal),
            (Step::Prove, Moment::Before) => Some(Self::MoveProveBefore),
            (Step::Prove, Moment::AfterEffect) => Some(Self::MoveProveAfterEffect),
            (Step::Prove, Moment::AfterJournal) => Some(Self::MoveProveAfterJournal),
            (Step::Publish, Moment::Before) => Some(Self::MovePublishBefore),
            (Step::Publish, Moment::AfterJournal) => Some(Self::MovePublishAfterJournal),
            (Step::Tell, Moment::Before) => Some(Self::MoveTellBefore),
            (Step::Tell, Moment::AfterEffect) => Some(Self::MoveTellAfterEffect),
            (Step::Tell, Moment::AfterJournal) => Some(Self::MoveTellAfterJournal),
            (Step::Reprove, Moment::AfterEffect) => Some(Self::MoveReproveAfterEffect),
            (Step::Delete, Moment::Before) => Some(Self::MoveDeleteBefore),
            (Step::Delete, Moment::BeforeEffect) => Some(Self::MoveDeleteBeforeEffect),
            (Step::Delete, Moment::PartDropped) => Some(Self::MoveDeletePartDropped),
            (Step::Delete, Moment::AfterEffect) => Some(Self::MoveDeleteAfterEffect),
            (Step::Delete, Moment::AfterJournal) => Some(Self::MoveDeleteAfterJournal),
            (Step::Finish, Moment::Before) => Some(Self::MoveFinishBefore),
            (Step::Finish, Moment::AfterJournal) => Some(Self::MoveFinishAfterJournal),
            (Step::Retire, Moment::Before) => Some(Self::MoveRetireBefore),
            (Step::Retire, Moment::AfterEffect) => Some(Self::MoveRetireAfterEffect),
            (Step::Retire, Moment::AfterJournal) => Some(Self::MoveRetireAfterJournal),
            _ => None,
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
        use Moment::{AfterEffect, AfterJournal, Before, BeforeEffect, PartDropped};
        use Step::{Delete, Encode, Finish, Open, Prove, Publish, Reprove, Retire, Send, Tell};
        let mut points = BTreeSet::new();
        for step in [Open, Encode, Send, Prove, Publish, Tell, Reprove, Delete, Finish, Retire] {
            for (moment, ends) in [
                (Before, "before"),
                (BeforeEffect, "before_effect"),
                (PartDropped, "part_dropped"),
                (AfterEffect, "after_effect"),
                (AfterJournal, "after_journal"),
            ] {
                let Some(point) = Point::of_move(step, moment) else { continue };
                assert_eq!(point.name(), format!("move.{}.{ends}", format!("{step:?}").to_lowercase()));
                points.insert(point);
            }
        }
        let service: BTreeSet<_> =
            Point::ALL.iter().copied().filter(|point| point.daemon() == Daemon::Service).collect();
        assert_eq!(points, service);
    }
}
