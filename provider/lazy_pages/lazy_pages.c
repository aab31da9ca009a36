// Lets a stock PostgreSQL start on files whose content is not here yet (LD_PRELOAD).
//
// Here: when a chunk of a relation file must be here before a call may go on, and what is marked when. Not here: fetching, checking and
// writing a chunk (the agent, node/page_fetcher.py: it has keys, cache and store; this library has none of them and asks it by a socket).
//
// The map, one a data folder, is shared by the agent and all processes of the server. A chunk (256 KiB) is ABSENT, CLEAN (as in the image) or
// DIRTY. What lies behind an image's chunks, and a file without an entry, is the server's own. Rules, each with a control in tests/unit/lazy_pages:
//  R1 data, then the mark CLEAN (the agent). A kill between: it is fetched again.
//  R2 the mark DIRTY, then the write. A kill between: dirty for nothing.
//  R3 what is written to an absent chunk waits for it first, or the rest of it would be lost.
//  R4 the agent fetches under a lock of the chunk, and never makes a file longer; a cut takes the locks of all chunks behind it, so no fetch
//     brings back what was cut. The chunk that it cuts through is fetched, and dirty, before.
//  R5 an entry counts only for the very file that it was made for (inode and time of birth). Another of that name is new.
//  R6 at an open, chunks wholly behind the end are DIRTY: a cut may have been killed before it marked them.
//  R8 global/pg_control lies under another name, which only this library knows: nothing starts on, or checks, a folder of zeros without it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (256 * 1024L)
#define FDS 65536
#define SLICE_MS 50 /* how long a wait does not see that its query was cancelled, if no signal ends it */
#define CONTROL "global/pg_control"
#define NAME (PATH_MAX + 32)
enum state { ABSENT = 0, CLEAN, DIRTY };

// The map. node/lazy_map.py makes it, with the same layout: entries in the order of their paths, then a byte of state and one of use a chunk.
struct file_id {
    uint64_t inode;
    int64_t born_seconds;
    uint32_t born_nanoseconds, reserved;
};
struct head {
    char magic[8];
    uint64_t size, entries_at, states_at, used_at;
    uint32_t entries, chunks, chunk_bytes, reserved;
    struct file_id folder;
    _Atomic uint32_t loaded, asked, waited, failed;
};
struct entry {
    struct file_id id;
    uint64_t size;
    uint32_t first, count;
    _Atomic uint32_t dead;
    char path[84];
};
static struct head *map;
static struct entry *entries;
static _Atomic unsigned char *states, *used;
static uint32_t opened[FDS]; // entry + 1 of each open file
static char root[PATH_MAX], map_name[PATH_MAX], socket_name[sizeof((struct sockaddr_un *)0)->sun_path];
static size_t root_bytes;
static long session_wait_ms, other_wait_ms;
static const unsigned *my_database; // of the server that we sit in: MyDatabaseId, QueryCancelPending, ProcDiePending
static const volatile int *cancelled, *terminated;

