//! Whether a catalog may have the gateway take its batches.
//!
//! The gateway takes batches from one sender only. Whom this one would replace decides:
//!
//! | the gateway knows | what is done |
//! |---|---|
//! | nobody, or an epoch that this file noted | claimed |
//! | another catalog, and this one holds no moves | it was lost: rebuilt from the gateway first, then claimed |
//! | another catalog, and this one holds moves | nothing is moved |
//! | an epoch of this catalog that this file never noted | this is an older copy of it: likewise |

use storage_types::Sender;

use crate::sabotage::{Rule, holds};

/// What a catalog is to the sender that the gateway knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The same, or one that has all of its batches.
    Successor,
    /// Another one, with nothing to lose: it learns the gateway's batches first.
    Lost,
    /// An older copy of the same, or one that runs beside it.
    OlderCopy,
    /// Another one, with batches of its own.
    Another,
}

/// The table. `noted`: the epochs that this file ever noted; `succeeds`: the sender whose batches it has learnt all of.
pub fn standing(
    known: Option<Sender>,
    own: Sender,
    noted: &[u64],
    succeeds: Option<Sender>,
    has_moves: bool,
) -> Standing {
    let Some(known) = known.filter(|known| *known != own && Some(*known) != succeeds && holds(Rule::Sender))
    else {
        return Standing::Successor;
    };
    match known.catalog == own.catalog {
        true if noted.contains(&known.epoch) => Standing::Successor,
        true => Standing::OlderCopy,
        false if has_moves => Standing::Another,
        false if holds(Rule::Witness) => Standing::Lost,
        false => Standing::Successor,
    }
}

/// Whether a catalog that has learnt all of this sender's batches stands in for it: not beside moves of its own, which
/// another service's catalog has.
pub fn may_succeed(learnt_from: Sender, own: Sender, had_moves: bool) -> bool {
    learnt_from.catalog == own.catalog || !had_moves || !holds(Rule::Sender)
}

#[cfg(test)]
mod tests {
    use storage_types::CatalogId;

    use super::*;

    #[test]
    fn only_who_knows_all_of_the_gateways_batches_replaces_their_sender() {
        let of =
            |catalog, epoch| Sender { catalog: CatalogId::from_parts(1_800_000_000_000, catalog), epoch };
        let own = of(1, 9);
        let standing = |known, succeeds, has_moves| standing(known, own, &[7, 9], succeeds, has_moves);
        assert_eq!(standing(None, None, true), Standing::Successor);
        assert_eq!(standing(Some(of(1, 7)), None, true), Standing::Successor);
        assert_eq!(standing(Some(of(1, 8)), None, true), Standing::OlderCopy);
        assert_eq!(standing(Some(of(1, 8)), Some(of(1, 8)), true), Standing::Successor);
        assert_eq!(standing(Some(of(2, 7)), None, true), Standing::Another);
        assert_eq!(standing(Some(of(2, 7)), None, false), Standing::Lost);
        assert_eq!(standing(Some(of(2, 7)), Some(of(2, 7)), true), Standing::Successor);
        assert!(may_succeed(of(1, 8), own, true), "an older copy that has learnt");
        assert!(may_succeed(of(2, 7), own, false), "a lost catalog that has learnt");
        assert!(!may_succeed(of(2, 7), own, true), "another service's");
    }
}
