/* Preloaded: reads, writes or syncs of files on one disk fail with EIO, or do not come back, as long as the control
 * file says so. The control file is mapped before the program starts, and holds: the disk's number, what is to fail
 * (1: reads, 2: writes, 4: syncs) or to be stuck (the same eight bits higher), and how often something has been. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { READS = 1, WRITES = 2, SYNCS = 4, STUCK_BITS = 8 };

struct control {
    uint64_t device;
    uint32_t fails;
    uint32_t failed;
};

static struct control *control;

__attribute__((constructor)) static void begin(void) {
    int file = open(CONTROL, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *at = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (at != MAP_FAILED) control = at;
}

static int is_to(uint32_t what) { return (__atomic_load_n(&control->fails, __ATOMIC_ACQUIRE) & what) != 0; }

/* Only files of an engine's parts are stuck: not its log, nor what it knows of its tables, without which it can do
 * nothing at all. */
static int is_of_a_part(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "/store/") && !strstr(path, ".sql") && !strstr(path, "/format_version.txt");
}

static int broken(int file, uint32_t what) {
    uint32_t stuck = what << STUCK_BITS;
    if (!control || !is_to(what | stuck)) return 0;
    int before = errno;
    struct stat about;
    int is_it = fstat(file, &about) == 0 && about.st_dev == control->device && S_ISREG(about.st_mode);
    errno = before;
    if (!is_it || (!is_to(what) && !is_of_a_part(file))) return 0;
    __atomic_fetch_add(&control->failed, 1, __ATOMIC_RELAXED);
    while (is_to(stuck)) syscall(SYS_nanosleep, &(struct timespec){0, 1000000}, NULL);
    errno = is_to(what) ? EIO : before;
    return is_to(what);
}

#define UNLESS_BROKEN(file, what, call) return broken(file, what) ? -1 : (call)

ssize_t read(int f, void *b, size_t n) { UNLESS_BROKEN(f, READS, syscall(SYS_read, f, b, n)); }
ssize_t pread(int f, void *b, size_t n, off_t o) { UNLESS_BROKEN(f, READS, syscall(SYS_pread64, f, b, n, o)); }
ssize_t pread64(int f, void *b, size_t n, off64_t o) { UNLESS_BROKEN(f, READS, syscall(SYS_pread64, f, b, n, o)); }
ssize_t readv(int f, const struct iovec *v, int n) { UNLESS_BROKEN(f, READS, syscall(SYS_readv, f, v, n)); }
ssize_t write(int f, const void *b, size_t n) { UNLESS_BROKEN(f, WRITES, syscall(SYS_write, f, b, n)); }
ssize_t pwrite(int f, const void *b, size_t n, off_t o) { UNLESS_BROKEN(f, WRITES, syscall(SYS_pwrite64, f, b, n, o)); }
ssize_t pwrite64(int f, const void *b, size_t n, off64_t o) { UNLESS_BROKEN(f, WRITES, syscall(SYS_pwrite64, f, b, n, o)); }
ssize_t writev(int f, const struct iovec *v, int n) { UNLESS_BROKEN(f, WRITES, syscall(SYS_writev, f, v, n)); }
int fsync(int f) { UNLESS_BROKEN(f, SYNCS, (int)syscall(SYS_fsync, f)); }
int fdatasync(int f) { UNLESS_BROKEN(f, SYNCS, (int)syscall(SYS_fdatasync, f)); }
