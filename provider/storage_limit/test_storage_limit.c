// Tests of storage_limit.c: the library's own functions in one program, under the sanitizers, in a folder of its own.
#include "storage_limit.c"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

unsigned MyDatabaseId = 1; // the server's: found by name, as in PostgreSQL

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #what, errno);                       \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)
#define PAGE_BYTES 8192
static const char block[64 * PAGE_BYTES];
static const char SENTENCE[] = "this database has reached its storage limit of 1 MB (storage_limit_bytes)";

static void anew(int64_t limit, int64_t reserve) {
    CHECK(!system("rm -rf base global pg_wal && mkdir -p base/5 base/pgsql_tmp global pg_wal"));
    char head[8];
    memcpy(head, page->magic, 8);
    memset(page, 0, sizeof *page);
    memcpy(page->magic, head, 8);
    page->limit = limit;
    page->reserve = reserve;
    page->files_limit = 1000000;
    strcpy(page->sentence[0], SENTENCE);
    MyDatabaseId = 1, refused = 0, errno = 0;
}
static int made(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0);
    return fd;
}
static off_t length(int fd) {
    struct stat status;
    CHECK(!fstat(fd, &status));
    return status.st_size;
}
static int64_t on_disk(const char *command) { // what `find` and `wc` count, which know nothing of us
    FILE *pipe = popen(command, "r");
    long long bytes = -1;
    CHECK(pipe && fscanf(pipe, "%lld", &bytes) == 1);
    pclose(pipe);
    return bytes;
}
#define DATA_ON_DISK on_disk("find base global -type f -printf '%s\\n' | awk '{n+=$1} END {print n+0}'")
#define OTHER_ON_DISK on_disk("find pg_wal -type f -printf '%s\\n' | awk '{n+=$1} END {print n+0}'")

