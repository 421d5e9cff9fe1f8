//! Ports that stay free for their owner.

use std::net::TcpListener;

use anyhow::Result;

/// A free port below the range of outgoing connections, so that none of those can take it while its
/// owner is being restarted.
pub fn free_port(taken: &[u16]) -> Result<u16> {
    for _ in 0..200 {
        let port = rand::random_range(12_000..32_000);
        if !taken.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between 12000 and 32000 on loopback")
}