// The real one of a call, looked up at its first use: others' constructors may call before ours has run.
#define REAL(ret, name, ...)                                                                                           \
    static ret (*real_##name(void))(__VA_ARGS__) {                                                                     \
        static ret (*found)(__VA_ARGS__);                                                                              \
        if (!found)                                                                                                    \
            *(void **)&found = dlsym(RTLD_NEXT, #name);                                                                \
        return found;                                                                                                  \
    }
// What programs with 64-bit names call is the same. (PostgreSQL uses the plain ones.)
#define ALSO(ret, also, name, ...) ret also(__VA_ARGS__) __attribute__((alias(#name)));
REAL(int, open, const char *, int, ...)
REAL(int, openat, int, const char *, int, ...)
REAL(int, close, int)
REAL(FILE *, fopen, const char *, const char *)
REAL(ssize_t, read, int, void *, size_t)
REAL(ssize_t, write, int, const void *, size_t)
REAL(int, ftruncate, int, off_t)
REAL(int, truncate, const char *, off_t)
REAL(int, unlink, const char *)
REAL(int, rename, const char *, const char *)
REAL(ssize_t, copy_file_range, int, off_t *, int, off_t *, size_t, unsigned)
REAL(int, posix_fallocate, int, off_t, off_t)
REAL(void *, mmap, void *, size_t, int, int, int, off_t)

static int is_file(int fd, const struct file_id *id, off_t *size) {
    struct statx seen;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &seen))
        return 0;
    *size = (off_t)seen.stx_size;
    return seen.stx_ino == id->inode && seen.stx_btime.tv_sec == id->born_seconds &&
           seen.stx_btime.tv_nsec == id->born_nanoseconds;
}
static void refuse(const char *why) { // what goes on without the map would read zeros and believe them
    dprintf(STDERR_FILENO, "FATAL:  the database's files cannot be used: %s (%s)\n", why, map_name);
    _exit(1);
}
static long number_of(const char *name, long otherwise) { return getenv(name) ? atol(getenv(name)) : otherwise; }

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("SPG99_LAZY_ROOT"), *name = getenv("SPG99_LAZY_MAP"), *socket = getenv("SPG99_LAZY_SOCKET");
    if (!folder || !name || !socket)
        return;
    if (strlen(folder) > sizeof root - 2 || strlen(name) >= sizeof map_name || strlen(socket) >= sizeof socket_name)
        refuse("a path is too long");
    sprintf(root, "%s/", folder), strcpy(map_name, name), strcpy(socket_name, socket);
    root_bytes = strlen(root);
    int fd = real_open()(map_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW), at = real_open()(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat status;
    off_t ignored;
    if (fd < 0 || at < 0 || fstat(fd, &status) || status.st_size < (off_t)sizeof *map)
        refuse("they have no map");
    struct head *mapped = real_mmap()(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED || memcmp(mapped->magic, "SPG99LP1", 8) || mapped->chunk_bytes != CHUNK || mapped->size != (uint64_t)status.st_size)
        refuse("their map is damaged");
    if (!is_file(at, &mapped->folder, &ignored)) // a copy has other files, and none of them would be fetched
        refuse("the folder is a copy of the one that was laid out");
    real_close()(fd), real_close()(at);
    entries = (struct entry *)((char *)mapped + mapped->entries_at);
    states = (_Atomic unsigned char *)mapped + mapped->states_at;
    used = (_Atomic unsigned char *)mapped + mapped->used_at;
    my_database = dlsym(RTLD_DEFAULT, "MyDatabaseId");
    *(void **)&cancelled = dlsym(RTLD_DEFAULT, "QueryCancelPending"), *(void **)&terminated = dlsym(RTLD_DEFAULT, "ProcDiePending");
    session_wait_ms = number_of("SPG99_LAZY_SESSION_WAIT_MS", 20000), other_wait_ms = number_of("SPG99_LAZY_WAIT_MS", 600000);
    map = mapped;
    if (my_database)
        atomic_store(&map->loaded, 1);
}

// The path inside the data folder, in which the server works; NULL for others.
static const char *inside(const char *path) {
    if (!map || !path)
        return NULL;
    if (!strncmp(path, root, root_bytes))
        path += root_bytes;
    while (path[0] == '.' && path[1] == '/')
        path += 2;
    return strncmp(path, "base/", 5) && strncmp(path, "global/", 7) ? NULL : path;
}
static const char *where(const char *path, char name[NAME]) { // R8
    const char *found = inside(path);
    if (!found || strcmp(found, CONTROL))
        return path;
    sprintf(name, "%s" CONTROL ".lazy", root);
    return name;
}
static int by_path(const void *path, const void *one) { return strcmp(path, ((const struct entry *)one)->path); }
static struct entry *entry_of(const char *path) {
    const char *found = inside(path);
    return found ? bsearch(found, entries, map->entries, sizeof *entries, by_path) : NULL;
}
static struct entry *entry_at(int fd) { return map && fd >= 0 && fd < FDS && opened[fd] ? &entries[opened[fd] - 1] : NULL; }
static enum state state_of(uint32_t chunk) { return (enum state)atomic_load_explicit(&states[chunk], memory_order_acquire); }
static int is_given_up(void) { return (cancelled && *cancelled) || (terminated && *terminated); }

