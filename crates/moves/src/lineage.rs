//! What became of rows, told from the parts that held them.
//!
//! A part's block numbers say where it comes from: merges and mutations make a part that spans the numbers of
//! what it replaces, inserts and attaches make one with new numbers. So for each part with rows of a move it
//! is known how many rows, and which hash, it should have, and whether what is missing went with whole
//! parts (`DROP PARTITION`, `DETACH`, a TTL) or was taken out of them by a mutation.

use std::cmp::Ordering;

use storage_types::Proof;

use crate::{
    record::{PartLook, sum},
    sabotage::{Rule, holds},
    world::Changes,
};

/// Of so many parts that were merged into one, every choice is tried.
const MANY_PARTS: usize = 12;

/// How the head's rows of a move differ from what they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Difference {
    /// Some left the head otherwise than by a mutation: the archive is what is left of them.
    pub gone: bool,
    /// Some were changed or deleted by a mutation: the head is right.
    pub changed: bool,
    /// There are more: parts with old block numbers were attached.
    pub grown: bool,
}

impl Difference {
    /// The rows are what they were.
    pub const NONE: Self = Self { gone: false, changed: false, grown: false };

    /// Every row that was there is there, or was changed on purpose.
    pub const fn is_whole(self) -> bool {
        !self.gone
    }
}

/// Compares parts `then` and `now`. Hashes count where both have one. Where a mutation of somebody else that
/// deletes rows may have run in between, a part that is gone may have gone either way; where a TTL may have
/// taken rows as well, so may single rows. `shifts`: updates can give rows another time, and so take all rows of a
/// part out of the window.
pub fn compare(then: &[PartLook], now: &[PartLook], changes: &Changes, shifts: bool) -> Difference {
    let deletes = changes.deletes;
    let hashed = |parts: &[PartLook]| parts.iter().any(|part| part.proof.content_hash.0 != 0);
    let by_hash = hashed(then) && hashed(now);
    if by_hash && sum(then) == sum(now) {
        return Difference::NONE;
    }
    let mut found = Difference::NONE;
    let mut accounted = vec![false; then.len()];
    for part in now {
        let (mut expected, mut known) = (Proof::default(), 0);
        for (n, old) in then.iter().enumerate() {
            if !accounted[n] && same_partition(old, part) && within(old.blocks, part.blocks) {
                accounted[n] = true;
                expected = expected.plus(old.proof);
                known = known.max(version(old));
            }
        }
        let rewritten = version(part) != known;
        match part.proof.rows.cmp(&expected.rows) {
            // An update may have given them another time: they are in the head still, outside the window.
            Ordering::Less if !deletes => {
                found.gone = true;
                found.changed |= changes.latest > 0 || rewritten;
            }
            Ordering::Less => {
                found.changed = true;
                found.gone |= changes.expires && holds(Rule::Expires);
            }
            Ordering::Greater => found.grown = true,
            Ordering::Equal if by_hash => found.changed |= part.proof != expected,
            Ordering::Equal => found.changed |= rewritten,
        }
    }
    if then.iter().zip(&accounted).any(|(part, accounted)| !accounted && part.proof.rows > 0) {
        found.gone = true;
        found.changed |= deletes || (shifts && changes.latest > 0);
    }
    found
}

/// Whether `now` is what a deletion has left of the parts `then`, both hashed: each part holds the rows of some of
/// those that it spans. Rows that were added are not there, whatever was deleted beside them. Where very many were
/// merged that cannot be told from hashes: then they are no more than there were, in a table in which no update can
/// give a row another time.
pub fn is_rest(then: &[PartLook], now: &[PartLook], shifts: bool) -> bool {
    now.iter().all(|part| {
        let spanned = then.iter().filter(|old| same_partition(old, part) && within(old.blocks, part.blocks));
        let spanned: Vec<Proof> = spanned.map(|old| old.proof).collect();
        let whole: Proof = spanned.iter().copied().sum();
        let few = spanned.len() <= MANY_PARTS;
        let fits = !shifts && part.proof.rows <= whole.rows;
        whole == part.proof || if few { some_add_up(&spanned, part.proof) } else { fits }
    })
}