static void grows_to_the_limit_and_no_byte_further(void) {
    anew(1 << 20, 0);
    int fd = made("base/5/16400");
    for (off_t at = 0; at < 1 << 20; at += PAGE_BYTES)
        CHECK(pwrite(fd, block, PAGE_BYTES, at) == PAGE_BYTES);
    CHECK(pwrite(fd, block, PAGE_BYTES, 1 << 20) == -1 && errno == ENOSPC);
    CHECK(pwritev(fd, &(struct iovec){(void *)block, PAGE_BYTES}, 1, 1 << 20) == -1 && errno == ENOSPC);
    CHECK(posix_fallocate(fd, 1 << 20, 1) == ENOSPC);
    CHECK(ftruncate(fd, (1 << 20) + 1) == -1 && errno == ENOSPC);
    CHECK(lseek(fd, 0, SEEK_END) == 1 << 20 && write(fd, block, 1) == -1 && errno == ENOSPC);
    off_t to = 1 << 20, from = 0;
    CHECK(copy_file_range(fd, &from, fd, &to, 10, 0) == -1 && errno == ENOSPC);
    CHECK(length(fd) == 1 << 20 && page->data_grown == 1 << 20 && page->refusals == 6);
    CHECK(pwrite(fd, block, PAGE_BYTES, 0) == PAGE_BYTES); // what is there may be changed
    CHECK(ftruncate(fd, 0) == 0 && page->data_grown == 0);
    CHECK(pwrite(fd, block, PAGE_BYTES, 0) == PAGE_BYTES); // and room is room again
    close(fd);
}
static void a_refusal_is_named_and_a_full_disk_is_not_blamed_on_it(void) {
    anew(PAGE_BYTES, 0);
    char text[256];
    int fd = made("base/5/16400");
    CHECK(pwrite(fd, block, 2 * PAGE_BYTES, 0) == -1 && errno == ENOSPC);
    CHECK(!strcmp(strerror_r(ENOSPC, text, sizeof text), SENTENCE));
    CHECK(!strcmp(strerror_r(ENOSPC, text, 5), "this"));
    strcpy(page->sentence[1], "another"), page->sentence_now = 1;
    CHECK(!strcmp(strerror_r(ENOSPC, text, sizeof text), "another"));
    CHECK(strstr(strerror_r(ENOENT, text, sizeof text), "No such file"));
    int full = open("/dev/full", O_WRONLY);
    CHECK(full >= 0 && write(full, block, 1) == -1 && errno == ENOSPC);
    CHECK(strstr(strerror_r(ENOSPC, text, sizeof text), "No space left"));
    close(fd), close(full);
}
static void wal_counts_and_is_never_refused(void) {
    anew(1 << 20, 1 << 16);
    int wal = made("pg_wal/000000010000000000000001"), fd = made("base/5/16400"), map = made("base/5/16400_vm");
    CHECK(pwrite(wal, block, sizeof block, 0) == sizeof block);
    CHECK(pwrite(wal, block, sizeof block, 4 << 20) == sizeof block);
    CHECK(page->other_grown == (4 << 20) + (int64_t)sizeof block && page->data_grown == 0);
    CHECK(pwrite(fd, block, sizeof block, 0) == -1 && errno == ENOSPC);
    CHECK(pwrite(map, block, PAGE_BYTES, 0) == PAGE_BYTES); // what makes room does not wait for a checkpoint
    CHECK(unlink("pg_wal/000000010000000000000001") == 0 && page->other_grown == 0);
    CHECK(pwrite(fd, block, sizeof block, 0) == sizeof block);
    close(wal), close(fd), close(map);
}
static void what_makes_room_has_a_reserve(void) {
    const char *makers[] = {"base/5/1249", "base/5/16400_fsm", "base/5/16400_vm", "base/5/16400_init", "global/1260", "base/5/16999"};
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        anew(1 << 20, PAGE_BYTES);
        int fd = made("base/5/16400"), maker = made(makers[i]);
        CHECK(posix_fallocate(fd, 0, 1 << 20) == 0);
        CHECK(pwrite(fd, block, 1, 1 << 20) == -1 && errno == ENOSPC);
        CHECK(pwrite(maker, block, PAGE_BYTES, 0) == PAGE_BYTES);
        CHECK(pwrite(maker, block, PAGE_BYTES, PAGE_BYTES) == -1 && errno == ENOSPC); // which is bounded too
        close(fd), close(maker);
    }
    const char *others[] = {"base/5/t3_16400", "base/pgsql_tmp/pgsql_tmp1.0", "base/5/16400", "base/5/2613", "base/5/2683"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        anew(FIRST_PAGES_BYTES, 1 << 20);
        int fd = made(others[i]);
        CHECK(posix_fallocate(fd, 0, FIRST_PAGES_BYTES) == 0);
        CHECK(pwrite(fd, block, 1, FIRST_PAGES_BYTES) == -1 && errno == ENOSPC);
        close(fd);
    }
}
static void recovery_and_checkpoints_are_never_refused(void) {
    anew(0, 0);
    MyDatabaseId = 0;
    int fd = made("base/5/16400");
    CHECK(pwrite(fd, block, sizeof block, 0) == sizeof block && page->data_grown == sizeof block);
    close(fd);
}
static void many_at_once_do_not_pass_the_limit_together(void) {
    anew(100 * PAGE_BYTES, 0);
    for (int worker = 0; worker < 8; worker++)
        if (!fork()) {
            char name[64];
            snprintf(name, sizeof name, "base/5/%d", 17000 + worker);
            int fd = made(name);
            for (off_t at = 0; pwrite(fd, block, PAGE_BYTES, at) == PAGE_BYTES; at += PAGE_BYTES) {}
            _exit(errno != ENOSPC);
        }
    for (int status, left = 8; left--;)
        CHECK(wait(&status) > 0 && status == 0);
    CHECK(DATA_ON_DISK == 100 * PAGE_BYTES && page->data_grown == 100 * PAGE_BYTES);
}
static void what_failed_or_fell_short_is_not_counted(void) {
    anew(1 << 20, 0);
    close(made("base/5/16400"));
    int fd = open("base/5/16400", O_RDONLY), short_one = made("base/5/16401");
    CHECK(pwrite(fd, block, PAGE_BYTES, 0) == -1 && errno == EBADF && page->data_grown == 0);
    CHECK(posix_fallocate(fd, 0, PAGE_BYTES) == EBADF && page->data_grown == 0);
    CHECK(ftruncate(fd, PAGE_BYTES) == -1 && page->data_grown == 0);
    struct rlimit before, small;
    CHECK(!getrlimit(RLIMIT_FSIZE, &before));
    small = (struct rlimit){PAGE_BYTES / 2, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    CHECK(!setrlimit(RLIMIT_FSIZE, &small));
    CHECK(pwrite(short_one, block, PAGE_BYTES, 0) == PAGE_BYTES / 2);
    CHECK(!setrlimit(RLIMIT_FSIZE, &before));
    CHECK(page->data_grown == PAGE_BYTES / 2);
    close(fd), close(short_one);
}
static void files_are_counted(void) {
    anew(1 << 30, 0);
    page->files_limit = 5;
    char name[64];
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "base/5/%d", 17000 + i);
        close(made(name)), close(made(name)); // the second time it is not new
    }
    CHECK(open("base/5/18000", O_RDWR | O_CREAT, 0600) == -1 && errno == ENOSPC);
    close(made("base/5/17000_vm"));
    CHECK(!unlink("base/5/17000_vm") && !unlink("base/5/17000"));
    close(made("base/5/18000"));
    CHECK(open("base/6/1", O_RDWR | O_CREAT, 0600) == -1 && errno == ENOENT); // a failure leaves no count
    CHECK(page->files_grown == 5);
}
static void shared_memory_is_bounded(void) {
    anew(1 << 30, 0);
    page->shm_limit = 1 << 20;
    char name[64];
    snprintf(name, sizeof name, "/spg99-test-%d", getpid());
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0 && posix_fallocate(fd, 0, 2 << 20) == ENOMEM && page->shm == 0);
    CHECK(posix_fallocate(fd, 0, 1 << 20) == 0 && page->shm == 1 << 20);
    close(fd);
    CHECK(!shm_unlink(name) && page->shm == 0);
}
static void a_flood_of_the_log_ends(void) {
    anew(1 << 30, 0);
    page->log_limit = 3 * PAGE_BYTES;
    int kept = dup(STDERR_FILENO), log = made("../server.log");
    dup2(log, STDERR_FILENO);
    for (int i = 0; i < 10; i++)
        if (write(STDERR_FILENO, block, PAGE_BYTES) != PAGE_BYTES)
            _exit(2);
    dup2(kept, STDERR_FILENO), close(kept);
    CHECK(length(log) == 4 * PAGE_BYTES); // the one that passed it, and none after
    close(log), unlink("../server.log");
}
// Whether a sync of this file reaches the system: there the file is closed, behind the library's back.
static int is_synced(const char *path) {
    int fd = made(path);
    CHECK(fsync(fd) == 0 && !syscall(SYS_close, fd));
    int synced = fsync(fd) == -1 && errno == EBADF;
    close(fd);
    return synced;
}
static void all_but_lock_files_is_synced(void) {
    anew(1 << 20, 0);
    CHECK(!is_synced("postmaster.pid") && !is_synced("./.s.PGSQL.5432.lock"));
    CHECK(is_synced("global/pg_control") && is_synced("pg_wal/000000010000000000000001") && is_synced("base/5/16401"));
    CHECK(is_synced("base/5/postmaster.pid") && is_synced("postmaster.opts") && is_synced("base/.lock"));
}
static void counts_what_is_on_the_disk_after_any_history(void) {
    for (unsigned round = 1; round <= 40; round++) {
        unsigned seed = round;
        anew(3 << 20, 1 << 16);
        for (int step = 0; step < 200; step++) {
            char a[64], b[64];
            int wal = rand_r(&seed) % 4 == 0;
            snprintf(a, sizeof a, wal ? "pg_wal/%d" : "base/5/%d", 17000 + rand_r(&seed) % 5);
            snprintf(b, sizeof b, wal ? "pg_wal/%d" : "base/5/%d", 17000 + rand_r(&seed) % 5);
            off_t at = rand_r(&seed) % (1 << 20), size = rand_r(&seed) % (int)sizeof block;
            int what = rand_r(&seed) % 8, fd = what < 6 ? made(a) : -1;
            ssize_t ignored = 0;
            if (what == 0) ignored = pwrite(fd, block, (size_t)size, at);
            if (what == 1) ignored = pwritev(fd, (struct iovec[]){{(void *)block, (size_t)size}, {(void *)block, 100}}, 2, at);
            if (what == 2) ignored = posix_fallocate(fd, at, size + 1);
            if (what == 3) ignored = ftruncate(fd, at);
            if (what == 4) lseek(fd, at, SEEK_SET), ignored = write(fd, block, (size_t)size);
            if (what == 5) close(open(a, O_WRONLY | O_TRUNC));
            if (what == 6) unlink(a);
            if (what == 7 && strcmp(a, b)) rename(a, b);
            if (fd >= 0) close(fd);
            (void)ignored;
        }
        CHECK(page->data_grown == DATA_ON_DISK && page->other_grown == OTHER_ON_DISK);
        CHECK(page->data_grown <= (3 << 20) + (1 << 16));
        CHECK(page->files_grown == on_disk("find base -type f | wc -l"));
    }
}
int main(int count, char **arguments) {
    char data[PATH_MAX], name[PATH_MAX]; // in the folder that the caller names, and removes
    CHECK(count == 2 && strlen(arguments[1]) < sizeof data - 8);
    snprintf(data, sizeof data, "%s/data", arguments[1]), snprintf(name, sizeof name, "%s/page", arguments[1]);
    CHECK(!mkdir(data, 0700) && !chdir(data));
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    CHECK(ftruncate(fd, sizeof *page) == 0 && pwrite(fd, "SPG99SL1", 8, 0) == 8);
    close(fd), setenv("SPG99_STORAGE_PAGE", name, 1), setenv("SPG99_STORAGE_ROOT", data, 1);
    begin();
    CHECK(page && page->loaded);
    grows_to_the_limit_and_no_byte_further();
    a_refusal_is_named_and_a_full_disk_is_not_blamed_on_it();
    wal_counts_and_is_never_refused();
    what_makes_room_has_a_reserve();
    recovery_and_checkpoints_are_never_refused();
    many_at_once_do_not_pass_the_limit_together();
    what_failed_or_fell_short_is_not_counted();
    files_are_counted();
    shared_memory_is_bounded();
    a_flood_of_the_log_ends();
    all_but_lock_files_is_synced();
    counts_what_is_on_the_disk_after_any_history();
    puts("all right");
    return 0;
}