// Locks are of an open file description: one that was inherited over a fork would exclude nobody. Closing, also by a kill, unlocks.
static int lock(uint32_t first, uint32_t count) {
    int fd = real_open()(map_name, O_RDWR | O_CLOEXEC);
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = first, .l_len = count};
    while (fd >= 0 && fcntl(fd, F_OFD_SETLKW, &range) < 0)
        if (errno != EINTR || is_given_up())
            return real_close()(fd), errno = EIO, -1;
    return fd;
}
static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
// Asks the agent to put this chunk into its file. 'y': done; 'n': it never will be; else: not now.
static char ask(uint32_t chunk, long until_ms) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct pollfd waits = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), .events = POLLIN};
    char answer = 0;
    strcpy(address.sun_path, socket_name);
    if (waits.fd >= 0 && !connect(waits.fd, (struct sockaddr *)&address, sizeof address) &&
        send(waits.fd, &chunk, sizeof chunk, MSG_NOSIGNAL) == sizeof chunk)
        while (!is_given_up() && now_ms() < until_ms)
            if (poll(&waits, 1, SLICE_MS) > 0) {
                answer = real_read()(waits.fd, &answer, 1) == 1 ? answer : 0; // 0: the agent has ended
                break;
            }
    real_close()(waits.fd);
    return answer;
}
// Waits until a chunk is here. Sessions give up after a while, with an error of this statement; who has none (recovery above all, which would
// take the server down) waits long.
static int bring(uint32_t chunk) {
    long until_ms = now_ms() + (my_database && *my_database ? session_wait_ms : other_wait_ms), pause_ms = 10;
    atomic_fetch_add(&map->asked, 1);
    while (state_of(chunk) == ABSENT) {
        char answer = ask(chunk, until_ms);
        if (answer == 'y' && state_of(chunk) != ABSENT)
            break;
        if (answer == 'n' || is_given_up() || now_ms() >= until_ms) {
            atomic_fetch_add(&map->failed, 1);
            return errno = EIO, -1;
        }
        atomic_fetch_add(&map->waited, 1);
        poll(NULL, 0, (int)pause_ms); // a signal ends it
        pause_ms = pause_ms < 200 ? 2 * pause_ms : pause_ms;
    }
    return 0;
}
// Before a call that reads or writes these bytes of the file.
static int touch(int fd, off_t at, size_t size, int is_write) {
    struct entry *entry = entry_at(fd);
    if (!entry || !size || at < 0)
        return 0;
    off_t last = (at + (off_t)size - 1) / CHUNK;
    for (off_t n = at / CHUNK; n <= last && n < entry->count; n++) {
        uint32_t chunk = entry->first + (uint32_t)n;
        if (state_of(chunk) == ABSENT && bring(chunk)) // R3
            return -1;
        if (is_write && state_of(chunk) != DIRTY)
            atomic_store(&states[chunk], DIRTY); // R2
        if (!atomic_load_explicit(&used[chunk], memory_order_relaxed))
            atomic_store_explicit(&used[chunk], 1, memory_order_relaxed);
    }
    return 0;
}
static size_t total(const struct iovec *parts, int count) { return count > 0 ? parts->iov_len + total(parts + 1, count - 1) : 0; }
static int noted(int fd, const char *path) { // what was opened
    int saved = errno;
    struct entry *entry;
    off_t size;
    struct stat status;
    if (fd >= 0 && fd < FDS) {
        opened[fd] = 0;
        if ((entry = entry_of(path)) && !atomic_load(&entry->dead) && is_file(fd, &entry->id, &size)) { // R5
            opened[fd] = (uint32_t)(entry - entries) + 1;
            for (uint32_t n = (uint32_t)((size + CHUNK - 1) / CHUNK); n < entry->count; n++) // R6
                if (state_of(entry->first + n) != DIRTY) {
                    int held = lock(entry->first + n, 1);
                    if (held >= 0 && !fstat(fd, &status) && status.st_size <= n * CHUNK)
                        atomic_store(&states[entry->first + n], DIRTY);
                    real_close()(held);
                }
        }
    }
    errno = saved;
    return fd;
}
#define MODE                                                                                                           \
    mode_t mode = 0;                                                                                                   \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                                               \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }
