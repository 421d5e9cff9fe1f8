//! Container in, raw Native bytes out; see the crate's opening for what is checked when.

use std::io::{self, Read};

use zstd::stream::raw::{DParameter, Decoder as Zstd, InBuffer, Operation, OutBuffer};

use crate::{
    DecodeError,
    format::{
        CODEC, FOOTER_BYTES, FOOTER_MAGIC, FORMAT_VERSION, MAGIC, MAX_CODEC_NAME, MAX_SEGMENT, WINDOW_LOG,
    },
};

/// What a decoder may give out and allocate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most raw bytes: the manifest's `raw_bytes`.
    pub max_raw_bytes: u64,
    /// Largest zstd window, as a power of two; the decoder allocates that much.
    pub max_window_log: u32,
}

impl Limits {
    /// `max_raw_bytes` with the window of our own encoders (16 MiB).
    pub fn raw(max_raw_bytes: u64) -> Self {
        Self { max_raw_bytes, max_window_log: WINDOW_LOG }
    }
}

/// Reads a batch; errors are [`DecodeError`]s, found again by [`DecodeError::of`].
pub struct Decoder<R: Read> {
    r: R,
    zstd: Zstd<'static>,
    limits: Limits,
    segment: Box<[u8]>,
    /// The part of `segment` that zstd has not taken.
    from: usize,
    to: usize,
    /// Every segment was read.
    last_segment_seen: bool,
    /// zstd's frame is complete.
    frame_done: bool,
    /// zstd may hold more output than the last buffer took.
    output_left: bool,
    raw: blake3::Hasher,
    raw_bytes: u64,
    payload_bytes: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// Length and hash were right.
    Proven,
    /// An error was given out; there is nothing more to say.
    Failed,
}

impl<R: Read> Decoder<R> {
    /// Reads and checks the header.
    pub fn new(mut r: R, limits: Limits) -> Result<Self, DecodeError> {
        read_header(&mut r)?;
        let mut zstd = Zstd::new().map_err(DecodeError::Io)?;
        zstd.set_parameter(DParameter::WindowLogMax(limits.max_window_log)).map_err(DecodeError::Io)?;
        Ok(Self {
            r,
            zstd,
            limits,
            segment: vec![0; MAX_SEGMENT].into_boxed_slice(),
            from: 0,
            to: 0,
            last_segment_seen: false,
            frame_done: false,
            output_left: false,
            raw: blake3::Hasher::new(),
            raw_bytes: 0,
            payload_bytes: 0,
            state: State::Reading,
        })
    }

    /// Raw bytes given out so far.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Length and hash in the footer were right: every byte given out is as it was encoded.
    pub fn is_proven(&self) -> bool {
        self.state == State::Proven
    }

    fn next(&mut self, buf: &mut [u8]) -> Result<usize, DecodeError> {
        loop {
            if self.from == self.to && !self.output_left && !self.last_segment_seen {
                self.read_segment()?;
            }
            if self.last_segment_seen && self.from == self.to && !self.output_left {
                self.read_footer()?;
                return Ok(0);
            }
            if self.frame_done && self.from < self.to {
                return Err(DecodeError::Corrupt("there is data behind the zstd frame".into()));
            }
            let got = self.decompress(buf)?;
            if got > 0 {
                return Ok(got);
            }
        }
    }

    /// One step of zstd; 0 when it only took input.
    fn decompress(&mut self, buf: &mut [u8]) -> Result<usize, DecodeError> {
        // One byte beyond the cap is asked for, to see whether there is one.
        let room = self.limits.max_raw_bytes.saturating_sub(self.raw_bytes).saturating_add(1);
        let length = buf.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut input = InBuffer::around(&self.segment[self.from..self.to]);
        let mut output = OutBuffer::around(&mut buf[..length]);
        let hint =
            self.zstd.run(&mut input, &mut output).map_err(|e| DecodeError::Corrupt(format!("zstd: {e}")))?;
        let (took, got) = (input.pos(), output.pos());
        self.from += took;
        self.frame_done = hint == 0;
        self.output_left = got == length && !self.frame_done;
        if self.raw_bytes + got as u64 > self.limits.max_raw_bytes {
            return Err(DecodeError::TooLarge { limit_bytes: self.limits.max_raw_bytes });
        }
        if took == 0 && got == 0 && self.from < self.to {
            return Err(DecodeError::Corrupt("zstd makes no progress".into()));
        }
        self.raw.update(&buf[..got]);
        self.raw_bytes += got as u64;
        Ok(got)
    }

