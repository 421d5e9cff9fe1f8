//! Datagrams on their way out, kept in runs of equal size to one address: a run leaves in one call
//! (UDP segmentation offload, `UDP_SEGMENT` in udp(7)).

use std::net::SocketAddr;

/// Most bytes of a run: an IPv4 datagram's limit, with room for headers.
const RUN_BYTES: usize = 60_000;
/// Most datagrams of a run (the kernel's UDP_MAX_SEGMENTS).
const RUN_DATAGRAMS: usize = 64;

/// Equal datagrams (the last may be shorter) to one address.
pub(super) struct Run {
    pub(super) to: SocketAddr,
    /// Bytes of each datagram but the last.
    pub(super) segment: usize,
    pub(super) bytes: Vec<u8>,
    datagrams: usize,
    closed: bool,
}

/// What is to be sent.
#[derive(Default)]
pub(super) struct Outbox {
    runs: Vec<Run>,
    spare: Vec<Vec<u8>>,
    datagrams: usize,
}

impl Outbox {
    /// Adds the datagram that `write` makes: it gets `room` bytes and says how many it used.
    pub(super) fn add(&mut self, to: SocketAddr, room: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        let fits = |run: &Run| {
            run.to == to
                && !run.closed
                && run.datagrams < RUN_DATAGRAMS
                && run.bytes.len() + room <= RUN_BYTES
        };
        if !self.runs.last().is_some_and(fits) {
            self.begin(to);
        }
        let Some(run) = self.runs.last_mut() else { return };
        let start = run.bytes.len();
        run.bytes.resize(start + room, 0);
        let used = write(&mut run.bytes[start..]).min(room);
        run.bytes.truncate(start + used);
        if used == 0 {
            if run.datagrams == 0 {
                self.drop_last();
            }
            return;
        }
        self.datagrams += 1;
        if run.datagrams == 0 {
            run.segment = used;
            run.datagrams = 1;
        } else if used <= run.segment {
            run.datagrams += 1;
            run.closed = used < run.segment;
        } else {
            // Longer than the others: a run of its own.
            let tail = run.bytes.split_off(start);
            let run = self.begin(to);
            run.segment = used;
            run.datagrams = 1;
            run.bytes.extend_from_slice(&tail);
        }
    }

    fn begin(&mut self, to: SocketAddr) -> &mut Run {
        let bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(RUN_BYTES));
        let at = self.runs.len();
        self.runs.push(Run { to, segment: 0, bytes, datagrams: 0, closed: false });
        &mut self.runs[at]
    }

    fn drop_last(&mut self) {
        if let Some(mut run) = self.runs.pop() {
            run.bytes.clear();
            self.spare.push(run.bytes);
        }
    }

    /// Datagrams waiting.
    pub(super) fn len(&self) -> usize {
        self.datagrams
    }

    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Everything was sent, or given up.
    pub(super) fn clear(&mut self) {
        self.datagrams = 0;
        while !self.runs.is_empty() {
            self.drop_last();
        }
        self.spare.truncate(16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_of_one_address_and_one_size() {
        let (a, b): (SocketAddr, SocketAddr) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap());
        let mut outbox = Outbox::default();
        let mut sent = Vec::new();
        for (n, (to, size)) in [(a, 100), (a, 100), (a, 40), (a, 100), (a, 200), (b, 200), (b, 0), (b, 200)]
            .into_iter()
            .enumerate()
        {
            outbox.add(to, 1500, |out| {
                out[..size].fill(n as u8);
                size
            });
            if size > 0 {
                sent.push((to, vec![n as u8; size]));
            }
        }
        for _ in 0..100 {
            outbox.add(b, 1500, |out| {
                out[..200].fill(9);
                200
            });
            sent.push((b, vec![9; 200]));
        }
        let mut seen = Vec::new();
        for run in outbox.runs() {
            let chunks: Vec<_> = run.bytes.chunks(run.segment).map(<[u8]>::to_vec).collect();
            assert!(chunks.len() <= RUN_DATAGRAMS && run.bytes.len() <= RUN_BYTES);
            seen.extend(chunks.into_iter().map(|bytes| (run.to, bytes)));
        }
        assert_eq!(seen, sent, "every datagram, whole and in order");
        assert_eq!(outbox.len(), sent.len());
        outbox.clear();
        assert!(outbox.runs().is_empty());
    }
}