/// Whether some of them make this sum.
fn some_add_up(proofs: &[Proof], sum: Proof) -> bool {
    (0_u32..1 << proofs.len()).any(|some| {
        let chosen = proofs.iter().enumerate().filter(|(n, _)| some >> n & 1 == 1);
        chosen.map(|(_, proof)| *proof).sum::<Proof>() == sum
    })
}

fn within(inner: (u64, u64), outer: (u64, u64)) -> bool {
    outer.0 <= inner.0 && inner.1 <= outer.1
}

/// The version in the name: the number of the latest mutation or merged patch, whoever asked for it; 0: none.
fn version(part: &PartLook) -> u64 {
    let (min, max) = part.blocks;
    let numbers = part.part.split_once(&format!("_{min}_{max}_")).map(|(_, numbers)| numbers);
    numbers
        .and_then(|numbers| numbers.split_once('_'))
        .and_then(|(_, version)| version.parse().ok())
        .unwrap_or(0)
}

/// The name up to the block numbers.
fn same_partition(a: &PartLook, b: &PartLook) -> bool {
    partition(a).is_some() && partition(a) == partition(b)
}

fn partition(part: &PartLook) -> Option<&str> {
    part.part.find(&format!("_{}_{}_", part.blocks.0, part.blocks.1)).and_then(|at| part.part.get(..at))
}

#[cfg(test)]
mod tests {
    use storage_types::ContentHash;

    use super::*;

    fn compare(then: &[PartLook], now: &[PartLook], changes: &Changes) -> Difference {
        super::compare(then, now, changes, false)
    }

    fn part(name: &str, blocks: (u64, u64), rows: u64, hash: u128) -> PartLook {
        let proof = Proof { rows, content_hash: ContentHash(hash) };
        PartLook { part: name.into(), blocks, rows_in_part: rows, proof }
    }

    const NOTHING: Changes =
        Changes { pending: None, defaults: false, deletes: false, expires: false, latest: 0 };
    const DELETES: Changes = Changes { deletes: true, ..NOTHING };
    const BOTH: Changes = Changes { expires: true, ..DELETES };
    const UPDATES: Changes = Changes { latest: 7, ..NOTHING };
    const GONE: Difference = Difference { gone: true, ..Difference::NONE };
    const CHANGED: Difference = Difference { changed: true, ..Difference::NONE };
    const GROWN: Difference = Difference { grown: true, ..Difference::NONE };
    const MIXED: Difference = Difference { gone: true, changed: true, grown: false };

    #[test]
    fn merges_and_renames_are_no_change() {
        let then = [part("p_1_1_0", (1, 1), 5, 50), part("p_2_2_0", (2, 2), 3, 30)];
        assert_eq!(compare(&then, &[part("p_1_9_2_11", (1, 9), 8, 80)], &DELETES), Difference::NONE);
        assert_eq!(compare(&then, &[part("p_1_9_2", (1, 9), 8, 0)], &NOTHING), Difference::NONE);
    }

