//! Who the gateway is and whose batches it takes, in the table `meta`.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, params};
use storage_types::{GatewayId, Sender};

use super::{Journal, JournalError};

const GATEWAY_ID: &str = "gateway_id";
const SENDER: &str = "sender";

impl Journal {
    /// What was noted, where it can be read.
    pub async fn identity(&self) -> Result<(Option<GatewayId>, Option<Sender>), JournalError> {
        self.run(|connection| {
            let parsed = |name| Ok::<_, JournalError>(meta(connection, name)?);
            let id = parsed(GATEWAY_ID)?.and_then(|text| text.parse().ok());
            let sender = parsed(SENDER)?.and_then(|text| text.parse().ok());
            Ok((id, sender))
        })
        .await
    }

    /// Notes both, in one transaction; without an id one is made. Answers the id.
    pub async fn set_identity(
        &self,
        id: Option<GatewayId>,
        sender: Option<Sender>,
    ) -> Result<GatewayId, JournalError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let id = match id {
                Some(id) => id,
                None => {
                    let random: u32 =
                        transaction.query_row("SELECT abs(random() % 1048576)", [], |r| r.get(0))?;
                    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    GatewayId::from_parts(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), random)
                }
            };
            set_meta(&transaction, GATEWAY_ID, &id.to_string())?;
            if let Some(sender) = sender {
                set_meta(&transaction, SENDER, &sender.to_string())?;
            }
            transaction.commit()?;
            Ok(id)
        })
        .await
    }
}

/// A value of the table `meta`.
pub(super) fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

/// Writes one.
pub(super) fn set_meta(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
    connection.execute(sql, params![name, value]).map(drop)
}

#[cfg(test)]
mod tests {
    use storage_types::CatalogId;

    use super::*;

    #[tokio::test]
    async fn an_id_is_made_once_and_the_sender_survives() {
        let folder = tempfile::tempdir().unwrap();
        let sender = Some(Sender { catalog: CatalogId::from_parts(1_800_000_000_000, 1), epoch: 3 });
        let made = {
            let journal = Journal::open(folder.path()).unwrap();
            assert_eq!(journal.identity().await.unwrap(), (None, None));
            let made = journal.set_identity(None, None).await.unwrap();
            assert_eq!(journal.set_identity(Some(made), sender).await.unwrap(), made);
            made
        };
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.identity().await.unwrap(), (Some(made), sender));
    }
}
