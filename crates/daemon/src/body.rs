//! Request bodies: read within a size and a time, so that no caller costs more memory than the limit
//! or holds its place for longer than [`DEADLINE`].

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;

/// Longest time for a whole body.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Why a body was not taken. Each daemon's API has a status and a code for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is too long. What is left of it may be more than is read on, so the answer should close the
    /// connection.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// Most bytes taken.
        limit: u64,
    },
    /// It did not come in time.
    #[error("the body did not arrive within {} s", DEADLINE.as_secs())]
    TooSlow,
    /// The caller went away in the middle of it.
    #[error("the body broke off: {0}")]
    Broken(String),
    /// It is not the JSON that is asked for; the text names the field.
    #[error("the JSON body: {0}")]
    Invalid(String),
}

/// Reads a body of at most `limit` bytes as JSON.
///
/// # Errors
/// Every [`BodyError`].
pub async fn json<T: DeserializeOwned>(body: Body, limit: u64) -> Result<T, BodyError> {
    let mut bytes = BytesMut::new();
    read(body, limit, |piece| bytes.extend_from_slice(&piece)).await?;
    let mut value = serde_json::Deserializer::from_slice(&bytes);
    let read = serde_path_to_error::deserialize(&mut value).map_err(|error| error.to_string());
    let read = read.and_then(|read| value.end().map(|()| read).map_err(|error| error.to_string()));
    read.map_err(BodyError::Invalid)
}

/// Reads a body of at most `limit` bytes and throws it away.
///
/// # Errors
/// Every [`BodyError`] but `Invalid`.
pub async fn discard(body: Body, limit: u64) -> Result<(), BodyError> {
    read(body, limit, drop).await
}

async fn read(body: Body, limit: u64, mut take: impl FnMut(Bytes)) -> Result<(), BodyError> {
    let mut pieces = body.into_data_stream();
    let all = async {
        let mut read = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| BodyError::Broken(error.to_string()))?;
            read += piece.len() as u64;
            if read > limit {
                return Err(BodyError::TooLarge { limit });
            }
            take(piece);
        }
        Ok(())
    };
    tokio::time::timeout(DEADLINE, all).await.unwrap_or(Err(BodyError::TooSlow))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::stream;

    use super::*;

    type Numbers = BTreeMap<String, Vec<u8>>;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit_and_no_further() {
        let text = r#"{"a":[1,2]}"#;
        let length = text.len() as u64;
        let read: Numbers = json(Body::from(text), length).await.unwrap();
        assert_eq!(read["a"], [1, 2]);
        let refused = json::<Numbers>(Body::from(text), length - 1).await.unwrap_err();
        assert_eq!(refused, BodyError::TooLarge { limit: length - 1 });
        discard(Body::from(text), length).await.unwrap();
        assert_eq!(discard(Body::from(text), 3).await, Err(BodyError::TooLarge { limit: 3 }));
    }

    #[tokio::test]
    async fn what_is_wrong_names_its_place() {
        for (text, word) in [(r#"{"a":[1,-2]}"#, "a[1]"), (r#"{"a":[]} x"#, "trailing"), ("", "EOF")] {
            let Err(BodyError::Invalid(reason)) = json::<Numbers>(Body::from(text), 100).await else {
                panic!("{text} was taken")
            };
            assert!(reason.contains(word), "{text}: {reason}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_given_up() {
        let head = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
        let body = Body::from_stream(head.chain(stream::pending()));
        assert_eq!(json::<Numbers>(body, 100).await, Err(BodyError::TooSlow));
        let broken = stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]);
        let refused = discard(Body::from_stream(broken), 100).await.unwrap_err();
        assert!(matches!(refused, BodyError::Broken(_)), "{refused}");
    }
}
