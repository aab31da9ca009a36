// Holds one database below its storage limit, inside a stock PostgreSQL (LD_PRELOAD).
//
// Here: counting what the server's files take, byte by byte, and refusing with ENOSPC what would grow them past the limit;
// PostgreSQL makes SQLSTATE 53100 of it, for that statement only, and strerror_r names the limit in the client's message.
// Not here: which limit (the agent writes it into the page), measuring what was there before (the agent), a full disk.
//
// Two counts: `data` (base/, global/, pg_tblspc/: relations and temporary files) and `other` (the rest of the data folder, WAL above all).
//  - Growth of data is refused when data + other would pass `limit`.
//  - What makes room again (catalogs, free space and visibility maps, the first pages of a new file) may go to limit + reserve,
//    other not counted: TRUNCATE, DROP and VACUUM work in a database that has reached its limit.
//  - Growth of other is never refused: a WAL that cannot be written is a PANIC.
//  - Only a process with a database of its own (clients, parallel workers, autovacuum) is refused: recovery and checkpoints never are.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 65536
#define FIRST_PAGES_BYTES 65536 /* an empty index of any kind that PostgreSQL has fits */
#define FIRST_NORMAL_FILE 16384 /* FirstNormalObjectId: below are catalogs */
#define LARGE_OBJECTS 2613
#define LARGE_OBJECTS_INDEX 2683
#define SENTENCE_BYTES 200

// The page the agent shares with the server. Every number is one aligned word; node/storage_page.py has the same layout.
struct page {
    char magic[8];
    _Atomic int64_t configured; // the database's own limit: the agent's memory, nothing to us
    _Atomic int64_t loaded; // 1 once a server runs with this library and can tell its processes apart
    _Atomic int64_t limit, reserve, files_limit, shm_limit, log_limit;      // the agent's
    _Atomic int64_t data_measured, other_measured, files_measured;          // the agent's
    _Atomic int64_t data_grown, other_grown, files_grown, shm, refusals;    // ours; `grown` counts from the measurement on
    _Atomic int64_t sentence_now;                                           // 0 or 1: which sentence holds
    char sentence[2][SENTENCE_BYTES];
};

enum kind { FOREIGN = 0, OTHER, DATA, ROOM_MAKER };

static struct page *page;
static unsigned char kinds[FDS];
static int lock_fd = -1; // one of its lock files is open
static char root[PATH_MAX];
static size_t root_bytes;
static const unsigned *my_database; // MyDatabaseId of the server that we sit in
static _Thread_local int refused;   // the last ENOSPC of this process was ours

// The real one of a call, looked up at its first use: others' constructors may call before ours has run.
#define REAL(ret, name, ...)                                                                                           \
    static ret (*real_##name(void))(__VA_ARGS__) {                                                                     \
        static ret (*found)(__VA_ARGS__);                                                                              \
        if (!found)                                                                                                    \
            *(void **)&found = dlsym(RTLD_NEXT, #name);                                                                \
        return found;                                                                                                  \
    }
REAL(int, open, const char *, int, ...)
REAL(int, close, int)
REAL(int, fsync, int)
REAL(ssize_t, write, int, const void *, size_t)
REAL(ssize_t, pwrite, int, const void *, size_t, off_t)
REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t)
REAL(int, ftruncate, int, off_t)
REAL(int, truncate, const char *, off_t)
REAL(int, unlink, const char *)
REAL(int, rename, const char *, const char *)
REAL(int, posix_fallocate, int, off_t, off_t)
REAL(ssize_t, copy_file_range, int, off_t *, int, off_t *, size_t, unsigned)
REAL(int, shm_unlink, const char *)
REAL(char *, strerror_r, int, char *, size_t)

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("SPG99_STORAGE_PAGE"), *folder = getenv("SPG99_STORAGE_ROOT");
    struct stat status;
    if (!name || !folder || (root_bytes = strlen(folder)) == 0 || root_bytes >= sizeof root - 2)
        return;
    memcpy(root, folder, root_bytes);
    root[root_bytes++] = '/';
    int fd = real_open()(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    if (!fstat(fd, &status) && status.st_size >= (off_t)sizeof *page) {
        struct page *mapped = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mapped != MAP_FAILED && !memcmp(mapped->magic, "SPG99SL1", 8))
            page = mapped;
    }
    real_close()(fd);
    my_database = dlsym(RTLD_DEFAULT, "MyDatabaseId");
    if (page && my_database)
        atomic_store(&page->loaded, 1);
}

