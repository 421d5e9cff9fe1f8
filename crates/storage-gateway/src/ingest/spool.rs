//! The chunks of batches that are not proven yet, as files.
//!
//! ```text
//! spool/{batch}/manifest.json       what the sender declared (for a lost journal)
//! spool/{batch}/{n}                 chunk n, whole and of the right hash when it was named so
//! spool/{batch}/{n}.{attempt}.part  on its way in
//! ```
//!
//! **Crash.** A chunk gets its name after its bytes are hashed and synced, and the name is synced
//! before the sender is told. Even so, after a restart no name is believed: [`Spool::verify`] reads
//! every chunk again and keeps those whose hash is right. Several uploads of one chunk write files
//! of their own; each may take the name, since all that may hold the same bytes.
//!
//! **Cancellation.** An upload that is dropped leaves a `.part` file; the next start, the end of the
//! batch or the janitor removes it.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use daemon::disk;
use storage_types::{BatchId, ChunkEntry, Manifest};

const MANIFEST: &str = "manifest.json";
/// Largest manifest read back, bytes (the API takes no larger one).
pub const MAX_MANIFEST_BYTES: u64 = 16 * 1024 * 1024;

/// The folder `spool/`.
#[derive(Debug)]
pub struct Spool {
    root: PathBuf,
    attempts: AtomicU64,
}

impl Spool {
    /// Opens (creates) the spool under `data_dir`.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let root = data_dir.join("spool");
        disk::create_folder(&root)?;
        Ok(Self { root, attempts: AtomicU64::new(0) })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of a batch.
    pub fn folder(&self, batch: BatchId) -> PathBuf {
        self.root.join(batch.to_string())
    }

    /// Creates the batch's folder with its manifest; doing it again is harmless.
    pub fn create(&self, manifest: &Manifest) -> io::Result<()> {
        let folder = self.folder(manifest.batch);
        disk::create_folder(&folder)?;
        let path = folder.join(MANIFEST);
        if path.exists() {
            return Ok(());
        }
        disk::write_durably(&path, &serde_json::to_vec(manifest)?)
    }

    /// A file for the bytes of a chunk on their way in.
    pub fn incoming(&self, batch: BatchId, chunk: u32) -> PathBuf {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        self.folder(batch).join(format!("{chunk}.{attempt}.part"))
    }

    /// Name of a whole chunk.
    pub fn chunk(&self, batch: BatchId, chunk: u32) -> PathBuf {
        self.folder(batch).join(chunk.to_string())
    }

    /// Removes everything of a batch.
    pub fn remove(&self, batch: BatchId) -> io::Result<()> {
        disk::remove_folder(&self.folder(batch))
    }

    /// Which chunks are held, judged by reading and hashing every one. Chunks that are not what the
    /// manifest says, and leftovers of uploads, are removed. Blocking.
    pub fn verify(&self, manifest: &Manifest) -> io::Result<Vec<bool>> {
        let folder = self.folder(manifest.batch);
        if !folder.exists() {
            return Ok(vec![false; manifest.chunks.len()]);
        }
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "part" || e == "tmp") {
                std::fs::remove_file(path)?;
            }
        }
        let mut held = Vec::with_capacity(manifest.chunks.len());
        for (n, entry) in (0_u32..).zip(&manifest.chunks) {
            let path = self.chunk(manifest.batch, n);
            let whole = is_whole(&path, entry);
            if !whole && path.symlink_metadata().is_ok() {
                tracing::warn!(batch_id = %manifest.batch, chunk = n, "a spooled chunk is not what it was: asking for it again");
                discard(&path);
            }
            held.push(whole);
        }
        Ok(held)
    }

    /// The encoded batch, chunk after chunk.
    pub fn read(&self, manifest: &Manifest) -> BatchReader {
        let chunks = u32::try_from(manifest.chunks.len()).unwrap_or(u32::MAX);
        BatchReader {
            paths: (0..chunks).map(|n| self.chunk(manifest.batch, n)).collect::<Vec<_>>().into_iter(),
            current: None,
            hasher: blake3::Hasher::new(),
            failure: None,
        }
    }

    /// Ids of the folders in the spool; names that are not ids are reported and left alone.
    pub fn batches(&self) -> io::Result<Vec<BatchId>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            match name.to_str().and_then(|n| n.parse().ok()) {
                Some(batch) => found.push(batch),
                None => tracing::warn!(?name, "a stranger in the spool: left alone"),
            }
        }
        Ok(found)
    }

    /// The manifest kept beside the chunks; `None` when there is none or it is torn.
    pub fn manifest(&self, batch: BatchId) -> Option<Manifest> {
        let file = File::open(self.folder(batch).join(MANIFEST)).ok()?;
        let manifest: Manifest =
            serde_json::from_reader(io::BufReader::new(file.take(MAX_MANIFEST_BYTES))).ok()?;
        (manifest.batch == batch).then_some(manifest)
    }
}

/// Whether a file can be read and is the chunk. Whatever keeps it from being read (an error of the disk, a
/// folder in its place): it is not held then.
fn is_whole(path: &Path, entry: &ChunkEntry) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let mut hasher = blake3::Hasher::new();
    let read = hasher.update_reader(file.take(entry.bytes + 1));
    read.is_ok() && hasher.count() == entry.bytes && hasher.finalize().to_hex().as_str() == entry.blake3
}

/// Makes room for the chunk that comes in its place.
fn discard(path: &Path) {
    let removed = match std::fs::remove_file(path) {
        Err(_) if path.is_dir() => std::fs::remove_dir_all(path),
        removed => removed,
    };
    if let Err(error) = removed {
        tracing::warn!(%error, file = %path.display(), "a bad chunk cannot be removed; the next one takes its name");
    }
}

/// Reads a batch's chunks as one stream, hashing what it reads.
pub struct BatchReader {
    paths: std::vec::IntoIter<PathBuf>,
    current: Option<File>,
    hasher: blake3::Hasher,
    failure: Option<io::Error>,
}

impl BatchReader {
    /// What the disk said, when a read failed because of it.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    fn next_bytes(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.current {
                let read = file.read(buffer)?;
                if read > 0 {
                    return Ok(read);
                }
            }
            match self.paths.next() {
                Some(path) => self.current = Some(File::open(path)?),
                None => return Ok(0),
            }
        }
    }

    /// Reads to the end and answers length and BLAKE3 (hex) of the whole.
    pub fn finish(mut self) -> io::Result<(u64, String)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((self.hasher.count(), self.hasher.finalize().to_hex().to_string()))
    }
}

impl Read for BatchReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.next_bytes(buffer) {
            Ok(read) => {
                self.hasher.update(&buffer[..read]);
                Ok(read)
            }
            Err(error) => {
                self.failure = Some(io::Error::new(error.kind(), error.to_string()));
                Err(error)
            }
        }
    }
}
