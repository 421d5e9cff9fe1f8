//! What a step asks of the world. The service implements it over ClickHouse, the gateway, files and SQLite;
//! a simulation over a model.
//!
//! Each call has one effect or none, may be made again, and may fail with its effect done: a step that
//! runs again looks before it acts.

use std::future::Future;

use storage_types::{BatchId, Manifest, Proof, TimeRange, gateway_api::BatchStatus};

use crate::{
    book::{Book, Change},
    failure::Trouble,
    receipt::{Deletable, Elsewhere},
    record::{Batch, ManagedTable, Move, PartLook, PartRows, Place, RowSet},
    sabotage::{Rule, holds},
};

/// What a call comes to.
pub type Answer<T> = Result<T, Trouble>;

/// The head as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadLook {
    /// Which table of which server answers to its name.
    pub place: Place,
    /// How it is described now.
    pub table: ManagedTable,
    /// The highest number that it has given, as far as it knows ([`Head::watermark`]).
    pub highest: u64,
}

impl HeadLook {
    /// Numbers of the move mean the same rows as ever: it is the same table, and its count has not fallen below
    /// what it was. (It falls where a table has lost all its parts, and ClickHouse begins anew when it starts.)
    pub fn is_head_of(&self, record: &Move) -> bool {
        let counts_on = self.highest >= record.rows.watermark || !holds(Rule::Numbering);
        self.place == record.place && counts_on
    }
}

/// What others did to the head's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// A mutation that is not ours and not done, in the engine's words.
    pub pending: Option<String>,
    /// Columns have default expressions: what is read of a part that has not such a column changes with the table's
    /// definition, and the part does not.
    pub defaults: bool,
    /// A mutation that is not ours and deletes rows came after the watermark, or may have.
    pub deletes: bool,
    /// The table has a TTL that deletes rows, or had one.
    pub expires: bool,
    /// Number of the latest mutation that is not ours, and of the latest patch of a lightweight update; 0:
    /// none that is known.
    pub latest: u64,
}

/// How our deletion of a move's rows stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// Never asked for, or finished and forgotten.
    Absent,
    /// Under way; what it last stumbled over.
    Running(Option<String>),
    /// Every part is rewritten.
    Done,
}

/// What the NAS said of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// Ask again; what keeps it, if it said so.
    Proving(Option<String>),
    /// In the cold table, with this count and hash.
    Proven(Proof),
    /// Chunks are missing, or it does not know the batch; how it lost them, if it said so.
    Incomplete(Option<String>),
    /// Its bytes or rows are not what the manifest says, or it was given up: its id is spent.
    Spent(String),
}

/// A batch that is spooled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// What goes with it to the NAS.
    pub manifest: Manifest,
    /// The parts that its rows were in, which add up to the manifest's proof; empty: not told apart.
    pub read_from: Vec<PartRows>,
}

/// What was last done with rows of a hot server (deleted, published, withdrawn), and on whose word: kept on that
/// server, so that a catalog that is older can be known by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    /// The catalog.
    pub catalog: u64,
    /// Its version then.
    pub version: u64,
    /// Nothing was done with rows at or after this second.
    pub before: i64,
}

