//! Outgoing datagrams, collected into batches of equal datagrams to one address. A batch leaves in one system
//! call (generic segmentation offload, `UDP_SEGMENT` in udp(7)).
//!
//! A queue is filled in one turn of its owner and emptied by [`super::udp::Udp::send`] in the same turn, so it
//! holds at most what one turn produces.

use std::net::SocketAddr;

/// Most bytes of a batch: the limit of an IPv4 datagram, less headers.
const BATCH_BYTES: usize = 60_000;
/// Most datagrams of a batch (the kernel's UDP_MAX_SEGMENTS).
const BATCH_DATAGRAMS: usize = 64;

/// Datagrams of equal length (the last may be shorter) to one address, for one `UDP_SEGMENT` call.
pub(super) struct GsoBatch {
    pub(super) to: SocketAddr,
    /// Bytes of each datagram but the last.
    pub(super) segment: usize,
    pub(super) bytes: Vec<u8>,
    datagrams: usize,
    /// The last datagram is shorter: nothing may follow it.
    closed: bool,
}

/// Batches that wait to be sent, in order.
#[derive(Default)]
pub(super) struct SendQueue {
    batches: Vec<GsoBatch>,
    /// Buffers of batches that were sent.
    spare: Vec<Vec<u8>>,
    datagrams: usize,
}

impl SendQueue {
    /// Adds the datagram that `write` makes: it gets `room` bytes and says how many it used.
    pub(super) fn add(&mut self, to: SocketAddr, room: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        let fits = |batch: &GsoBatch| {
            batch.to == to
                && !batch.closed
                && batch.datagrams < BATCH_DATAGRAMS
                && batch.bytes.len() + room <= BATCH_BYTES
        };
        if !self.batches.last().is_some_and(fits) {
            self.begin(to);
        }
        let Some(batch) = self.batches.last_mut() else { return };
        let start = batch.bytes.len();
        batch.bytes.resize(start + room, 0);
        let used = write(&mut batch.bytes[start..]).min(room);
        batch.bytes.truncate(start + used);
        if used == 0 {
            if batch.datagrams == 0 {
                self.drop_last();
            }
            return;
        }
        self.datagrams += 1;
        if batch.datagrams == 0 {
            batch.segment = used;
            batch.datagrams = 1;
        } else if used <= batch.segment {
            batch.datagrams += 1;
            batch.closed = used < batch.segment;
        } else {
            // Longer than the others: a batch of its own.
            let tail = batch.bytes.split_off(start);
            let batch = self.begin(to);
            batch.segment = used;
            batch.datagrams = 1;
            batch.bytes.extend_from_slice(&tail);
        }
    }

    fn begin(&mut self, to: SocketAddr) -> &mut GsoBatch {
        let bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BATCH_BYTES));
        let at = self.batches.len();
        self.batches.push(GsoBatch { to, segment: 0, bytes, datagrams: 0, closed: false });
        &mut self.batches[at]
    }

    fn drop_last(&mut self) {
        if let Some(mut batch) = self.batches.pop() {
            batch.bytes.clear();
            self.spare.push(batch.bytes);
        }
    }

    /// Datagrams waiting.
    pub(super) fn len(&self) -> usize {
        self.datagrams
    }

    pub(super) fn batches(&self) -> &[GsoBatch] {
        &self.batches
    }

    /// Empties the queue: everything was sent, or given up.
    pub(super) fn clear(&mut self) {
        self.datagrams = 0;
        while !self.batches.is_empty() {
            self.drop_last();
        }
        self.spare.truncate(16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_of_one_address_and_one_size() {
        let (a, b): (SocketAddr, SocketAddr) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap());
        let mut queue = SendQueue::default();
        let mut sent = Vec::new();
        for (n, (to, size)) in [(a, 100), (a, 100), (a, 40), (a, 100), (a, 200), (b, 200), (b, 0), (b, 200)]
            .into_iter()
            .enumerate()
        {
            queue.add(to, 1500, |out| {
                out[..size].fill(n as u8);
                size
            });
            if size > 0 {
                sent.push((to, vec![n as u8; size]));
            }
        }
        for _ in 0..100 {
            queue.add(b, 1500, |out| {
                out[..200].fill(9);
                200
            });
            sent.push((b, vec![9; 200]));
        }
        let mut seen = Vec::new();
        for batch in queue.batches() {
            let chunks: Vec<_> = batch.bytes.chunks(batch.segment).map(<[u8]>::to_vec).collect();
            assert!(chunks.len() <= BATCH_DATAGRAMS && batch.bytes.len() <= BATCH_BYTES);
            seen.extend(chunks.into_iter().map(|bytes| (batch.to, bytes)));
        }
        assert_eq!(seen, sent, "every datagram, whole and in order");
        assert_eq!(queue.len(), sent.len());
        queue.clear();
        assert!(queue.batches().is_empty());
    }
}
