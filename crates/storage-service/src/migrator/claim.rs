//! Which catalog this is, and its claim on the gateway.
//!
//! A catalog has an id, made with it, and an epoch that grows at each start and is noted before it is
//! used. The gateway takes batches from one sender only. Whom this one replaces decides:
//!
//! | the gateway knows | what is done |
//! |---|---|
//! | nobody, or an epoch that this file noted | claimed |
//! | another catalog, and this one holds no moves | it was lost: rebuilt from the gateway first, then claimed |
//! | another catalog, and this one holds moves | an error is logged, nothing is moved |
//! | an epoch of this catalog that this file never noted | this is an older copy of it: likewise |
//!
//! An older copy may have been started as often as the file it is a copy of. So that their epochs are
//! never the same, the lower bits are random.
//!
//! A gateway that is away is asked again later; what needs no gateway, like a fence that is half done,
//! goes on meanwhile.

use std::sync::atomic::Ordering;

use link::PeerError;
use storage_types::{CatalogId, Sender, gateway_api::Claim};

use super::{Inner, StepError, mover::now_ms};
use crate::catalog::{Catalog, CatalogError};

const CATALOG_ID: &str = "catalog_id";
/// Epochs that the gateway may know: of the last claim that was answered, and of all starts since.
const EPOCHS: &str = "epochs";
const RANDOM_BITS: u32 = 20;
/// So many starts in a row without an answer of the gateway are remembered.
const MOST_EPOCHS: usize = 1_000;
/// The sender whose batches this catalog is being rebuilt from, then: was.
const REBUILDING_FROM: &str = "rebuilding_from";
const SUCCEEDS: &str = "succeeds";

/// Who this start of the service is: noted before it is answered.
pub(super) fn next_sender(catalog: &Catalog) -> Result<Sender, CatalogError> {
    let id = match catalog.note(CATALOG_ID)?.and_then(|text| text.parse().ok()) {
        Some(id) => id,
        None => {
            let id = CatalogId::from_parts(now_ms(), rand::random());
            catalog.set_note(CATALOG_ID, &id.to_string())?;
            id
        }
    };
    let mut epochs = noted_epochs(catalog)?;
    let count = (epochs.iter().max().copied().unwrap_or(0) >> RANDOM_BITS) + 1;
    let epoch = (count << RANDOM_BITS) | u64::from(rand::random::<u32>() >> (32 - RANDOM_BITS));
    epochs.push(epoch);
    note_epochs(catalog, &epochs)?;
    Ok(Sender { catalog: id, epoch })
}

fn noted_epochs(catalog: &Catalog) -> Result<Vec<u64>, CatalogError> {
    let text = catalog.note(EPOCHS)?.unwrap_or_default();
    Ok(text.split(' ').filter_map(|epoch| epoch.parse().ok()).collect())
}

fn note_epochs(catalog: &Catalog, epochs: &[u64]) -> Result<(), CatalogError> {
    let latest = epochs.get(epochs.len().saturating_sub(MOST_EPOCHS)..).unwrap_or_default();
    let text: Vec<String> = latest.iter().map(u64::to_string).collect();
    catalog.set_note(EPOCHS, &text.join(" "))
}

/// An answer that says that the claim does not hold (any more).
pub(super) fn is_not_claimed(error: &PeerError) -> bool {
    matches!(error.code(), Some("stale_sender" | "unclaimed"))
}

impl Inner {
    /// Makes sure that the gateway takes this catalog's batches. At once where it was asked before.
    ///
    /// # Errors
    /// `Failed` when it may not be claimed, `Retry` when that could not be found out.
    pub(super) async fn claim(&self) -> Result<(), StepError> {
        if self.claimed.load(Ordering::Acquire) {
            return Ok(());
        }
        let (gateway, sender) = (&self.mover.gateway, self.sender);
        let known = gateway.gateway_status().await?.sender;
        if let Some(known) = known
            && let Err(error) = self.may_replace(known).await
        {
            let failed = matches!(error, StepError::Failed(_));
            if failed && self.refused_by.lock().replace(known) != Some(known) {
                tracing::error!("{error}; nothing is moved");
            }
            return Err(error);
        }
        let claimed = gateway.claim(&Claim { sender, replaces: known }).await?;
        note_epochs(&self.mover.catalog, &[sender.epoch])?;
        tracing::info!(%sender, gateway = %claimed.gateway, "the gateway takes this catalog's batches");
        *self.refused_by.lock() = None;
        self.claimed.store(true, Ordering::Release);
        Ok(())
    }

    /// The next look at the gateway asks again.
    pub(super) fn doubt_claim(&self) {
        self.claimed.store(false, Ordering::Release);
    }

    async fn may_replace(&self, known: Sender) -> Result<(), StepError> {
        let (catalog, sender) = (&self.mover.catalog, self.sender);
        let noted = |key| Ok::<_, CatalogError>(catalog.note(key)? == Some(known.to_string()));
        if known == sender || noted(SUCCEEDS)? {
            return Ok(());
        }
        if known.catalog == sender.catalog {
            if noted_epochs(catalog)?.contains(&known.epoch) {
                return Ok(());
            }
            let text = format!(
                "the gateway knows epoch {} of this catalog, which this file never had: it is an older copy, or \
                 another service runs on a copy of it",
                known.epoch
            );
            return Err(StepError::Failed(text));
        }
        if catalog.has_moves()? {
            // Rebuilding is one transaction: what is there then is whole.
            if !noted(REBUILDING_FROM)? {
                let text = format!("the gateway's batches are those of another catalog, {known}");
                return Err(StepError::Failed(text));
            }
        } else {
            self.note_rebuilding_from(Some(known))?;
            catalog.set_rebuilding(true);
            self.rebuild().await?;
            catalog.set_rebuilding(false);
        }
        catalog.set_note(SUCCEEDS, &known.to_string())?;
        Ok(())
    }

    /// From here on moves in the catalog may be those found at the gateway of this sender.
    pub(super) fn note_rebuilding_from(&self, known: Option<Sender>) -> Result<(), StepError> {
        if let Some(known) = known {
            self.mover.catalog.set_note(REBUILDING_FROM, &known.to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_grows_at_each_start_and_the_id_stays() {
        let folder = tempfile::tempdir().unwrap();
        let start = || next_sender(&Catalog::open(folder.path()).unwrap()).unwrap();
        let (first, second) = (start(), start());
        assert!(first.catalog == second.catalog && first.epoch < second.epoch);
        let catalog = Catalog::open(folder.path()).unwrap();
        assert_eq!(noted_epochs(&catalog).unwrap(), [first.epoch, second.epoch], "either may be known");
    }
}