/// The hot engine.
pub trait Head: Sync {
    /// Describes the table.
    fn look(&self, table: &ManagedTable) -> impl Future<Output = Answer<HeadLook>> + Send;
    /// From now on every row keeps its block number, and the table counts on whatever is dropped.
    fn keep_block_numbers(&self, table: &ManagedTable) -> impl Future<Output = Answer<()>> + Send;
    /// Highest block number that the active parts of the table span, empty ones too: no row that comes later gets
    /// this number or a lower one, also when the server starts again, which makes it count on from the highest
    /// number it finds. Numbers that rows brought along from another table do not count.
    fn watermark(&self, table: &ManagedTable, window: TimeRange) -> impl Future<Output = Answer<u64>> + Send;
    /// Rows by buckets of `seconds`, none of which reaches over the window, in order of time, without empty ones.
    fn histogram(
        &self,
        table: &ManagedTable,
        rows: RowSet,
        seconds: i64,
    ) -> impl Future<Output = Answer<Vec<(TimeRange, u64)>>> + Send;
    /// Rows by the residue of their content hash: `divisor` figures.
    fn classes(
        &self,
        table: &ManagedTable,
        rows: RowSet,
        divisor: u32,
    ) -> impl Future<Output = Answer<Vec<u64>>> + Send;
    /// About how many bytes a row takes uncompressed.
    fn row_bytes(&self, table: &ManagedTable) -> impl Future<Output = Answer<u64>> + Send;
    /// The parts that hold rows of the set; hashed, or only counted.
    fn parts(
        &self,
        table: &ManagedTable,
        rows: RowSet,
        hashed: bool,
    ) -> impl Future<Output = Answer<Vec<PartLook>>> + Send;
    /// What others did since the watermark.
    fn changes(&self, table: &ManagedTable, watermark: u64) -> impl Future<Output = Answer<Changes>> + Send;
    /// Notes it durably on the hot server.
    fn witness(&self, witness: Witness) -> impl Future<Output = Answer<()>> + Send;
    /// Deletes a move's rows, or begins to, after a look at whether the table is still the one in the move's place.
    fn delete(&self, what: Deletable<'_>) -> impl Future<Output = Answer<()>> + Send;
    /// How that stands.
    fn deletion(&self, record: &Move) -> impl Future<Output = Answer<Deletion>> + Send;
}

/// Encoded batches on their way.
pub trait Spool: Sync {
    /// Reads a batch's rows from the head in the cold table's order, encodes and spools them, and proves
    /// what the head has, part by part. [`Trouble::HeadReplaced`] when that is not the table in the move's place;
    /// a slice without rows is an error of its own: [`Trouble::NoRows`].
    fn encode(
        &self,
        record: &Move,
        batch: &Batch,
        order_by: &str,
    ) -> impl Future<Output = Answer<Encoded>> + Send;
    /// Length of a spooled batch.
    fn spooled(&self, batch: BatchId) -> Option<u64>;
    /// Removes it, if it is there.
    fn remove(&self, batch: BatchId);
}

/// storage-gateway.
pub trait Nas: Sync {
    /// Makes sure of the cold table; its ORDER BY as it stands.
    fn ensure(&self, table: &ManagedTable) -> impl Future<Output = Answer<String>> + Send;
    /// Announces a batch; [`Trouble::Spent`] when its id cannot be used.
    fn announce(&self, manifest: &Manifest) -> impl Future<Output = Answer<BatchStatus>> + Send;
    /// Sends the chunks that are missing.
    fn send(
        &self,
        record: &Move,
        manifest: &Manifest,
        status: &BatchStatus,
    ) -> impl Future<Output = Answer<()>> + Send;
    /// Asks for the proof.
    fn commit(&self, batch: BatchId) -> impl Future<Output = Answer<Commit>> + Send;
    /// Whether it holds all chunks of the batch, or its rows, and has not retired it.
    fn holds(&self, batch: BatchId) -> impl Future<Output = Answer<bool>> + Send;
    /// These are published: it must not give them up. [`Trouble::Spent`] when it has not all of them.
    fn published(&self, batches: &[BatchId]) -> impl Future<Output = Answer<()>> + Send;
    /// Counts and hashes computed after the question `nonce` first came; `None` while they are computed, with
    /// how many are done.
    fn prove(
        &self,
        nonce: u64,
        batches: &[BatchId],
    ) -> impl Future<Output = Answer<Result<Vec<(BatchId, Proof)>, u64>>> + Send;
    /// They are not read again; what becomes of their rows is the NAS's rule.
    fn retire(&self, batches: &[BatchId], rows_are: Elsewhere<'_>)
    -> impl Future<Output = Answer<()>> + Send;
}

/// The journal, and who reads which version of it.
pub trait Journal: Sync {
    /// Looks at the book.
    fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T;
    /// Writes the changes in one durable transaction; answers the version in force then.
    fn commit(&self, changes: Vec<Change>) -> Answer<u64>;
    /// Whether no reader of a version below `version` can touch the rows.
    fn is_drained(&self, logical: &str, range: TimeRange, version: u64) -> bool;
    /// The catalog's id.
    fn catalog(&self) -> u64;
}

/// Everything a step touches.
pub trait World: Sync {
    /// See [`Head`].
    type Head: Head;
    /// See [`Spool`].
    type Spool: Spool;
    /// See [`Nas`].
    type Nas: Nas;
    /// See [`Journal`].
    type Journal: Journal;
    /// The hot engine that holds this table.
    fn head(&self) -> &Self::Head;
    /// Batches on their way.
    fn spool(&self) -> &Self::Spool;
    /// The gateway.
    fn nas(&self) -> &Self::Nas;
    /// The journal.
    fn journal(&self) -> &Self::Journal;
    /// Milliseconds since 1970, of a clock that may jump.
    fn now_ms(&self) -> u64;
    /// Milliseconds of a clock that does not, since some moment in this process.
    fn uptime_ms(&self) -> u64;
    /// Randomness.
    fn random(&self) -> u64;
}