int ftruncate(int fd, off_t size);
int open(const char *path, int flags, ...) {
    MODE
    int cuts = flags & O_TRUNC && entry_of(path); // a cut like others
    int fd = noted(real_open()(where(path, (char[NAME]){0}), cuts ? flags & ~O_TRUNC : flags, mode), path);
    return cuts && fd >= 0 && ftruncate(fd, 0) ? close(fd), errno = EIO, -1 : fd;
}
int openat(int folder, const char *path, int flags, ...) {
    MODE
    return folder == AT_FDCWD || *path == '/' ? open(path, flags, mode) : noted(real_openat()(folder, path, flags, mode), NULL);
}
FILE *fopen(const char *path, const char *how) { // the server's first look at pg_control
    return real_fopen()(where(path, (char[NAME]){0}), how);
}
int close(int fd) {
    if (fd >= 0 && fd < FDS)
        opened[fd] = 0;
    return real_close()(fd);
}
#define bytes(data, size) ((void)(data), (size))
#define PLACED(name, also, data_type, count_type, size_of, is_write)                                                   \
    REAL(ssize_t, name, int, data_type, count_type, off_t)                                                             \
    ssize_t name(int fd, data_type data, count_type count, off_t at) {                                                 \
        return touch(fd, at, size_of(data, count), is_write) ? -1 : real_##name()(fd, data, count, at);                \
    }                                                                                                                  \
    ALSO(ssize_t, also, name, int, data_type, count_type, off_t)
#define FLAGGED(name, also, is_write)                                                                                  \
    REAL(ssize_t, name, int, const struct iovec *, int, off_t, int)                                                    \
    ssize_t name(int fd, const struct iovec *data, int count, off_t at, int flags) {                                   \
        return touch(fd, at, total(data, count), is_write) ? -1 : real_##name()(fd, data, count, at, flags);           \
    }                                                                                                                  \
    ALSO(ssize_t, also, name, int, const struct iovec *, int, off_t, int)
