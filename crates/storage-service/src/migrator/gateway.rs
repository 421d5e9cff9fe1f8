//! The gateway as the migrator speaks to it: one method per call, the answers told apart by what the
//! migrator does next. A lost answer is never a failure: the status is asked instead.

use link::{Peer, PeerError, RateLimiter};
use storage_types::{
    BatchId, BatchState, Manifest, Proof, SENDER_HEADER,
    gateway_api::{BatchPage, BatchStatus, Claim, Claimed, EnsureTable, GatewayStatus},
};
use tokio::io::AsyncRead;

/// Typed calls over [`Peer`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GatewayClient {
    peer: Peer,
}

/// What became of a commit.
#[derive(Debug)]
pub enum Outcome {
    /// Ask again.
    Proving,
    /// In cold, under the batch's id, with this count and hash.
    Proven(Proof),
    /// Chunks are missing.
    Incomplete(BatchStatus),
    /// The gateway computed another count or hash, or has given the batch up: its id is spent.
    Refuted(String),
    /// The gateway has never heard of it.
    Unknown,
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

    /// Announces a batch. `Ok(Err(reason))`: its id is spent.
    pub async fn announce(&self, manifest: &Manifest) -> Result<Result<BatchStatus, String>, PeerError> {
        match self.peer.post("/v1/batches", manifest).await {
            Ok((_, status)) => Ok(Ok(status)),
            Err(PeerError::Status { status: 409, body, .. }) if is_spent(&body.code) => Ok(Err(body.message)),
            Err(error) => Err(error),
        }
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

    /// Asks for the proof. A lost answer is `Outcome::Proving`: the next question tells.
    pub async fn commit(&self, batch: BatchId) -> Result<Outcome, PeerError> {
        match self.peer.post::<_, BatchStatus>(&format!("/v1/batches/{batch}/commit"), &()).await {
            Ok((_, status)) => Ok(judge(status)),
            Err(PeerError::Status { status: 404, .. }) => Ok(Outcome::Unknown),
            Err(PeerError::Status { status: 422, body, .. }) if body.code == "refuted" => {
                Ok(Outcome::Refuted(body.message))
            }
            Err(PeerError::Status { status: 409, .. }) => {
                Ok(self.status(batch).await?.map_or(Outcome::Unknown, judge))
            }
            Err(error) => Err(error),
        }
    }

    /// Count and hash computed afresh from the live cold table.
    pub async fn proof(&self, batch: BatchId) -> Result<Proof, PeerError> {
        self.peer.get(&format!("/v1/batches/{batch}/proof")).await
    }

    /// Its batch may no longer be deleted.
    pub async fn published(&self, batch: BatchId) -> Result<(), PeerError> {
        self.peer.post_no_content(&format!("/v1/batches/{batch}/published"), &()).await.map(drop)
    }

    /// Deletes the batch; that the gateway does not know it is success.
    pub async fn delete(&self, batch: BatchId) -> Result<(), PeerError> {
        absent_is_none(self.peer.delete(&format!("/v1/batches/{batch}")).await).map(drop)
    }

    /// Batches whose rows are in cold, those after `after`.
    pub async fn batches(&self, after: Option<BatchId>) -> Result<BatchPage, PeerError> {
        let after = after.map_or_else(String::new, |id| format!("?after={id}"));
        self.peer.get(&format!("/v1/batches{after}")).await
    }
}

/// Codes of a 409 after which the id can never be used again.
fn is_spent(code: &str) -> bool {
    matches!(code, "aborted" | "retired" | "manifest_differs" | "refuted")
}

fn judge(status: BatchStatus) -> Outcome {
    match (status.state, status.proof) {
        (BatchState::Proven | BatchState::Published, Some(proof)) => Outcome::Proven(proof),
        (BatchState::Aborted | BatchState::Retired, _) => {
            Outcome::Refuted(status.error.unwrap_or_else(|| "given up".into()))
        }
        _ if !status.missing.is_empty() => Outcome::Incomplete(status),
        _ => Outcome::Proving,
    }
}

fn absent_is_none<T>(answer: Result<T, PeerError>) -> Result<Option<T>, PeerError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(PeerError::Status { status: 404, .. }) => Ok(None),
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
