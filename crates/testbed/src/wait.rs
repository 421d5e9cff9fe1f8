//! Waiting for something that nobody announces.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Longest wait of a test for anything.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks again until the answer is `Some`.
///
/// # Errors
/// `what` did not come about within [`LIMIT`].
pub async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    within(LIMIT, what, ask).await
}

/// The same with another limit.
///
/// # Errors
/// `what` did not come about in time.
pub async fn within<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("not within {} s: {what}", limit.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_with_the_answer_or_says_what_did_not_come() {
        let mut asked = 0;
        let ask = async || {
            asked += 1;
            (asked == 3).then_some("there")
        };
        assert_eq!(eventually("the third", ask).await.unwrap(), "there");
        let error = within(Duration::ZERO, "the end of time", async || None::<()>).await.unwrap_err();
        assert!(error.to_string().contains("the end of time"), "{error}");
    }
}
