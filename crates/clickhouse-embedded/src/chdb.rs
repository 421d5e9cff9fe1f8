//! The door to libchdb's C interface: the one file of this crate where `unsafe` is allowed.
//!
//! libchdb is loaded at run time, so that the rest of the workspace builds and starts without it.
//! A connection runs one statement at a time (the library takes a mutex inside); several connections
//! run in parallel. [`RawConnection`]'s methods therefore take `&mut self`: the borrow checker keeps
//! to the library's rule. All of them block; callers run them on threads that may block.
//!
//! Ownership: every result, insert stream and connection that the library hands out is owned by one
//! Rust value and freed by its `Drop`, on every path. Texts that the library returns are copied before
//! their owner is freed.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::Arc;

use libloading::Library;

type Handle = *mut c_void;
type Connection = *mut Handle;
type Texts = *const *const c_char;
type Lengths = *const usize;

/// The functions of libchdb that we call, resolved once. C signatures as in chdb.h of 26.7.
struct Api {
    connect: unsafe extern "C" fn(c_int, *const *const c_char) -> Connection,
    close_conn: unsafe extern "C" fn(Connection),
    shutdown: unsafe extern "C" fn() -> c_int,
    set_signal_handlers_enabled: unsafe extern "C" fn(c_int),
    query: unsafe extern "C" fn(
        Handle,
        *const c_char,
        usize,
        *const c_char,
        usize,
        Texts,
        Lengths,
        Texts,
        Lengths,
        usize,
    ) -> Handle,
    insert: unsafe extern "C" fn(
        Handle,
        *const c_char,
        usize,
        *const c_char,
        usize,
        Texts,
        Lengths,
        Texts,
        Lengths,
        usize,
    ) -> Handle,
    append: unsafe extern "C" fn(Handle, *const c_char, usize) -> c_int,
    done: unsafe extern "C" fn(Handle) -> Handle,
    cancel_insert: unsafe extern "C" fn(Handle),
    insert_error: unsafe extern "C" fn(Handle) -> *const c_char,
    destroy_insert: unsafe extern "C" fn(Handle),
    result_buffer: unsafe extern "C" fn(Handle) -> *const c_char,
    result_length: unsafe extern "C" fn(Handle) -> usize,
    result_error: unsafe extern "C" fn(Handle) -> *const c_char,
    storage_rows_read: unsafe extern "C" fn(Handle) -> u64,
    storage_bytes_read: unsafe extern "C" fn(Handle) -> u64,
    rows_written: unsafe extern "C" fn(Handle) -> u64,
    bytes_written: unsafe extern "C" fn(Handle) -> u64,
    destroy_result: unsafe extern "C" fn(Handle),
}

/// A loaded libchdb. Cheap to clone; never unloaded (its threads outlive any scope).
#[derive(Clone)]
pub struct Chdb {
    api: Arc<Api>,
}

/// Why the library could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The dynamic loader refused the file, or it lacks a function that we need.
    #[error("{path}: {reason}")]
    Unusable {
        /// The file that was tried.
        path: String,
        /// The dynamic loader's words.
        reason: String,
    },
}

/// What a finished statement read and wrote, as the engine counted it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows read from storage.
    pub read_rows: u64,
    /// Bytes read from storage, uncompressed.
    pub read_bytes: u64,
    /// Rows written.
    pub written_rows: u64,
    /// Bytes written, uncompressed.
    pub written_bytes: u64,
}

