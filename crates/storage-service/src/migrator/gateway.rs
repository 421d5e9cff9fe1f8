//! The gateway as the migrator speaks to it: one method per call, the answers told apart by what the
//! migrator does next. A lost answer is never a failure: the status is asked instead.

use link::{Peer, PeerError, RateLimiter};
use moves::world::Commit;
use storage_types::{
    BatchId, BatchState, Manifest, Proof, SENDER_HEADER,
    gateway_api::{
        BatchPage, BatchStatus, Batches, Claim, Claimed, EnsureTable, GatewayStatus, ProofProgress,
        ProofRequest,
    },
};
use tokio::io::AsyncRead;

/// Typed calls over [`Peer`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GatewayClient {
    peer: Peer,
}

/// Batches of one request.
const PAGE: usize = storage_types::gateway_api::MAX_BATCH_PAGE as usize;

/// What became of a question for fresh proofs.
#[derive(Debug)]
pub enum Proofs {
    /// So many are computed; what keeps the rest, if something does.
    Running {
        /// Batches that are proven.
        done: u64,
        /// In words.
        error: Option<String>,
    },
    /// All.
    Done(Vec<(BatchId, Proof)>),
}

impl GatewayClient {
    /// Over this peer.
    pub fn new(peer: Peer) -> Self {
        Self { peer }
    }

    /// How the gateway is.
    pub async fn gateway_status(&self) -> Result<GatewayStatus, PeerError> {
        self.peer.get("/v1/status").await
    }

    /// Makes the sender the one whose batches the gateway takes; from then on each call says so.
    pub async fn claim(&self, claim: &Claim) -> Result<Claimed, PeerError> {
        let (_, claimed) = self.peer.post("/v1/claim", claim).await?;
        self.peer.set_header(Some((SENDER_HEADER, claim.sender.to_string())));
        Ok(claimed)
    }

    /// Makes sure the cold table is there; answers it as it stands.
    pub async fn ensure_table(&self, table: &EnsureTable) -> Result<EnsureTable, PeerError> {
        Ok(self.peer.post("/v1/tables", table).await?.1)
    }

    /// Announces a batch.
    pub async fn announce(&self, manifest: &Manifest) -> Result<BatchStatus, PeerError> {
        Ok(self.peer.post("/v1/batches", manifest).await?.1)
    }

    /// How a batch stands; `None` when the gateway does not know it.
    pub async fn status(&self, batch: BatchId) -> Result<Option<BatchStatus>, PeerError> {
        absent_is_none(self.peer.get(&format!("/v1/batches/{batch}")).await)
    }

    /// Sends a chunk of `length` bytes, in the limiter's time; only a slice of it is in memory.
    pub async fn put_chunk(
        &self,
        batch: BatchId,
        number: u32,
        blake3: &str,
        length: u64,
        bytes: impl AsyncRead + Send + Unpin + 'static,
        limiter: &RateLimiter,
    ) -> Result<(), PeerError> {
        let digest = format!("blake3=:{}:", base64_of_hex(blake3));
        let path = format!("/v1/batches/{batch}/chunks/{number}");
        self.peer.put_from(&path, &[("content-digest", digest)], length, bytes, limiter).await.map(drop)
    }

    /// Asks for the proof. A lost answer is `Commit::Proving`: the next question tells.
    pub async fn commit(&self, batch: BatchId) -> Result<Commit, PeerError> {
        match self.peer.post::<_, BatchStatus>(&format!("/v1/batches/{batch}/commit"), &()).await {
            Ok((_, status)) => Ok(judge(status)),
            Err(error) if is_unknown_batch(&error) => Ok(Commit::Incomplete(None)),
            Err(PeerError::Status { status: 422, body, .. }) if body.code == "refuted" => {
                Ok(Commit::Spent(body.message))
            }
            Err(PeerError::Status { status: 409, body, .. }) if body.code == "chunks_missing" => {
                Ok(self.status(batch).await?.map_or(Commit::Incomplete(None), judge))
            }
            Err(error) => Err(error),
        }
    }

