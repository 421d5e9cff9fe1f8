//! Which catalog this is, and its claim on the gateway.
//!
//! A catalog has an id, made with it, and an epoch that grows at each start and is noted before it is
//! used. The gateway takes batches from one sender only; whom this one may replace, [`moves::claim`] decides. Where
//! it may not, an error is logged and nothing is moved.
//!
//! An older copy may have been started as often as the file it is a copy of. So that their epochs are
//! never the same, the lower bits are random.
//!
//! A gateway that is away is asked again later; what needs no gateway goes on meanwhile.

use std::sync::atomic::Ordering;

use moves::claim::{Standing, standing};
use storage_types::{CatalogId, Sender, gateway_api::Claim};

use super::{Inner, MigrationError, world::now_ms};
use crate::catalog::{CATALOG_ID, Catalog, CatalogError};

/// Epochs that the gateway may know: of the last claim that was answered, and of all starts since.
const EPOCHS: &str = "epochs";
const RANDOM_BITS: u32 = 20;
/// So many starts in a row without an answer of the gateway are remembered.
const MOST_EPOCHS: usize = 1_000;
/// The sender whose batches this catalog has learnt all of.
const SUCCEEDS: &str = "succeeds";
/// The sender whose batches it has begun to learn, until it has all of them: what moves it has are that one's.
const LEARNS: &str = "learns";

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
    Ok(Sender { catalog: id, epoch: next_epoch(catalog, 0)? })
}

/// An epoch above all that were noted, and above this one.
fn next_epoch(catalog: &Catalog, above: u64) -> Result<u64, CatalogError> {
    let mut epochs = noted_epochs(catalog)?;
    let count = (epochs.iter().max().copied().unwrap_or(0).max(above) >> RANDOM_BITS) + 1;
    let epoch = (count << RANDOM_BITS) | u64::from(rand::random::<u32>() >> (32 - RANDOM_BITS));
    epochs.push(epoch);
    note_epochs(catalog, &epochs)?;
    Ok(epoch)
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

impl Inner {
    /// Makes sure that the gateway takes this catalog's batches. At once where it was asked before.
    ///
    /// # Errors
    /// When it may not be claimed, or that could not be found out.
    pub(super) async fn claim(&self) -> Result<(), MigrationError> {
        if self.claimed.load(Ordering::Acquire) {
            return Ok(());
        }
        let gateway = &self.world().gateway;
        let known = gateway.gateway_status().await?.sender;
        if let Some(known) = known
            && let Some(why) = self.may_not_replace(known).await?
        {
            if self.refused_by.lock().replace(known) != Some(known) {
                tracing::error!("{why}; nothing is moved");
            }
            return Err(MigrationError::Gateway(why));
        }
        let sender = self.sender_above(known)?;
        let claimed = gateway.claim(&Claim { sender, replaces: known }).await?;
        note_epochs(&self.world().catalog, &[sender.epoch])?;
        tracing::info!(%sender, gateway = %claimed.gateway, "the gateway takes this catalog's batches");
        *self.refused_by.lock() = None;
        self.claimed.store(true, Ordering::Release);
        self.mover.wake();
        self.work.notify_one();
        Ok(())
    }

    /// Who we are; an older copy of the catalog has counted on from an older epoch than the gateway knows.
    fn sender_above(&self, known: Option<Sender>) -> Result<Sender, MigrationError> {
        let mut sender = *self.sender.lock();
        let behind = |known: &Sender| known.catalog == sender.catalog && known.epoch > sender.epoch;
        if let Some(known) = known.filter(behind) {
            sender.epoch = next_epoch(&self.world().catalog, known.epoch)?;
            *self.sender.lock() = sender;
        }
        Ok(sender)
    }

    /// Why the gateway must not be claimed from `known`.
    async fn may_not_replace(&self, known: Sender) -> Result<Option<String>, MigrationError> {
        let (catalog, sender) = (&self.world().catalog, *self.sender.lock());
        let succeeds = catalog.note(SUCCEEDS)?.and_then(|text| text.parse().ok());
        let noted = noted_epochs(catalog)?;
        let has_moves = self.has_moves_beside(Some(known))?;
        match standing(Some(known), sender, &noted, succeeds, has_moves) {
            Standing::Successor => Ok(None),
            Standing::OlderCopy => Ok(Some(format!(
                "the gateway knows epoch {} of this catalog, which this file never had: it is an older copy, or \
                 another service runs on a copy of it",
                known.epoch
            ))),
            Standing::Another => {
                Ok(Some(format!("the gateway's batches are those of another catalog, {known}")))
            }
            Standing::Lost => {
                self.learn().await?;
                Ok(None)
            }
        }
    }

    /// Everything that the gateway has of this sender is in the catalog.
    /// Whether the catalog has moves that it has not begun to learn from this sender's batches.
    pub(super) fn has_moves_beside(&self, known: Option<Sender>) -> Result<bool, MigrationError> {
        let catalog = &self.world().catalog;
        let learns = catalog.note(LEARNS)?.and_then(|text| text.parse::<Sender>().ok());
        Ok(catalog.has_moves()? && (known.is_none() || learns != known))
    }

    pub(super) fn note_learns(&self, known: Sender) -> Result<(), MigrationError> {
        Ok(self.world().catalog.set_note(LEARNS, &known.to_string())?)
    }

    pub(super) fn note_succeeds(&self, known: Sender) -> Result<(), MigrationError> {
        let catalog = &self.world().catalog;
        catalog.set_note(SUCCEEDS, &known.to_string())?;
        Ok(catalog.set_note(LEARNS, "")?)
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
