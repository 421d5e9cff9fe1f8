//! What a disk refuses is never taken for done.
//!
//! libchdb (26.7) goes on when a read or a write of a file fails: an INSERT into a disk that fails is acknowledged
//! with an empty part, and a mutation leaves one in the place of rows. A server of the same version fails the
//! statement. So this program stands between the library and the C library's reads and writes, as its symbols come
//! first: in the engine's process
//!
//! - a table's definition or a mutation that finds no room fails when it is synced: that error the library does see,
//!   and the statement fails;
//! - any other write to a disk that is full waits, as long as [`ROOM`] (what ClickHouse writes much of it reserves
//!   before, and refuses in time with `NOT_ENOUGH_SPACE`);
//! - after that, and at once on every other error of a file, the process ends. Nothing was acknowledged; what was
//!   begun is a part without its name, which the next start removes. The supervisor starts the engine again.
//!
//! The engine's own log is left out: it is no reason to end.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, fstat, readlink};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::folders::Folders;

/// How long a write waits for room. Longer than an engine has to run to be a healthy one, so that a disk that stays
/// full is no series of deaths.
const ROOM: Duration = Duration::from_secs(90);
/// How often it is tried.
const LOOK: Duration = Duration::from_millis(100);

/// Files that may be known by their number.
const FILES: usize = 4096;
/// By a file's number: the error of a write that was passed on, and which its sync has yet to tell.
static UNTOLD: [AtomicI32; FILES] = [const { AtomicI32::new(0) }; FILES];

/// Whose files are meant, once this process is an engine's.
static FOLDERS: OnceLock<Folders> = OnceLock::new();

unsafe extern "C" {
    /// Where `errno` of this thread is, of the C library.
    fn __errno_location() -> *mut c_int;
    /// dlsym(3).
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// From now on errors of the engine's files are not passed on.
pub fn watch(folders: &Folders) {
    let _ = FOLDERS.set(folders.clone());
}

/// A function of the C library that one of ours stands before.
struct Behind {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Behind {
    const fn new(name: &'static CStr) -> Self {
        Self { name, found: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Its address; the process ends where there is none, which no C library lacks.
    fn address(&self) -> *mut c_void {
        /// "the next one after this program's" (dlfcn.h).
        const NEXT: *mut c_void = usize::MAX as *mut c_void;
        let mut found = self.found.load(Ordering::Relaxed);
        if found.is_null() {
            // SAFETY: the name is NUL-terminated; the answer is an address of a library that stays, or NULL.
            found = unsafe { dlsym(NEXT, self.name.as_ptr()) };
            self.found.store(found, Ordering::Relaxed);
        }
        if found.is_null() {
            std::process::abort();
        }
        found
    }
}

fn errno() -> Errno {
    // SAFETY: the C library's own place for it, of this thread.
    Errno::from_raw_os_error(unsafe { *__errno_location() })
}

/// Makes the call until its outcome may be passed on.
fn insisted(file: c_int, call: impl Fn() -> isize) -> isize {
    let mut since = None;
    loop {
        let count = call();
        let Some(folders) = FOLDERS.get().filter(|_| count < 0) else { return count };
        let error = errno();
        let Some(name) = name_on_a_disk(folders, file, error) else {
            // SAFETY: as in `errno`; looking has changed it.
            unsafe { *__errno_location() = error.raw_os_error() };
            return count;
        };
        let full = matches!(error, Errno::NOSPC | Errno::DQUOT);
        if full
            && is_of_a_table(&name)
            && let Some(untold) = untold(file)
        {
            untold.store(error.raw_os_error(), Ordering::Relaxed);
            return count;
        }
        if !full || since.get_or_insert_with(Instant::now).elapsed() > ROOM {
            end(&name, error);
        }
        std::thread::sleep(LOOK);
    }
}

/// Not of its rows: what a statement writes before it does anything, and syncs.
fn is_of_a_table(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or_default();
    name.ends_with(".sql")
        || name.ends_with(".sql.tmp")
        || name == "format_version.txt"
        || (name.trim_start_matches("tmp_").starts_with("mutation_") && name.ends_with(".txt"))
}

fn end(name: &str, error: Errno) -> ! {
    // In one piece, whoever else writes there, and whether or not that can be written.
    let said = format!("{name}: {error}: the engine ends, so that nothing is taken for done\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), said.as_bytes());
    // At once: the library would answer others for a while when it is aborted.
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    std::process::abort();
}

fn untold(file: c_int) -> Option<&'static AtomicI32> {
    usize::try_from(file).ok().and_then(|file| UNTOLD.get(file))
}

/// What a write of the file was refused with, told once.
fn tell(file: c_int) -> Option<Errno> {
    let error = untold(file)?;
    let error = if error.load(Ordering::Relaxed) == 0 { 0 } else { error.swap(0, Ordering::Relaxed) };
    (error != 0).then(|| Errno::from_raw_os_error(error))
}

/// A sync of the file, unless it has something to tell.
fn synced(file: c_int, sync: impl Fn() -> c_int) -> c_int {
    let Some(error) = tell(file) else { return sync() };
    // SAFETY: as in `errno`.
    unsafe { *__errno_location() = error.raw_os_error() };
    -1
}

/// The file's name where the error is one of a disk's; `None`: it is passed on.
fn name_on_a_disk(folders: &Folders, file: c_int, error: Errno) -> Option<String> {
    if file < 0 || matches!(error, Errno::INTR | Errno::AGAIN | Errno::BADF | Errno::FAULT | Errno::INVAL) {
        return None;
    }
    // SAFETY: not -1, and whoever made the call keeps it open; if it is not, the kernel says so.
    let about = fstat(unsafe { BorrowedFd::borrow_raw(file) }).ok()?;
    if !FileType::from_raw_mode(about.st_mode).is_file() {
        return None;
    }
    // Files of /proc fail for other reasons.
    let name = readlink(format!("/proc/self/fd/{file}"), Vec::new()).ok()?;
    let name = name.to_string_lossy().into_owned();
    let path = Path::new(&name);
    (path.starts_with(&folders.root) && !path.starts_with(&folders.log)).then_some(name)
}

type OfAFile = unsafe extern "C" fn(c_int) -> c_int;
type Write = unsafe extern "C" fn(c_int, *const c_void, usize) -> isize;
type WriteAt = unsafe extern "C" fn(c_int, *const c_void, usize, i64) -> isize;
type Read = unsafe extern "C" fn(c_int, *mut c_void, usize) -> isize;
type ReadAt = unsafe extern "C" fn(c_int, *mut c_void, usize, i64) -> isize;

/// write(2).
///
/// # Safety
/// As that: `bytes` points to `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: usize) -> isize {
    static BEHIND: Behind = Behind::new(c"write");
    // SAFETY: it has this type (POSIX); the rest is the caller's promise.
    insisted(file, || unsafe {
        std::mem::transmute::<*mut c_void, Write>(BEHIND.address())(file, bytes, count)
    })
}

/// pwrite(2); `off_t` has 64 bits here.
///
/// # Safety
/// As that: `bytes` points to `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(file: c_int, bytes: *const c_void, count: usize, at: i64) -> isize {
    static BEHIND: Behind = Behind::new(c"pwrite");
    // SAFETY: as in `write`.
    insisted(file, || unsafe {
        std::mem::transmute::<*mut c_void, WriteAt>(BEHIND.address())(file, bytes, count, at)
    })
}

/// pwrite(2) by its other name.
///
/// # Safety
/// As that: `bytes` points to `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(file: c_int, bytes: *const c_void, count: usize, at: i64) -> isize {
    // SAFETY: the caller's promise.
    unsafe { pwrite(file, bytes, count, at) }
}

/// read(2).
///
/// # Safety
/// As that: `bytes` points to room for `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(file: c_int, bytes: *mut c_void, count: usize) -> isize {
    static BEHIND: Behind = Behind::new(c"read");
    // SAFETY: as in `write`.
    insisted(file, || unsafe {
        std::mem::transmute::<*mut c_void, Read>(BEHIND.address())(file, bytes, count)
    })
}