static int starts(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

// What a file is, by its name: relative to the data folder, in which the server works, or absolute.
static enum kind kind_of(const char *path) {
    if (!page || !path)
        return FOREIGN;
    if (!strncmp(path, root, root_bytes))
        path += root_bytes;
    else if (*path == '/')
        return FOREIGN;
    while (starts(path, "./"))
        path += 2;
    if (!starts(path, "base/") && !starts(path, "global/") && !starts(path, "pg_tblspc/"))
        return OTHER;
    if (strstr(path, "pgsql_tmp"))
        return DATA;
    const char *name = strrchr(path, '/') + 1;
    char *rest;
    unsigned long number = strtoul(name, &rest, 10);
    if (rest == name)
        return *name == 't' ? DATA : ROOM_MAKER; // t3_16400 is a temporary table; PG_VERSION, pg_filenode.map are small
    if (number == LARGE_OBJECTS || number == LARGE_OBJECTS_INDEX)
        return DATA; // catalogs that hold what a user writes
    return number < FIRST_NORMAL_FILE || starts(rest, "_fsm") || starts(rest, "_vm") || starts(rest, "_init") ? ROOM_MAKER
                                                                                                             : DATA;
}
static int is_lock_file(const char *path) {
    const char *name = strrchr(path, '/'), *end = path + strlen(path);
    return !strcmp(path, "postmaster.pid") || (name && starts(name, "/.s.PGSQL.") && end - name > 5 && !strcmp(end - 5, ".lock"));
}
static enum kind kind_at(int fd) { return page && fd >= 0 && fd < FDS ? (enum kind)kinds[fd] : FOREIGN; }
static int may_be_refused(void) { return my_database && *my_database != 0; }
static int refuse(void) {
    atomic_fetch_add(&page->refusals, 1);
    refused = 1;
    return errno = ENOSPC, -1;
}
static _Atomic int64_t *count_of(enum kind kind) { return kind == OTHER ? &page->other_grown : &page->data_grown; }
static void shrunk(enum kind kind, off_t bytes) {
    int saved = errno;
    if (kind != FOREIGN && bytes)
        atomic_fetch_sub(count_of(kind), bytes);
    errno = saved;
}

// Takes the growth of a file to `end` into the count before it happens, so that two at once cannot both have the last bytes.
// Answers the bytes it will grow by (0: it does not grow), or -1 with ENOSPC.
static off_t admit(int fd, enum kind kind, off_t end) {
    struct stat status;
    if (kind == FOREIGN || fstat(fd, &status) || !S_ISREG(status.st_mode) || end <= status.st_size)
        return 0;
    off_t bytes = end - status.st_size;
    int64_t data = atomic_fetch_add(count_of(kind), bytes) + bytes;
    if (kind == OTHER || !may_be_refused())
        return bytes;
    data += atomic_load(&page->data_measured);
    int64_t other = atomic_load(&page->other_measured) + atomic_load(&page->other_grown);
    int64_t limit = atomic_load(&page->limit);
    if (data + (other > 0 ? other : 0) <= limit)
        return bytes;
    if ((kind == ROOM_MAKER || end <= FIRST_PAGES_BYTES) && data <= limit + atomic_load(&page->reserve))
        return bytes;
    shrunk(kind, bytes);
    return refuse();
}
// Puts right what `admit` took, once the real call has answered: `end` is how far it came.
static void settle(enum kind kind, off_t admitted, off_t wanted_end, off_t end) {
    if (end < 0 && errno == ENOSPC)
        refused = 0; // the disk's own: the sentence must not blame the limit
    if (admitted <= 0)
        return;
    off_t short_by = end < 0 ? admitted : wanted_end - end;
    shrunk(kind, short_by < admitted ? short_by : admitted);
}

int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    enum kind kind = kind_of(path);
    struct stat before = {0};
    int fresh = 0, saved = errno;
    if (kind != FOREIGN && flags & (O_CREAT | O_TRUNC))
        fresh = stat(path, &before) && errno == ENOENT && flags & O_CREAT;
    errno = saved;
    if (fresh && kind >= DATA) {
        int64_t files = atomic_load(&page->files_measured) + atomic_fetch_add(&page->files_grown, 1) + 1;
        int64_t most = atomic_load(&page->files_limit);
        if (kind == ROOM_MAKER)
            most += most / 16 + 64; // VACUUM's maps
        if (files > most && may_be_refused()) {
            atomic_fetch_sub(&page->files_grown, 1);
            return refuse();
        }
    }
    int fd = real_open()(path, flags, mode);
    saved = errno;
    if (fd < 0 && fresh && kind >= DATA)
        atomic_fetch_sub(&page->files_grown, 1);
    if (fd >= 0 && flags & O_TRUNC && S_ISREG(before.st_mode))
        shrunk(kind, before.st_size);
    if (fd >= 0 && fd < FDS)
        kinds[fd] = (unsigned char)kind;
    if (fd >= 0 && page && is_lock_file(path))
        lock_fd = fd;
    errno = saved;
    return fd;
}
// A start syncs its lock files six times, a fifth of it. After a power cut no process holds them: the agent removes what is left of them.
int fsync(int fd) { return fd >= 0 && fd == lock_fd ? 0 : real_fsync()(fd); }
int close(int fd) {
    if (fd >= 0 && fd == lock_fd)
        lock_fd = -1;
    if (fd >= 0 && fd < FDS)
        kinds[fd] = FOREIGN;
    return real_close()(fd);
}
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    enum kind kind = kind_at(fd);
    off_t end = at + (off_t)size, admitted = admit(fd, kind, end);
    if (admitted < 0)
        return -1;
    ssize_t done = real_pwrite()(fd, bytes, size, at);
    settle(kind, admitted, end, done < 0 ? -1 : at + done);
    return done;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    enum kind kind = kind_at(fd);
    off_t end = at;
    for (int i = 0; kind != FOREIGN && i < count; i++)
        end += (off_t)parts[i].iov_len;
    off_t admitted = admit(fd, kind, end);
    if (admitted < 0)
        return -1;
    ssize_t done = real_pwritev()(fd, parts, count, at);
    settle(kind, admitted, end, done < 0 ? -1 : at + done);
    return done;
}
ssize_t write(int fd, const void *bytes, size_t size) {
    enum kind kind = kind_at(fd);
    struct stat status;
    if (page && fd == STDERR_FILENO && kind == FOREIGN) { // the server's log: a flood of it ends here, the agent cuts the file
        int64_t most = atomic_load(&page->log_limit), saved = errno;
        if (most > 0 && !fstat(fd, &status) && S_ISREG(status.st_mode) && status.st_size > most)
            return (ssize_t)size;
        errno = (int)saved;
    }
    if (kind == FOREIGN || fstat(fd, &status)) {
        ssize_t done = real_write()(fd, bytes, size);
        settle(FOREIGN, 0, 0, done);
        return done;
    }
    off_t at = fcntl(fd, F_GETFL) & O_APPEND ? status.st_size : lseek(fd, 0, SEEK_CUR);
    off_t end = at + (off_t)size, admitted = admit(fd, kind, end);
    if (admitted < 0)
        return -1;
    ssize_t done = real_write()(fd, bytes, size);
    settle(kind, admitted, end, done < 0 ? -1 : at + done);
    return done;
}
int posix_fallocate(int fd, off_t at, off_t size) { // answers the error's number and leaves errno alone
    enum kind kind = kind_at(fd);
    int saved = errno;
    if (page && kind == FOREIGN) { // memory that parallel queries share
        int64_t most = atomic_load(&page->shm_limit), now = atomic_fetch_add(&page->shm, size) + size;
        int error = most > 0 && now > most && may_be_refused() ? ENOMEM : real_posix_fallocate()(fd, at, size);
        if (error)
            atomic_fetch_sub(&page->shm, size);
        return error;
    }
    off_t admitted = admit(fd, kind, at + size);
    errno = saved;
    if (admitted < 0)
        return ENOSPC;
    int error = real_posix_fallocate()(fd, at, size);
    errno = error;
    settle(kind, admitted, at + size, error ? -1 : at + size);
    errno = saved;
    return error;
}
ssize_t copy_file_range(int in, off_t *from, int out, off_t *to, size_t size, unsigned flags) {
    enum kind kind = kind_at(out);
    off_t at = to ? *to : lseek(out, 0, SEEK_CUR), end = at + (off_t)size, begin_at = from ? *from : lseek(in, 0, SEEK_CUR);
    struct stat source;
    if (!fstat(in, &source) && begin_at + (off_t)size > source.st_size) // callers ask for more than is there
        end = at + (source.st_size > begin_at ? source.st_size - begin_at : 0);
    off_t admitted = admit(out, kind, end);
    if (admitted < 0)
        return -1;
    ssize_t done = real_copy_file_range()(in, from, out, to, size, flags);
    settle(kind, admitted, end, done < 0 ? -1 : at + done);
    return done;
}
int ftruncate(int fd, off_t size) {
    enum kind kind = kind_at(fd);
    struct stat status;
    if (kind == FOREIGN || fstat(fd, &status))
        return real_ftruncate()(fd, size);
    off_t admitted = admit(fd, kind, size);
    if (admitted < 0)
        return -1;
    int failed = real_ftruncate()(fd, size);
    if (!failed && size < status.st_size)
        shrunk(kind, status.st_size - size);
    settle(kind, admitted, size, failed ? -1 : size);
    return failed;
}
int truncate(const char *path, off_t size) {
    enum kind kind = kind_of(path);
    struct stat status;
    int known = kind != FOREIGN && !stat(path, &status);
    int failed = real_truncate()(path, size);
    if (!failed && known)
        shrunk(kind, status.st_size - size); // PostgreSQL only ever cuts by name
    return failed;
}
static int last_link(const char *path, enum kind kind, struct stat *status) {
    return kind != FOREIGN && !lstat(path, status) && S_ISREG(status->st_mode) && status->st_nlink == 1;
}
static void removed(enum kind kind, const struct stat *status) {
    shrunk(kind, status->st_size);
    if (kind >= DATA)
        atomic_fetch_sub(&page->files_grown, 1);
}
int unlink(const char *path) {
    enum kind kind = kind_of(path);
    struct stat status;
    int known = last_link(path, kind, &status), failed = real_unlink()(path);
    if (!failed && known)
        removed(kind, &status);
    return failed;
}
int rename(const char *from, const char *to) {
    enum kind kind = kind_of(to);
    struct stat status;
    int known = last_link(to, kind, &status), failed = real_rename()(from, to);
    if (!failed && known)
        removed(kind, &status);
    return failed;
}
int shm_unlink(const char *name) {
    char path[PATH_MAX] = "/dev/shm/";
    struct stat status;
    int known = 0;
    if (page && name && strlen(name) < sizeof path - 16) {
        strcat(path, *name == '/' ? name + 1 : name);
        known = !stat(path, &status);
    }
    int failed = real_shm_unlink()(name);
    if (!failed && known)
        atomic_fetch_sub(&page->shm, status.st_size);
    return failed;
}
char *strerror_r(int error, char *buffer, size_t size) { // the GNU one: what PostgreSQL's %m reads
    if (page && error == ENOSPC && refused && size > 0) {
        const char *sentence = page->sentence[atomic_load(&page->sentence_now) & 1];
        size_t bytes = strnlen(sentence, SENTENCE_BYTES - 1);
        bytes = bytes < size - 1 ? bytes : size - 1;
        memcpy(buffer, sentence, bytes);
        buffer[bytes] = 0;
        return buffer;
    }
    return real_strerror_r()(error, buffer, size);
}