    fn read_segment(&mut self) -> Result<(), DecodeError> {
        let mut length = [0; 4];
        fill(&mut self.r, &mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_SEGMENT {
            return Err(DecodeError::Corrupt(format!("a segment of {length} bytes")));
        }
        if length == 0 {
            self.last_segment_seen = true;
            return Ok(());
        }
        fill(&mut self.r, &mut self.segment[..length])?;
        (self.from, self.to) = (0, length);
        self.payload_bytes += length as u64;
        Ok(())
    }

    fn read_footer(&mut self) -> Result<(), DecodeError> {
        if !self.frame_done {
            return Err(DecodeError::Corrupt("the zstd frame is not complete".into()));
        }
        let mut footer = [0; FOOTER_BYTES];
        fill(&mut self.r, &mut footer)?;
        let (magic, rest) = footer.split_at(4);
        let (raw_bytes, rest) = rest.split_at(8);
        let (payload_bytes, hash) = rest.split_at(8);
        if magic != FOOTER_MAGIC {
            return Err(DecodeError::Corrupt("wrong footer magic".into()));
        }
        for (what, declared, found) in
            [("raw", raw_bytes, self.raw_bytes), ("payload", payload_bytes, self.payload_bytes)]
        {
            let declared = u64::from_le_bytes(declared.try_into().unwrap_or([0xff; 8]));
            if declared != found {
                return Err(DecodeError::LengthMismatch { what, declared, found });
            }
        }
        if self.raw.finalize().as_bytes() != hash {
            return Err(DecodeError::HashMismatch);
        }
        let mut behind = [0];
        match read_some(&mut self.r, &mut behind)? {
            0 => Ok(()),
            _ => Err(DecodeError::TrailingBytes),
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.state {
            State::Proven => return Ok(0),
            // A reader that goes on after an error must not take the silence for the end.
            State::Failed => {
                return Err(DecodeError::Corrupt("an earlier read failed".into()).into());
            }
            State::Reading if buf.is_empty() => return Ok(0),
            State::Reading => {}
        }
        match self.next(buf) {
            Ok(0) => {
                self.state = State::Proven;
                Ok(0)
            }
            Ok(got) => Ok(got),
            Err(error) => {
                self.state = State::Failed;
                Err(error.into())
            }
        }
    }
}

fn read_header(r: &mut impl Read) -> Result<(), DecodeError> {
    let mut magic = [0; MAGIC.len()];
    fill(r, &mut magic)?;
    if magic != MAGIC {
        return Err(DecodeError::BadMagic);
    }
    let mut version = [0; 2];
    fill(r, &mut version)?;
    let version = u16::from_le_bytes(version);
    if version != FORMAT_VERSION {
        return Err(DecodeError::UnknownVersion(version));
    }
    let mut length = [0];
    fill(r, &mut length)?;
    let length = usize::from(length[0]);
    if length > MAX_CODEC_NAME {
        return Err(DecodeError::Corrupt(format!("a codec name of {length} bytes")));
    }
    let mut name = [0; MAX_CODEC_NAME];
    fill(r, &mut name[..length])?;
    if &name[..length] != CODEC.as_bytes() {
        return Err(DecodeError::UnknownCodec(String::from_utf8_lossy(&name[..length]).into_owned()));
    }
    Ok(())
}

/// `read_exact` whose early end is [`DecodeError::Truncated`].
fn fill(r: &mut impl Read, buf: &mut [u8]) -> Result<(), DecodeError> {
    r.read_exact(buf).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => DecodeError::Truncated,
        _ => DecodeError::Io(error),
    })
}

fn read_some(r: &mut impl Read, buf: &mut [u8]) -> Result<usize, DecodeError> {
    loop {
        match r.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(DecodeError::Io),
        }
    }
}