/// pread(2).
///
/// # Safety
/// As that: `bytes` points to room for `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread(file: c_int, bytes: *mut c_void, count: usize, at: i64) -> isize {
    static BEHIND: Behind = Behind::new(c"pread");
    // SAFETY: as in `write`.
    insisted(file, || unsafe {
        std::mem::transmute::<*mut c_void, ReadAt>(BEHIND.address())(file, bytes, count, at)
    })
}

/// pread(2) by its other name.
///
/// # Safety
/// As that: `bytes` points to room for `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread64(file: c_int, bytes: *mut c_void, count: usize, at: i64) -> isize {
    // SAFETY: the caller's promise.
    unsafe { pread(file, bytes, count, at) }
}

/// fsync(2).
///
/// # Safety
/// As that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(file: c_int) -> c_int {
    static BEHIND: Behind = Behind::new(c"fsync");
    // SAFETY: as in `write`.
    synced(file, || unsafe { std::mem::transmute::<*mut c_void, OfAFile>(BEHIND.address())(file) })
}

/// fdatasync(2).
///
/// # Safety
/// As that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    static BEHIND: Behind = Behind::new(c"fdatasync");
    // SAFETY: as in `write`.
    synced(file, || unsafe { std::mem::transmute::<*mut c_void, OfAFile>(BEHIND.address())(file) })
}

/// close(2). A file that was to be synced and is not.
///
/// # Safety
/// As that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(file: c_int) -> c_int {
    static BEHIND: Behind = Behind::new(c"close");
    if let Some(error) = tell(file) {
        end("a table's definition or a mutation, not synced", error);
    }
    // SAFETY: as in `write`.
    unsafe { std::mem::transmute::<*mut c_void, OfAFile>(BEHIND.address())(file) }
}

/// What the linker could leave out, since nothing in this program calls it.
#[used]
static KEPT: (Write, [WriteAt; 2], Read, [ReadAt; 2], [OfAFile; 3]) =
    (write, [pwrite, pwrite64], read, [pread, pread64], [fsync, fdatasync, close]);