impl Chdb {
    /// Loads the library at `path` and turns its signal handlers off (signals are ours).
    ///
    /// # Errors
    /// [`LoadError::Unusable`] when the file is no libchdb of the kind that we know.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let unusable = |reason: libloading::Error| LoadError::Unusable {
            path: path.display().to_string(),
            reason: reason.to_string(),
        };
        // SAFETY: loading runs the library's initialisers; the operator chose the file, as they choose
        // any program, and its SHA-256 is checked where it is fetched.
        let library = unsafe { Library::new(path) }.map_err(unusable)?;
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type is that of the field being filled, which copies chdb.h's declaration.
                // The function pointer outlives nothing: the library is leaked below.
                *unsafe { library.get($name) }.map_err(unusable)?
            };
        }
        let api = Api {
            connect: function!(b"chdb_connect\0"),
            close_conn: function!(b"chdb_close_conn\0"),
            shutdown: function!(b"chdb_shutdown\0"),
            set_signal_handlers_enabled: function!(b"chdb_set_signal_handlers_enabled\0"),
            query: function!(b"chdb_query_with_params_n\0"),
            insert: function!(b"chdb_stream_insert_with_params_n\0"),
            append: function!(b"chdb_stream_append\0"),
            done: function!(b"chdb_stream_done\0"),
            cancel_insert: function!(b"chdb_stream_cancel_insert\0"),
            insert_error: function!(b"chdb_stream_insert_error\0"),
            destroy_insert: function!(b"chdb_destroy_insert_stream\0"),
            result_buffer: function!(b"chdb_result_buffer\0"),
            result_length: function!(b"chdb_result_length\0"),
            result_error: function!(b"chdb_result_error\0"),
            storage_rows_read: function!(b"chdb_result_storage_rows_read\0"),
            storage_bytes_read: function!(b"chdb_result_storage_bytes_read\0"),
            rows_written: function!(b"chdb_result_rows_written\0"),
            bytes_written: function!(b"chdb_result_bytes_written\0"),
            destroy_result: function!(b"chdb_destroy_query_result\0"),
        };
        // The engine's threads run until the process ends: unmapping their code is never right.
        std::mem::forget(library);
        // SAFETY: takes an int, returns nothing, called before any connection exists as chdb.h asks.
        unsafe { (api.set_signal_handlers_enabled)(0) };
        Ok(Self { api: Arc::new(api) })
    }

    /// Opens a connection with `clickhouse local` style arguments (`--path=…`). The first connection
    /// starts the engine; later ones must name the same path. `None` when the engine refuses.
    #[must_use]
    pub fn connect(&self, arguments: &[CString]) -> Option<RawConnection> {
        let program = c"clickhouse-embedded";
        let argv: Vec<*const c_char> = std::iter::once(program)
            .chain(arguments.iter().map(CString::as_c_str))
            .map(CStr::as_ptr)
            .collect();
        let argc = c_int::try_from(argv.len()).ok()?;
        // SAFETY: argv holds argc NUL-terminated strings that live until the call returns.
        let connection = unsafe { (self.api.connect)(argc, argv.as_ptr()) };
        if connection.is_null() {
            return None;
        }
        Some(RawConnection { api: Arc::clone(&self.api), connection })
    }

    /// Stops the engine. Call with every connection closed; returns whether the library agreed.
    #[must_use]
    pub fn shutdown(&self) -> bool {
        // SAFETY: no arguments; connections own a clone of the Api, and a call on a closed engine is an
        // error of the library, not undefined behaviour.
        unsafe { (self.api.shutdown)() == 0 }
    }
}

/// One connection: one statement at a time. Closing it (by drop) ends its temporary tables and settings.
pub struct RawConnection {
    api: Arc<Api>,
    connection: Connection,
}

// SAFETY: the library locks its client around every call and binds no thread-local state to a connection
// between calls; `&mut self` on every method keeps calls from overlapping.
unsafe impl Send for RawConnection {}

/// Names and values of `{name:Type}` parameters; a value is in the engine's escaped (TSV) text form.
pub type Parameters = [(String, String)];

/// A parameter list in the four arrays that the C interface wants, borrowed from [`Parameters`].
struct ParameterArrays {
    names: Vec<*const c_char>,
    name_lengths: Vec<usize>,
    values: Vec<*const c_char>,
    value_lengths: Vec<usize>,
}

impl ParameterArrays {
    fn of(parameters: &Parameters) -> Self {
        Self {
            names: parameters.iter().map(|(name, _)| name.as_ptr().cast()).collect(),
            name_lengths: parameters.iter().map(|(name, _)| name.len()).collect(),
            values: parameters.iter().map(|(_, value)| value.as_ptr().cast()).collect(),
            value_lengths: parameters.iter().map(|(_, value)| value.len()).collect(),
        }
    }
}

