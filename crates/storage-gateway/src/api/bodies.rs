//! JSON bodies: capped, and they have to come in time.

use std::time::Duration;

use axum::body::Body;
use bytes::BytesMut;
use futures::StreamExt;
use serde::de::DeserializeOwned;

use crate::error::GatewayError;

/// Longest time for a whole JSON body.
const DEADLINE: Duration = Duration::from_secs(30);

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
    tokio::time::timeout(DEADLINE, read).await.map_err(stalled).flatten()
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