    #[test]
    fn whole_parts_that_are_gone_are_told_from_changed_ones() {
        let then = [part("p_1_1_0", (1, 1), 5, 50), part("p_2_2_0", (2, 2), 3, 30)];
        let kept = part("p_2_2_0", (2, 2), 3, 30);
        assert_eq!(compare(&then, std::slice::from_ref(&kept), &NOTHING), GONE);
        // Whether a DELETE took the part or a DROP cannot be told.
        assert_eq!(compare(&then, std::slice::from_ref(&kept), &DELETES), MIXED);
        assert_eq!(compare(&then, &[], &NOTHING), GONE);
        // An update, a delete, an attached part with old numbers.
        let updated = part("p_1_1_0_7", (1, 1), 5, 51);
        assert_eq!(compare(&then, &[updated.clone(), kept.clone()], &NOTHING), CHANGED);
        let deleted = part("p_1_1_0_7", (1, 1), 4, 40);
        assert_eq!(compare(&then, &[deleted.clone(), kept.clone()], &DELETES), CHANGED);
        // With a TTL it cannot be told what has taken them.
        assert_eq!(compare(&then, &[deleted.clone(), kept.clone()], &BOTH), MIXED);
        let attached = part("p_12_12_1", (12, 12), 4, 40);
        let grown = [part("p_1_1_0", (1, 1), 5, 50), kept.clone(), attached];
        assert_eq!(compare(&then, &grown, &NOTHING), GROWN);
        assert_eq!(compare(&then, &[updated], &NOTHING), MIXED);
        // An update of their times takes rows out of a window, and they are not gone.
        assert_eq!(compare(&then, &[deleted.clone(), kept.clone()], &UPDATES), MIXED);
        // A TTL takes single rows too, and is no mutation.
        let expired = part("p_1_1_1", (1, 1), 4, 40);
        assert_eq!(compare(&then, &[expired, kept.clone()], &NOTHING), GONE);
        // A version that nobody can explain may stand for anything.
        assert_eq!(compare(&then, &[deleted, kept], &NOTHING), MIXED);
    }

    #[test]
    fn parts_of_other_partitions_with_the_same_numbers_are_others() {
        let then = [part("a_1_1_0", (1, 1), 5, 50)];
        let found = compare(&then, &[part("b_1_1_0", (1, 1), 5, 51)], &NOTHING);
        assert!(found.gone && found.grown);
    }

    #[test]
    fn a_part_that_an_update_of_the_time_took_out_of_the_window_is_not_gone_for_sure() {
        let then = [part("p_1_1_0", (1, 1), 5, 50)];
        assert_eq!(super::compare(&then, &[], &UPDATES, true), MIXED);
        assert_eq!(super::compare(&then, &[], &UPDATES, false), GONE);
        assert_eq!(super::compare(&then, &[], &NOTHING, true), GONE);
    }

    #[test]
    fn rows_that_stay_in_a_rewritten_part_may_have_been_changed_when_others_are_gone() {
        let then = [part("a_1_1_0", (1, 1), 5, 0), part("b_2_2_0", (2, 2), 3, 0)];
        // A merge alone changes none; a mutation of ours, or a merged patch, is all that the name tells.
        assert_eq!(compare(&then, &[part("a_1_3_1", (1, 3), 5, 50)], &NOTHING), GONE);
        assert_eq!(compare(&then, &[part("a_1_3_1_9", (1, 3), 5, 50)], &NOTHING), MIXED);
        assert_eq!(compare(&then, &[part("a_1_3_1_9", (1, 3), 4, 50)], &NOTHING), MIXED);
        assert_eq!(
            compare(&[part("a_1_1_0_4", (1, 1), 5, 0)], &[part("a_1_3_1_4", (1, 3), 4, 0)], &NOTHING),
            GONE
        );
    }

    #[test]
    fn what_a_deletion_leaves_holds_nothing_that_was_added() {
        let then = [part("p_1_1_0", (1, 1), 5, 50), part("p_2_2_0", (2, 2), 3, 30)];
        assert!(is_rest(&then, &[], false));
        assert!(is_rest(&then, &[part("p_1_2_1_9", (1, 2), 3, 30)], false));
        assert!(is_rest(&then, &[part("p_1_1_0", (1, 1), 5, 50), part("p_2_2_0", (2, 2), 3, 30)], false));
        assert!(!is_rest(&then, &[part("p_1_2_1_9", (1, 2), 3, 31)], false));
        assert!(!is_rest(&then, &[part("p_3_3_0", (3, 3), 3, 30)], false));
    }

    #[test]
    fn what_is_left_of_very_many_parts_is_no_more_than_they_were() {
        let then: Vec<PartLook> =
            (1..=20).map(|n| part(&format!("p_{n}_{n}_0"), (n, n), 10, u128::from(n))).collect();
        let merged = |rows| [part("p_1_20_2", (1, 20), rows, 999)];
        assert!(is_rest(&then, &merged(150), false) && !is_rest(&then, &merged(150), true));
        assert!(!is_rest(&then, &merged(201), false));
    }
}