    /// Counts and hashes, computed afresh from the live cold table after the question `nonce` first came.
    pub async fn prove(&self, nonce: u64, batches: &[BatchId]) -> Result<Proofs, PeerError> {
        let mut proofs = Vec::with_capacity(batches.len());
        for page in batches.chunks(PAGE) {
            let request = ProofRequest { id: nonce, batches: page.to_vec() };
            let (status, answer): (u16, serde_json::Value) = self.peer.post("/v1/proofs", &request).await?;
            let unread = |error: serde_json::Error| PeerError::Protocol {
                url: "/v1/proofs".into(),
                reason: error.to_string(),
            };
            if status == 200 {
                let found: Vec<(BatchId, Proof)> = serde_json::from_value(answer).map_err(unread)?;
                proofs.extend(found);
            } else {
                let progress: ProofProgress = serde_json::from_value(answer).map_err(unread)?;
                return Ok(Proofs::Running {
                    done: proofs.len() as u64 + progress.done,
                    error: progress.error,
                });
            }
        }
        Ok(Proofs::Done(proofs))
    }

    /// These batches may no longer be given up.
    pub async fn published(&self, batches: &[BatchId]) -> Result<(), PeerError> {
        for page in batches.chunks(PAGE) {
            self.peer.post_no_content("/v1/batches/published", &Batches { batches: page.to_vec() }).await?;
        }
        Ok(())
    }

    /// These batches are not read again: what was proven is retired, the rest given up. That the gateway does
    /// not know one is success.
    pub async fn retire(&self, batches: &[BatchId]) -> Result<(), PeerError> {
        for batch in batches {
            let retired =
                self.peer.post_no_content("/v1/batches/retire", &Batches { batches: vec![*batch] }).await;
            match retired {
                Ok(_) => {}
                // Never proven: nothing of it is in the table.
                Err(error)
                    if matches!(error.code(), Some("unknown_batch" | "not_proven" | "wrong_state")) =>
                {
                    absent_is_none(self.peer.delete(&format!("/v1/batches/{batch}")).await)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Batches whose rows are in cold, those after `after`.
    pub async fn batches(&self, after: Option<BatchId>) -> Result<BatchPage, PeerError> {
        let after = after.map_or_else(String::new, |id| format!("?after={id}"));
        self.peer.get(&format!("/v1/batches{after}")).await
    }
}

/// Its own word, not that of something in between that knows no such path.
fn is_unknown_batch(error: &PeerError) -> bool {
    error.status() == Some(404) && error.code() == Some("unknown_batch")
}

fn judge(status: BatchStatus) -> Commit {
    match (status.state, status.proof) {
        (BatchState::Proven | BatchState::Published, Some(proof)) => Commit::Proven(proof),
        (BatchState::Aborted | BatchState::Retired, _) => {
            Commit::Spent(status.error.unwrap_or_else(|| "given up".into()))
        }
        _ if !status.missing.is_empty() => Commit::Incomplete(status.error),
        _ => Commit::Proving(status.error),
    }
}

fn absent_is_none<T>(answer: Result<T, PeerError>) -> Result<Option<T>, PeerError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_unknown_batch(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Base64 (RFC 4648, padded) of the bytes that `hex` spells: the form of a digest in a header.
fn base64_of_hex(hex: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let nibbles: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    let bytes: Vec<u32> =
        nibbles.chunks(2).map(|pair| pair.iter().fold(0, |byte, nibble| (byte << 4) | nibble)).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, n| (bits << 8) | group.get(n).copied().unwrap_or(0));
        for n in 0..4 {
            let index = (bits >> (18 - 6 * n)) & 63;
            text.push(if n <= group.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_base64_as_in_rfc_4648() {
        for (hex, text) in [("", ""), ("66", "Zg=="), ("666f", "Zm8="), ("666f6f", "Zm9v"), ("fbff", "+/8=")]
        {
            assert_eq!(base64_of_hex(hex), text);
        }
    }
}
