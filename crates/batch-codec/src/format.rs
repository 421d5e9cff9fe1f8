//! The numbers of the container; see `docs/batch-format.md`.

/// Codec name, as manifests carry it.
pub const CODEC: &str = "native-zstd/1";
/// Version of the container.
pub const FORMAT_VERSION: u16 = 1;

/// Begins every batch. The high bit and the line ends show transfers that are not 8-bit clean.
pub(crate) const MAGIC: [u8; 8] = *b"\x89HSB\r\n\x1a\n";
/// Begins the footer, so that a footer is never taken from the wrong place.
pub(crate) const FOOTER_MAGIC: [u8; 4] = *b"HSBF";
/// Most payload bytes in one segment.
pub(crate) const MAX_SEGMENT: usize = 1 << 20;
/// Longest codec name.
pub(crate) const MAX_CODEC_NAME: usize = 64;
/// Largest window an encoder of ours uses: 16 MiB.
pub(crate) const WINDOW_LOG: u32 = 24;
/// Footer behind its magic: raw bytes (u64), payload bytes (u64), BLAKE3 of the raw bytes.
pub(crate) const FOOTER_BYTES: usize = 4 + 8 + 8 + 32;
