//! JSON bodies: capped, and they have to come in time.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::BytesMut;
use futures::StreamExt;
use serde::de::DeserializeOwned;

use crate::error::GatewayError;

/// Longest time for a whole JSON body.
const DEADLINE: Duration = Duration::from_secs(30);

/// Of a refused body this much is read, so that the sender gets to read the refusal: a connection
/// closed on unread bytes is reset, and the answer is lost with it.
const DRAIN_BYTES: u64 = 16 * 1024 * 1024;
/// And no longer than this.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Reads a body of at most `limit` bytes as JSON.
pub async fn json<T: DeserializeOwned>(body: Body, limit: u64) -> Result<T, GatewayError> {
    let mut pieces = body.into_data_stream();
    let read = async {
        let mut bytes = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|e| GatewayError::BrokenBody(e.to_string()))?;
            if (bytes.len() + piece.len()) as u64 > limit {
                return Err(GatewayError::BodyTooLarge { limit });
            }
            bytes.extend_from_slice(&piece);
        }
        serde_json::from_slice(&bytes).map_err(|e| GatewayError::InvalidBody(format!("the JSON body: {e}")))
    };
    let stalled = |_| GatewayError::Stalled { seconds: DEADLINE.as_secs() };
    let read = tokio::time::timeout(DEADLINE, read).await.map_err(stalled).flatten();
    if read.is_err() {
        drain(&mut pieces).await;
    }
    read
}

/// Reads a body of at most `limit` bytes and throws it away.
pub async fn discard(body: Body, limit: u64) -> Result<(), GatewayError> {
    let mut pieces = body.into_data_stream();
    let read = async {
        let mut bytes = 0;
        while let Some(piece) = pieces.next().await {
            bytes += piece.map_err(|e| GatewayError::BrokenBody(e.to_string()))?.len() as u64;
            if bytes > limit {
                return Err(GatewayError::BodyTooLarge { limit });
            }
        }
        Ok(())
    };
    let stalled = |_| GatewayError::Stalled { seconds: DEADLINE.as_secs() };
    tokio::time::timeout(DEADLINE, read).await.map_err(stalled).flatten()
}

/// Reads on and throws away, within bounds.
pub async fn drain(pieces: &mut BodyDataStream) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(piece)) = pieces.next().await {
            bytes += piece.len() as u64;
            if bytes > DRAIN_BYTES {
                return;
            }
        }
    };
    // Out of time: the sender may find its connection reset.
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}
