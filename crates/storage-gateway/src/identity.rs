//! Who this gateway is, and whose batches it takes.
//!
//! Both stand twice: in the journal, and in a table of each cold database, beside the rows. A lost journal
//! finds them there again. The id also says that the tables are this gateway's: a database that carries
//! another's is not touched.
//!
//! **Consistency.** Calls that change something share the turn while they run; a claim has it alone. So
//! nothing of a former sender happens after the answer to its successor's claim.

use std::{sync::OnceLock, time::Duration};

use parking_lot::Mutex;
use storage_types::{
    GatewayId, SENDER_HEADER, Sender,
    gateway_api::{Claim, Claimed},
};
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::{
    cold::owner::{self, Owner},
    error::GatewayError,
    gateway::Gateway,
};

/// Longest wait of a claim for the calls of the sender before, and of those for a claim.
const TURN_WAIT: Duration = Duration::from_secs(20);

/// What is known of both, in memory.
#[derive(Debug, Default)]
pub struct Identity {
    id: OnceLock<GatewayId>,
    sender: Mutex<Option<Sender>>,
    turn: RwLock<()>,
}

/// The right to change something: while it is held, the sender stays the one in force.
pub struct Admitted<'a> {
    _turn: RwLockReadGuard<'a, ()>,
}

impl Identity {
    /// The gateway's id; `None` until its journal is whole.
    pub fn id(&self) -> Option<GatewayId> {
        self.id.get().copied()
    }

    /// The sender in force.
    pub fn sender(&self) -> Option<Sender> {
        *self.sender.lock()
    }

    /// Lets a call through that comes from the sender in force, as its header says.
    ///
    /// # Errors
    /// `InvalidSender`, `StaleSender`, `Unclaimed`; `Busy` while a claim takes too long.
    pub async fn admit(&self, header: Option<&str>) -> Result<Admitted<'_>, GatewayError> {
        let presented = header.map(str::parse::<Sender>).transpose()?;
        let turn = tokio::time::timeout(TURN_WAIT, self.turn.read()).await;
        let turn = turn.map_err(|_| GatewayError::Busy { what: "a sender is being changed", limit: 1 })?;
        match self.sender() {
            None => Err(GatewayError::Unclaimed),
            Some(sender) if presented == Some(sender) => Ok(Admitted { _turn: turn }),
            Some(sender) => Err(GatewayError::StaleSender { known: sender, presented }),
        }
    }
}

/// Finds out who this gateway is: as the journal says, else as the cold tables do, else somebody new.
/// `lost`: the journal is being filled again. Repeatable.
pub async fn establish(gateway: &Gateway, lost: bool) -> Result<(), GatewayError> {
    let (mut id, mut sender) = gateway.journal.identity().await?;
    if id.is_none() {
        // A journal of a version that had no id is whole, and no table holds one.
        let found = if lost { owner::read(&gateway.engine).await? } else { Vec::new() };
        (id, sender) = agreed(&found);
        let made = gateway.journal.set_identity(id, sender).await?;
        tracing::info!(gateway_id = %made, found = id.is_some(), "this gateway has its id");
        id = Some(made);
    }
    if let Some(id) = id {
        let _ = gateway.identity.id.set(id);
    }
    *gateway.identity.sender.lock() = sender;
    Ok(())
}

/// What the cold databases say, if they say one thing; of the senders the one noted last.
fn agreed(found: &[Owner]) -> (Option<GatewayId>, Option<Sender>) {
    let Some(first) = found.first() else { return (None, None) };
    if let Some(other) = found.iter().find(|owner| owner.gateway != first.gateway) {
        tracing::error!(
            "cold databases of two gateways: {} is of {}, {} is of {}; until it is said whose they are \
             (storagectl gateway accept), none of them is touched",
            first.database,
            first.gateway,
            other.database,
            other.gateway
        );
        return (None, None);
    }
    let newest = found.iter().max_by_key(|owner| owner.noted_at_ms);
    (Some(first.gateway), newest.and_then(|owner| owner.sender))
}

