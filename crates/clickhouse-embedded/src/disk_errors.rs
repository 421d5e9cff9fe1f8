//! What a disk refuses is never taken for done.
//!
//! libchdb (26.7) goes on when a read or a write of a file fails: an INSERT into a disk that fails is acknowledged
//! with an empty part, and a mutation leaves one in the place of rows. A server of the same version fails the
//! statement. So this program stands between the library and the C library's reads and writes, as its symbols come
//! first: in the engine's process
//!
//! - a disk that is full is waited for, as long as [`ROOM`] (what ClickHouse writes much of it reserves before, and
//!   refuses in time with `NOT_ENOUGH_SPACE`);
//! - after that, and at once on every other error of a file, the process ends. Nothing was acknowledged; what was
//!   begun is a part without its name, which the next start removes. The supervisor starts the engine again.
//!
//! The engine's own log is left out: it is no reason to end.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, fstat, readlink};
use rustix::io::Errno;

/// How long a write waits for room. Longer than an engine has to run to be a healthy one, so that a disk that stays
/// full is no series of deaths.
const ROOM: Duration = Duration::from_secs(90);
/// How often it is tried.
const LOOK: Duration = Duration::from_millis(100);

/// This process is an engine's.
static WATCHED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    /// Where `errno` of this thread is, of the C library.
    fn __errno_location() -> *mut c_int;
}

/// From now on errors of this process's files are not passed on.
pub fn watch() {
    WATCHED.store(true, Ordering::Relaxed);
}

/// What the caller of the C function gets.
fn answered(file: c_int, call: impl Fn(BorrowedFd<'_>) -> Result<usize, Errno>) -> isize {
    let outcome = if file < 0 {
        Err(Errno::BADF)
    } else {
        // SAFETY: not -1, and the caller keeps what it hands over open during the call; if it is not open, the
        // kernel says so.
        let file = unsafe { BorrowedFd::borrow_raw(file) };
        insisted(file, &call)
    };
    match outcome {
        Ok(count) => count.cast_signed(),
        Err(error) => {
            // SAFETY: the C library's own place for it, of this thread.
            unsafe { *__errno_location() = error.raw_os_error() };
            -1
        }
    }
}

fn insisted(
    file: BorrowedFd<'_>,
    call: &impl Fn(BorrowedFd<'_>) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut since = None;
    loop {
        let error = match call(file) {
            Err(error) if WATCHED.load(Ordering::Relaxed) && is_of_a_disk(file, error) => error,
            outcome => return outcome,
        };
        let full = matches!(error, Errno::NOSPC | Errno::DQUOT);
        let since = *since.get_or_insert_with(Instant::now);
        if !full || since.elapsed() > ROOM {
            let name = name(file);
            eprintln!("{name}: {error}: the engine ends, so that nothing is taken for done");
            std::process::abort();
        }
        std::thread::sleep(LOOK);
    }
}

fn is_of_a_disk(file: BorrowedFd<'_>, error: Errno) -> bool {
    let passes = matches!(error, Errno::INTR | Errno::AGAIN | Errno::BADF | Errno::FAULT | Errno::INVAL);
    let is_file = || fstat(file).is_ok_and(|about| FileType::from_raw_mode(about.st_mode).is_file());
    !passes && is_file() && !name(file).contains("/log/")
}

fn name(file: BorrowedFd<'_>) -> String {
    use std::os::fd::AsRawFd as _;
    let link = readlink(format!("/proc/self/fd/{}", file.as_raw_fd()), Vec::new());
    link.map_or_else(|_| "a file".into(), |name| name.to_string_lossy().into_owned())
}

/// The bytes that the caller of a C function points to.
///
/// # Safety
/// `bytes` points to `count` bytes that nobody writes meanwhile, or `count` is 0.
unsafe fn given<'a>(bytes: *const c_void, count: usize) -> &'a [u8] {
    if count == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(bytes.cast(), count) }
}

/// write(2).
///
/// # Safety
/// As that: `bytes` points to `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: usize) -> isize {
    // SAFETY: the caller's promise.
    let bytes = unsafe { given(bytes, count) };
    answered(file, |file| rustix::io::write(file, bytes))
}

/// pwrite(2).
///
/// # Safety
/// As that: `bytes` points to `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(file: c_int, bytes: *const c_void, count: usize, offset: i64) -> isize {
    // SAFETY: the caller's promise.
    let bytes = unsafe { given(bytes, count) };
    answered(file, |file| rustix::io::pwrite(file, bytes, offset.cast_unsigned()))
}

/// pwrite(2) by its other name.
///
/// # Safety
/// As that: `bytes` points to `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(file: c_int, bytes: *const c_void, count: usize, offset: i64) -> isize {
    // SAFETY: the caller's promise.
    unsafe { pwrite(file, bytes, count, offset) }
}

/// What the linker would leave out, since nothing in this program calls it.
#[used]
static KEPT: [unsafe extern "C" fn(c_int, *const c_void, usize, i64) -> isize; 2] = [pwrite, pwrite64];

/// Room that the caller of a C function has for bytes.
///
/// # Safety
/// `bytes` points to `count` bytes that are the caller's alone, or `count` is 0.
unsafe fn room<'a>(bytes: *mut c_void, count: usize) -> &'a mut [std::mem::MaybeUninit<u8>] {
    if count == 0 {
        return &mut [];
    }
    // SAFETY: as the caller promises; they need not be initialised.
    unsafe { std::slice::from_raw_parts_mut(bytes.cast(), count) }
}

/// read(2).
///
/// # Safety
/// As that: `bytes` points to room for `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(file: c_int, bytes: *mut c_void, count: usize) -> isize {
    answered(file, |file| {
        // SAFETY: the caller's promise.
        let room = unsafe { room(bytes, count) };
        rustix::io::read(file, room).map(|(read, _)| read.len())
    })
}

/// pread(2).
///
/// # Safety
/// As that: `bytes` points to room for `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread(file: c_int, bytes: *mut c_void, count: usize, offset: i64) -> isize {
    answered(file, |file| {
        // SAFETY: the caller's promise.
        let room = unsafe { room(bytes, count) };
        rustix::io::pread(file, room, offset.cast_unsigned()).map(|(read, _)| read.len())
    })
}

/// pread(2) by its other name.
///
/// # Safety
/// As that: `bytes` points to room for `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread64(file: c_int, bytes: *mut c_void, count: usize, offset: i64) -> isize {
    // SAFETY: the caller's promise.
    unsafe { pread(file, bytes, count, offset) }
}