impl RawConnection {
    /// Runs one statement to its end and returns its output in `format`; the engine's error text else.
    ///
    /// # Errors
    /// The engine's own message (`Code: N. DB::Exception: …`).
    pub fn query(&mut self, sql: &[u8], format: &str, parameters: &Parameters) -> Result<RawOutput, String> {
        let arrays = ParameterArrays::of(parameters);
        // SAFETY: every pointer comes with its length, the arrays have `parameters.len()` entries each,
        // and all of them outlive the call, which copies what it keeps.
        let result = unsafe {
            (self.api.query)(
                *self.connection,
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                arrays.names.as_ptr(),
                arrays.name_lengths.as_ptr(),
                arrays.values.as_ptr(),
                arrays.value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        RawOutput::take(&self.api, result)
    }

    /// Opens an insert whose data follow by [`RawInsert::append`]. `sql` ends before `FORMAT`.
    ///
    /// # Errors
    /// The engine's own message: no such table, no such column, read-only.
    pub fn insert(
        &mut self,
        sql: &[u8],
        format: &str,
        parameters: &Parameters,
    ) -> Result<RawInsert<'_>, String> {
        let arrays = ParameterArrays::of(parameters);
        // SAFETY: as in `query`.
        let stream = unsafe {
            (self.api.insert)(
                *self.connection,
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                arrays.names.as_ptr(),
                arrays.name_lengths.as_ptr(),
                arrays.values.as_ptr(),
                arrays.value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        if stream.is_null() {
            return Err("Code: 1002. DB::Exception: the engine opened no insert. (UNKNOWN_EXCEPTION)".into());
        }
        let insert = RawInsert { connection: self, stream, finished: false };
        match insert.error() {
            Some(error) => Err(error),
            None => Ok(insert),
        }
    }
}

impl Drop for RawConnection {
    fn drop(&mut self) {
        // SAFETY: the connection came from chdb_connect and is closed once, here; nothing borrows it
        // any more, since results own their memory and inserts borrow `self`.
        unsafe { (self.api.close_conn)(self.connection) };
    }
}

/// The output of a finished statement, freed on drop.
pub struct RawOutput {
    api: Arc<Api>,
    result: Handle,
}

// SAFETY: a materialised result is plain memory owned by this value; no thread of the engine refers to it.
unsafe impl Send for RawOutput {}

impl RawOutput {
    fn take(api: &Arc<Api>, result: Handle) -> Result<Self, String> {
        if result.is_null() {
            return Err(
                "Code: 1002. DB::Exception: the engine returned no result. (UNKNOWN_EXCEPTION)".into()
            );
        }
        let output = Self { api: Arc::clone(api), result };
        // SAFETY: `result` is a live result; the text belongs to it and is copied before it is freed.
        match unsafe { text((output.api.result_error)(result)) } {
            Some(error) => Err(error),
            None => Ok(output),
        }
    }

    /// The output's bytes, in the format asked for.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: buffer and length describe one allocation owned by the result, which lives as long as
        // `self`, and which nothing changes.
        unsafe {
            let length = (self.api.result_length)(self.result);
            let buffer = (self.api.result_buffer)(self.result);
            if buffer.is_null() || length == 0 {
                return &[];
            }
            std::slice::from_raw_parts(buffer.cast(), length)
        }
    }

    /// What the statement read and wrote.
    #[must_use]
    pub fn counts(&self) -> Counts {
        // SAFETY: plain getters on a live result.
        unsafe {
            Counts {
                read_rows: (self.api.storage_rows_read)(self.result),
                read_bytes: (self.api.storage_bytes_read)(self.result),
                written_rows: (self.api.rows_written)(self.result),
                written_bytes: (self.api.bytes_written)(self.result),
            }
        }
    }
}

impl Drop for RawOutput {
    fn drop(&mut self) {
        // SAFETY: a live result, freed once.
        unsafe { (self.api.destroy_result)(self.result) };
    }
}

/// An insert under way. Dropped before [`RawInsert::finish`], it is cancelled: what the engine has
/// already flushed as parts stays (ClickHouse's rule), the rest is discarded.
pub struct RawInsert<'a> {
    connection: &'a mut RawConnection,
    stream: Handle,
    finished: bool,
}

impl RawInsert<'_> {
    fn error(&self) -> Option<String> {
        // SAFETY: a live insert stream; the text is copied.
        unsafe { text((self.connection.api.insert_error)(self.stream)) }
    }

    /// Hands over the next bytes of the data; blocks while the engine is behind.
    ///
    /// # Errors
    /// The engine's own message; the insert is then of no further use.
    pub fn append(&mut self, data: &[u8]) -> Result<(), String> {
        // SAFETY: pointer and length of one slice; the library copies before it returns.
        let status = unsafe { (self.connection.api.append)(self.stream, data.as_ptr().cast(), data.len()) };
        if status == 0 {
            return Ok(());
        }
        Err(self.error().unwrap_or_else(|| {
            "Code: 1002. DB::Exception: the engine took no more data. (UNKNOWN_EXCEPTION)".into()
        }))
    }

    /// Ends the data, waits until the engine has written them, and returns what it wrote.
    ///
    /// # Errors
    /// The engine's own message.
    pub fn finish(mut self) -> Result<Counts, String> {
        self.finished = true;
        // SAFETY: a live insert stream, ended once.
        let result = unsafe { (self.connection.api.done)(self.stream) };
        RawOutput::take(&self.connection.api, result).map(|output| output.counts())
    }
}

impl Drop for RawInsert<'_> {
    fn drop(&mut self) {
        // SAFETY: a live insert stream, cancelled only when it was not ended, destroyed once.
        unsafe {
            if !self.finished {
                (self.connection.api.cancel_insert)(self.stream);
            }
            (self.connection.api.destroy_insert)(self.stream);
        }
    }
}

/// Copies a text of the library; `None` for NULL.
///
/// # Safety
/// `pointer` is NULL or a NUL-terminated string that lives until this returns.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