/// Makes `claim.sender` the one in force, if [`Claim`]'s rule allows it. Repeatable.
pub async fn claim(gateway: &Gateway, claim: Claim) -> Result<Claimed, GatewayError> {
    let id = gateway.identity.id().ok_or(GatewayError::Starting)?;
    let turn = tokio::time::timeout(TURN_WAIT, gateway.identity.turn.write()).await;
    let _turn =
        turn.map_err(|_| GatewayError::Busy { what: "calls of the sender before are running", limit: 1 })?;
    let known = gateway.identity.sender();
    if known != Some(claim.sender) {
        accepts(known, &claim)?;
        // Beside the rows first: a journal that is lost after the answer must not know less.
        owner::note_everywhere(&gateway.engine, id, claim.sender).await?;
        gateway.journal.set_identity(Some(id), Some(claim.sender)).await?;
        tracing::info!(sender = %claim.sender, before = known.map(|k| k.to_string()), "a sender is in force");
        *gateway.identity.sender.lock() = Some(claim.sender);
    }
    Ok(Claimed { gateway: id, sender: claim.sender })
}

fn accepts(known: Option<Sender>, claim: &Claim) -> Result<(), GatewayError> {
    let Some(known) = known else { return Ok(()) };
    let newer = claim.sender.catalog != known.catalog || claim.sender.epoch > known.epoch;
    if claim.replaces == Some(known) && newer {
        return Ok(());
    }
    Err(GatewayError::StaleSender { known, presented: Some(claim.sender) })
}

/// The header of a request that says who sends it.
pub fn header(headers: &http::HeaderMap) -> Option<&str> {
    // What is no text is no sender either, and says so.
    headers.get(SENDER_HEADER).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use storage_types::CatalogId;

    use super::*;

    fn sender(catalog: u64, epoch: u64) -> Sender {
        Sender { catalog: CatalogId::from_u64(catalog).unwrap(), epoch }
    }

    #[test]
    fn a_claim_is_a_compare_and_swap_and_an_epoch_never_goes_back() {
        let known = Some(sender(1, 5));
        for (known, claims, replaces, accepted) in [
            (None, sender(1, 1), None, true),
            (None, sender(1, 1), Some(sender(2, 2)), true),
            (known, sender(1, 6), Some(sender(1, 5)), true),
            (known, sender(2, 1), Some(sender(1, 5)), true),
            (known, sender(1, 6), None, false),
            (known, sender(1, 6), Some(sender(1, 4)), false),
            (known, sender(2, 9), None, false),
            (known, sender(1, 4), Some(sender(1, 5)), false),
        ] {
            let claim = Claim { sender: claims, replaces };
            assert_eq!(accepts(known, &claim).is_ok(), accepted, "{known:?} {claim:?}");
        }
    }

    #[tokio::test]
    async fn only_the_sender_in_force_is_admitted() {
        let identity = Identity::default();
        assert!(matches!(identity.admit(Some("1/5")).await, Err(GatewayError::Unclaimed)));
        *identity.sender.lock() = Some(sender(1, 5));
        assert!(identity.admit(Some("1/5")).await.is_ok());
        for stale in [None, Some("1/4"), Some("1/6"), Some("2/5")] {
            let refused = identity.admit(stale).await.err().unwrap();
            assert!(
                matches!(refused, GatewayError::StaleSender { .. }) && refused.to_string().contains("1/5")
            );
        }
        assert!(matches!(identity.admit(Some("1-5")).await, Err(GatewayError::InvalidSender(_))));
    }

    #[test]
    fn databases_of_two_gateways_are_nobodys() {
        let owner = |gateway, noted_at_ms, epoch| Owner {
            database: "d".into(),
            gateway: GatewayId::from_u64(gateway).unwrap(),
            sender: Some(sender(1, epoch)),
            noted_at_ms,
        };
        assert_eq!(agreed(&[]), (None, None));
        let (id, newest) = agreed(&[owner(7, 20, 2), owner(7, 10, 1)]);
        assert_eq!((id, newest), (GatewayId::from_u64(7), Some(sender(1, 2))));
        assert_eq!(agreed(&[owner(7, 1, 1), owner(8, 1, 1)]), (None, None));
    }
}
