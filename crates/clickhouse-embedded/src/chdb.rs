//! The door to libchdb's C interface.
//!
//! libchdb is loaded at run time, so that the rest of the workspace builds and starts without it. One
//! function does the work, `chdb_query_cmdline`: `clickhouse local`'s main. It returns when the engine has
//! ended, or ends the process itself.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

/// `chdb_result * chdb_query_cmdline(int argc, char ** argv)`, chdb.h of 26.7.
type QueryCmdline = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut c_void;

/// `const char * chdb_result_error(chdb_result *)`, of the same header.
type ResultError = unsafe extern "C" fn(*mut c_void) -> *const c_char;

/// A loaded libchdb. Never unloaded: its threads live as long as the process.
pub struct Chdb {
    query_cmdline: QueryCmdline,
    result_error: ResultError,
}

impl Chdb {
    /// Loads the library at `path`.
    ///
    /// # Errors
    /// The dynamic loader refuses the file, or it lacks a function.
    pub fn load(path: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: loading runs the library's initialisers; the operator chose the file, as they choose any
        // program, and its SHA-256 is checked where it is fetched.
        let library = unsafe { Library::new(path) }?;
        // SAFETY: the type copies chdb.h's declaration, and the library stays mapped (forgotten below).
        let query_cmdline = *unsafe { library.get::<QueryCmdline>(b"chdb_query_cmdline\0") }?;
        // SAFETY: as above.
        let result_error = *unsafe { library.get::<ResultError>(b"chdb_result_error\0") }?;
        std::mem::forget(library);
        Ok(Self { query_cmdline, result_error })
    }

    /// Runs the engine with the command line of `clickhouse local`; returns when it has ended.
    ///
    /// # Errors
    /// What the engine says of a command line or a configuration that it does not take.
    pub fn run(self, arguments: Vec<CString>) -> Result<(), String> {
        let mut argv: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
        let argc = c_int::try_from(argv.len()).map_err(|error| error.to_string())?;
        argv.push(std::ptr::null_mut());
        // SAFETY: argv holds argc NUL-terminated strings that nobody else has and that are never freed, and
        // a NULL behind them, as main's does; the result ends with the process.
        let result = unsafe { (self.query_cmdline)(argc, argv.as_mut_ptr()) };
        if result.is_null() {
            return Ok(());
        }
        // SAFETY: the result is the library's own, and is not freed.
        let error = unsafe { (self.result_error)(result) };
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: not NULL, NUL-terminated, and lives as long as the result.
        Err(unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned())
    }
}