PLACED(pread, pread64, void *, size_t, bytes, 0)
PLACED(pwrite, pwrite64, const void *, size_t, bytes, 1)
PLACED(preadv, preadv64, const struct iovec *, int, total, 0)
PLACED(pwritev, pwritev64, const struct iovec *, int, total, 1)
FLAGGED(preadv2, preadv64v2, 0)
FLAGGED(pwritev2, pwritev64v2, 1)
ssize_t read(int fd, void *to, size_t size) {
    return entry_at(fd) && touch(fd, lseek(fd, 0, SEEK_CUR), size, 0) ? -1 : real_read()(fd, to, size);
}
ssize_t write(int fd, const void *from, size_t size) {
    struct stat status;
    if (entry_at(fd)) {
        int at_end = fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &status);
        if (touch(fd, at_end ? status.st_size : lseek(fd, 0, SEEK_CUR), size, 1))
            return -1;
    }
    return real_write()(fd, from, size);
}
int ftruncate(int fd, off_t size) { // R4
    struct entry *entry = entry_at(fd);
    struct stat status;
    if (!entry || size < 0 || fstat(fd, &status))
        return real_ftruncate()(fd, size);
    if (size >= status.st_size)
        return touch(fd, status.st_size, (size_t)(size - status.st_size), 1) ? -1 : real_ftruncate()(fd, size);
    if (size % CHUNK && touch(fd, size, 1, 1)) // cut through
        return -1;
    uint32_t begin = (uint32_t)((size + CHUNK - 1) / CHUNK);
    if (begin >= entry->count)
        return real_ftruncate()(fd, size);
    int held = lock(entry->first + begin, entry->count - begin);
    if (held < 0)
        return -1;
    int failed = real_ftruncate()(fd, size), saved = errno;
    for (uint32_t n = begin; !failed && n < entry->count; n++)
        atomic_store(&states[entry->first + n], DIRTY);
    real_close()(held);
    errno = saved;
    return failed;
}
int truncate(const char *path, off_t size) {
    if (!entry_of(path))
        return real_truncate()(path, size);
    int fd = open(path, O_RDWR | O_CLOEXEC), failed = fd < 0 || ftruncate(fd, size), saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return failed ? -1 : 0;
}
static void gone(const char *path) {
    if (entry_of(path))
        atomic_store(&entry_of(path)->dead, 1);
}
int unlink(const char *path) { // an entry that outlives its file is told by R5
    int failed = real_unlink()(path);
    if (!failed)
        gone(path);
    return failed;
}
int rename(const char *from, const char *to) { // PostgreSQL renames no relation file; who does gets it whole
    struct entry *entry = entry_of(from);
    int fd = entry ? open(from, O_RDWR | O_CLOEXEC) : -1, failed = fd >= 0 && touch(fd, 0, entry->size, 0);
    if (fd >= 0)
        close(fd);
    if (failed || real_rename()(from, to))
        return -1;
    gone(from), gone(to);
    return 0;
}
ssize_t copy_file_range(int in, off_t *from, int out, off_t *to, size_t size, unsigned flags) {
    struct stat source;
    if (entry_at(in) || entry_at(out)) {
        off_t a = from ? *from : lseek(in, 0, SEEK_CUR), b = to ? *to : lseek(out, 0, SEEK_CUR);
        size_t real = size; // callers ask for more than is there
        if (!fstat(in, &source) && a + (off_t)size > source.st_size)
            real = source.st_size > a ? (size_t)(source.st_size - a) : 0;
        if (touch(in, a, real, 0) || touch(out, b, real, 1))
            return -1;
    }
    return real_copy_file_range()(in, from, out, to, size, flags);
}
int posix_fallocate(int fd, off_t at, off_t size) {
    return touch(fd, at, (size_t)size, 1) ? EIO : real_posix_fallocate()(fd, at, size);
}
void *mmap(void *wish, size_t size, int may, int flags, int fd, off_t at) { // PostgreSQL maps no relation file; who does gets it whole
    int is_write = (may & PROT_WRITE) && (flags & MAP_SHARED);
    return touch(fd, at, size, is_write) ? MAP_FAILED : real_mmap()(wish, size, may, flags, fd, at);
}
#define NEW(name)                                                                                                      \
    REAL(int, name, const char *, struct stat *)                                                                       \
    int name(const char *path, struct stat *status) { return real_##name()(where(path, (char[NAME]){0}), status); }
NEW(stat)
NEW(lstat)
#define OLD(name) /* what a build for an older libc calls */                                                           \
    REAL(int, name, int, const char *, struct stat *)                                                                  \
    int name(int version, const char *path, struct stat *status) { return real_##name()(version, where(path, (char[NAME]){0}), status); }
OLD(__xstat)
OLD(__lxstat)
ALSO(int, open64, open, const char *, int, ...)
ALSO(int, openat64, openat, int, const char *, int, ...)
ALSO(FILE *, fopen64, fopen, const char *, const char *)
ALSO(int, ftruncate64, ftruncate, int, off_t)
ALSO(int, truncate64, truncate, const char *, off_t)
ALSO(int, posix_fallocate64, posix_fallocate, int, off_t, off_t)
ALSO(void *, mmap64, mmap, void *, size_t, int, int, int, off_t)
