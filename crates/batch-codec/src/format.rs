//! The numbers of the container; see `docs/batch-format.md`.

/// Codec name that encoders write, as manifests carry it.
pub const CODEC: &str = "native-pages/1";
/// Codec names that decoders read.
pub const CODECS: [&str; 2] = [CODEC, ZSTD_CODEC];
/// Version of the container that encoders write.
pub const FORMAT_VERSION: u16 = 2;

/// Codec of container version 1.
pub(crate) const ZSTD_CODEC: &str = "native-zstd/1";

/// Begins every batch. The high bit and the line ends show transfers that are not 8-bit clean.
pub(crate) const MAGIC: [u8; 8] = *b"\x89HSB\r\n\x1a\n";
/// Begins the footer of version 1 and ends that of version 2.
pub(crate) const FOOTER_MAGIC: [u8; 4] = *b"HSBF";
/// Longest codec name.
pub(crate) const MAX_CODEC_NAME: usize = 64;
/// Largest window an encoder of ours uses: 16 MiB.
pub(crate) const WINDOW_LOG: u32 = 24;
/// Most payload bytes in one segment of zstd.
pub(crate) const MAX_SEGMENT: usize = 1 << 20;

/// Most bytes of one Native block, and of its columns in memory; larger ones travel opaque. Row groups of
/// several blocks stay below it, too.
pub(crate) const MAX_BLOCK_BYTES: usize = 64 << 20;
/// Most memory a decoder spends on a row group: its columns, and one page's while they are made.
pub(crate) const MAX_GROUP_BYTES: usize = 128 << 20;
/// A row group ends with the block that brings it to this many bytes,
pub(crate) const GROUP_BYTES: usize = 32 << 20;
/// or this many rows.
pub(crate) const GROUP_ROWS: usize = 1 << 18;
/// Most rows of a row group.
pub(crate) const MAX_GROUP_ROWS: usize = 1 << 21;
/// Most blocks of a row group.
pub(crate) const MAX_GROUP_BLOCKS: usize = 1 << 16;
/// Most strands of a row group.
pub(crate) const MAX_STRANDS: usize = 4096;
/// Most rows of a page,
pub(crate) const PAGE_ROWS: usize = 1 << 18;
/// and about as many bytes at most.
pub(crate) const PAGE_BYTES: usize = 16 << 20;
/// Neighbouring pages of fewer rows are made one.
pub(crate) const SMALL_PAGE_ROWS: usize = 1024;
/// Most bytes of a frame.
pub(crate) const MAX_FRAME: usize = 112 << 20;
/// Most bytes of the schema.
pub(crate) const MAX_SCHEMA: usize = 16 << 20;
/// Most columns.
pub(crate) const MAX_COLUMNS: usize = 10_000;
/// Most row groups and pages of a batch together.
pub(crate) const MAX_INDEX: usize = 1 << 20;
/// Most bytes of a footer.
pub(crate) const MAX_FOOTER: usize = 64 << 20;
