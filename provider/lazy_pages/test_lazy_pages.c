// Tests of lazy_pages.c: the library's own functions in one program, under the sanitizers, in a folder of its own, with an agent that is a process.
#include "lazy_pages.c"

#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>

unsigned MyDatabaseId = 1; // the server's: found by name, as in PostgreSQL
volatile int QueryCancelPending, ProcDiePending;

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #what, errno);                       \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)
#define PAGE 8192L
#define TABLE "base/5/16400"
#define INDEX "base/5/16401"
enum { TABLE_CHUNKS = 6, INDEX_CHUNKS = 2, CHUNKS = TABLE_CHUNKS + INDEX_CHUNKS };
#define LAST_BYTES (3 * PAGE) /* of the table's last chunk */
#define TABLE_BYTES ((TABLE_CHUNKS - 1) * CHUNK + LAST_BYTES)

// What the agent is to do, and what it has done.
struct orders {
    _Atomic int answer;      // 0: as it should; else this letter, and nothing is done; 's': never any
    _Atomic int slow_us;     // in the middle of a fetch
    _Atomic int in_the_middle, fetched, dies;
    _Atomic int done; // steps of a history
};
static struct orders *orders;
static char here[PATH_MAX], map_path[PATH_MAX], agent_socket[80];
static pid_t agent;

static unsigned char image_byte(long chunk, long at) { return (unsigned char)(1 + (chunk * 31 + at / 7) % 251); }
static void image_of(long chunk, unsigned char *to, long size) {
    for (long i = 0; i < size; i++)
        to[i] = image_byte(chunk, i);
}
static long bytes_of(long chunk) { return chunk == TABLE_CHUNKS - 1 ? LAST_BYTES : CHUNK; }
static void nap_us(long us) { struct timespec t = {us / 1000000, us % 1000000 * 1000}; nanosleep(&t, NULL); }

// The agent's part of the rules, as node/lazy_folder.py has them.
static char put(uint32_t chunk) {
    struct entry *entry = chunk < TABLE_CHUNKS ? &entries[0] : &entries[1];
    static unsigned char raw[CHUNK];
    off_t at = (off_t)(chunk - entry->first) * CHUNK, size;
    int held = lock(chunk, 1), fd = -1;
    char answer = 'y';
    if (state_of(chunk) != ABSENT)
        goto done;
    fd = real_open()(entry->path, O_WRONLY);
    if (fd < 0 || !is_file(fd, &entry->id, &size)) {
        answer = 'n';
        goto done;
    }
    if (size <= at) {
        atomic_store(&states[chunk], DIRTY);
        goto done;
    }
    long bytes = bytes_of(chunk) < size - at ? bytes_of(chunk) : size - at;
    image_of(chunk, raw, bytes);
    orders->in_the_middle = 1;
    if (orders->slow_us) {
        CHECK(real_pwrite()(fd, raw, (size_t)bytes / 2, at) == bytes / 2);
        if (orders->dies && orders->dies-- == 1)
            raise(SIGKILL);
        nap_us(orders->slow_us);
    }
    CHECK(real_pwrite()(fd, raw, (size_t)bytes, at) == bytes);
    atomic_store(&states[chunk], CLEAN);
    orders->fetched++;
done:
    if (fd >= 0)
        real_close()(fd);
    real_close()(held);
    orders->in_the_middle = 0;
    return answer;
}
static void serve(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listening = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(address.sun_path, agent_socket);
    real_unlink()(agent_socket);
    CHECK(!bind(listening, (void *)&address, sizeof address) && !listen(listening, 128));
    for (;;) {
        uint32_t chunk;
        int fd = accept(listening, NULL, NULL);
        if (fd < 0 || real_read()(fd, &chunk, 4) != 4) {
            real_close()(fd);
            continue;
        }
        char answer = (char)orders->answer;
        if (answer == 's')
            continue; // open, and silent
        if (!answer)
            answer = put(chunk);
        if (send(fd, &answer, 1, MSG_NOSIGNAL) < 0) {}
        real_close()(fd);
    }
}
static void begin_agent(void) {
    if (!(agent = fork())) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); // a test that fails leaves nobody behind
        serve();
    }
    for (int i = 0; access(agent_socket, F_OK) && i < 5000; i++)
        nap_us(1000);
}
static void end_agent(void) {
    if (agent > 0)
        kill(agent, SIGKILL), waitpid(agent, NULL, 0);
    agent = 0;
    real_unlink()(agent_socket);
}
static struct file_id id_of(const char *path) {
    struct statx seen;
    CHECK(!statx(AT_FDCWD, path, 0, STATX_BASIC_STATS | STATX_BTIME, &seen) && seen.stx_mask & STATX_BTIME);
    return (struct file_id){seen.stx_ino, seen.stx_btime.tv_sec, seen.stx_btime.tv_nsec, 0};
}
static void sparse(const char *path, off_t size) {
    int fd = real_open()(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0 && !real_ftruncate()(fd, size));
    real_close()(fd);
}
// A folder of two files of which nothing is here, its map, and an agent.
static void anew(void) {
    map = NULL, memset(opened, 0, sizeof opened);
    end_agent();
    CHECK(!system("rm -rf base global ../plain && mkdir -p base/5 global ../plain/base/5 && echo control > global/pg_control.lazy"));
    sparse(TABLE, TABLE_BYTES), sparse(INDEX, INDEX_CHUNKS * CHUNK);
    struct made {
        struct head head;
        struct entry entries[2];
        unsigned char states[CHUNKS], used[CHUNKS];
    } made = {0};
    memcpy(made.head.magic, "SPG99LP1", 8);
    made.head.size = sizeof made, made.head.chunk_bytes = CHUNK, made.head.entries = 2, made.head.chunks = CHUNKS;
    made.head.entries_at = offsetof(struct made, entries), made.head.states_at = offsetof(struct made, states);
    made.head.used_at = offsetof(struct made, used), made.head.folder = id_of(here);
    made.entries[0] = (struct entry){.id = id_of(TABLE), .size = TABLE_BYTES, .first = 0, .count = TABLE_CHUNKS, .path = TABLE};
    made.entries[1] = (struct entry){.id = id_of(INDEX), .size = INDEX_CHUNKS * CHUNK, .first = TABLE_CHUNKS, .count = INDEX_CHUNKS, .path = INDEX};
    real_unlink()(map_path);
    int fd = real_open()(map_path, O_RDWR | O_CREAT, 0600);
    CHECK(real_write()(fd, &made, sizeof made) == sizeof made);
    real_close()(fd);
    memset(orders, 0, sizeof *orders);
    begin(), begin_agent();
    CHECK(map && map->loaded);
    session_wait_ms = 400, other_wait_ms = 5000, MyDatabaseId = 1, QueryCancelPending = ProcDiePending = 0;
}
static int opened_for(const char *path, int flags) {
    int fd = open(path, flags, 0600);
    CHECK(fd >= 0);
    return fd;
}
static int is_image(const unsigned char *seen, long chunk, long from, long to) {
    for (long i = from; i < to; i++)
        if (seen[i - from] != image_byte(chunk, i))
            return 0;
    return 1;
}
static int is_all(const unsigned char *seen, long size, int byte) {
    for (long i = 0; i < size; i++)
        if (seen[i] != byte)
            return 0;
    return 1;
}
static unsigned char seen[2 * CHUNK], ones[2 * CHUNK];

static void a_read_brings_its_chunk_and_no_other(void) {
    anew();
    int fd = opened_for(TABLE, O_RDONLY);
    CHECK(pread(fd, seen, PAGE, 2 * CHUNK + PAGE) == PAGE && is_image(seen, 2, PAGE, 2 * PAGE));
    for (uint32_t n = 0; n < CHUNKS; n++)
        CHECK(state_of(n) == (n == 2 ? CLEAN : ABSENT) && used[n] == (n == 2));
    CHECK(pread(fd, seen, PAGE, 2 * CHUNK) == PAGE && orders->fetched == 1);
    CHECK(pread(fd, seen, 2 * PAGE, CHUNK - PAGE) == 2 * PAGE && is_image(seen, 0, CHUNK - PAGE, CHUNK) && is_image(seen + PAGE, 1, 0, PAGE));
    CHECK(pread(fd, seen, CHUNK, 5 * CHUNK) == LAST_BYTES && is_image(seen, 5, 0, LAST_BYTES));
    CHECK(pread(fd, seen, PAGE, TABLE_BYTES) == 0 && orders->fetched == 4);
    close(fd);
}
static void every_call_that_reads_brings_it(void) {
    struct iovec parts[] = {{seen, PAGE}, {seen + PAGE, PAGE}};
    for (int way = 0; way < 8; way++) {
        anew();
        memset(seen, 0, sizeof seen);
        int fd = opened_for(TABLE, O_RDWR), to = opened_for("base/5/17000", O_RDWR | O_CREAT);
        off_t from = CHUNK, at = 0;
        if (way == 0) CHECK(lseek(fd, CHUNK, SEEK_SET) == CHUNK && read(fd, seen, 2 * PAGE) == 2 * PAGE);
        if (way == 1) CHECK(preadv(fd, parts, 2, CHUNK) == 2 * PAGE);
        if (way == 2) CHECK(preadv2(fd, parts, 2, CHUNK, 0) == 2 * PAGE);
        if (way == 3) CHECK(pread64(fd, seen, 2 * PAGE, CHUNK) == 2 * PAGE);
        if (way == 4) CHECK(copy_file_range(fd, &from, to, &at, 2 * PAGE, 0) == 2 * PAGE && pread(to, seen, 2 * PAGE, 0) == 2 * PAGE);
        if (way == 5) {
            void *mapped = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, CHUNK);
            CHECK(mapped != MAP_FAILED); memcpy(seen, mapped, 2 * PAGE), munmap(mapped, 2 * PAGE);
        }
        if (way == 6) CHECK(!rename(TABLE, "base/5/18000") && real_pread()(fd, seen, 2 * PAGE, CHUNK) == 2 * PAGE && entries[0].dead);
        if (way == 7) {
            close(fd); CHECK((fd = openat(AT_FDCWD, TABLE, O_RDONLY)) >= 0);
            CHECK(pread(fd, seen, 2 * PAGE, CHUNK) == 2 * PAGE);
        }
        CHECK(is_image(seen, 1, 0, 2 * PAGE));
        close(fd), close(to);
    }
}
static void what_is_written_in_part_keeps_the_rest(void) {
    struct iovec parts[] = {{ones, PAGE}};
    for (int way = 0; way < 7; way++) {
        anew();
        int fd = opened_for(TABLE, O_RDWR), source = opened_for("base/5/17000", O_RDWR | O_CREAT);
        off_t at = CHUNK + PAGE, from = 0;
        CHECK(pwrite(source, ones, PAGE, 0) == PAGE);
        if (way == 0) CHECK(pwrite(fd, ones, PAGE, at) == PAGE);
        if (way == 1) CHECK(pwritev(fd, parts, 1, at) == PAGE);
        if (way == 2) CHECK(pwritev2(fd, parts, 1, at, 0) == PAGE);
        if (way == 3) CHECK(lseek(fd, at, SEEK_SET) == at && write(fd, ones, PAGE) == PAGE);
        if (way == 4) CHECK(copy_file_range(source, &from, fd, &at, PAGE, 0) == PAGE);
        if (way == 5) {
            unsigned char *mapped = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, CHUNK);
            CHECK(mapped != MAP_FAILED); memcpy(mapped + PAGE, ones, PAGE), munmap(mapped, 2 * PAGE);
        }
        if (way == 6) CHECK(posix_fallocate(fd, CHUNK + PAGE, PAGE) == 0 && real_pwrite()(fd, ones, PAGE, at) == PAGE);
        CHECK(state_of(0) == ABSENT && state_of(1) == DIRTY && state_of(2) == ABSENT);
        CHECK(pread(fd, seen, CHUNK, CHUNK) == CHUNK && is_image(seen, 1, 0, PAGE) && is_all(seen + PAGE, PAGE, 1));
        CHECK(is_image(seen + 2 * PAGE, 1, 2 * PAGE, CHUNK));
        close(fd), close(source);
    }
}
static void what_comes_behind_the_end_is_the_servers_own(void) {
    anew();
    int fd = opened_for(TABLE, O_RDWR);
    CHECK(pwrite(fd, ones, PAGE, TABLE_BYTES) == PAGE && state_of(5) == DIRTY); // the last chunk grows
    CHECK(pwrite(fd, ones, PAGE, 7 * CHUNK) == PAGE && pread(fd, seen, CHUNK, 6 * CHUNK) == CHUNK && is_all(seen, CHUNK, 0));
    CHECK(pread(fd, seen, CHUNK, 5 * CHUNK) == CHUNK && is_image(seen, 5, 0, LAST_BYTES) && is_all(seen + LAST_BYTES, PAGE, 1));
    CHECK(orders->fetched == 1 && state_of(4) == ABSENT);
    int log = opened_for(INDEX, O_WRONLY | O_APPEND);
    CHECK(write(log, ones, PAGE) == PAGE && orders->fetched == 1 && state_of(TABLE_CHUNKS) == ABSENT);
    close(fd), close(log);
}
static void a_cut_stays_a_cut(void) {
    for (int way = 0; way < 3; way++) {
        anew();
        int fd = opened_for(TABLE, O_RDWR);
        off_t end = way == 2 ? 0 : way * CHUNK + 3 * PAGE;
        if (way == 0) CHECK(!ftruncate(fd, end));
        if (way == 1) CHECK(!truncate(TABLE, end));
        if (way == 2) close(opened_for(TABLE, O_RDWR | O_TRUNC));
        for (uint32_t n = (uint32_t)(end / CHUNK); n < TABLE_CHUNKS; n++)
            CHECK(state_of(n) == DIRTY);
        CHECK(pwrite(fd, ones, PAGE, 5 * CHUNK) == PAGE && pread(fd, seen, CHUNK, end / CHUNK * CHUNK) == CHUNK);
        CHECK(is_image(seen, end / CHUNK, 0, end % CHUNK) && is_all(seen + end % CHUNK, CHUNK - end % CHUNK, 0));
        CHECK(pread(fd, seen, CHUNK, 4 * CHUNK) == CHUNK && is_all(seen, CHUNK, 0));
        CHECK(!ftruncate(fd, TABLE_BYTES) && pread(fd, seen, CHUNK, 3 * CHUNK) == CHUNK && is_all(seen, CHUNK, 0));
        close(fd);
    }
}
static void a_cut_waits_for_a_fetch_behind_it(void) {
    anew();
    orders->slow_us = 200000;
    pid_t reader = fork();
    if (!reader) {
        pread(opened_for(TABLE, O_RDONLY), seen, PAGE, 3 * CHUNK);
        _exit(0);
    }
    while (!orders->in_the_middle)
        nap_us(1000);
    int fd = opened_for(TABLE, O_RDWR);
    struct stat status;
    CHECK(!ftruncate(fd, 0));
    waitpid(reader, NULL, 0);
    for (int i = 0; orders->in_the_middle && i < 1000; i++)
        nap_us(1000);
    nap_us(50000);
    CHECK(!fstat(fd, &status) && status.st_size == 0 && state_of(3) == DIRTY);
    close(fd);
}
static void another_file_of_that_name_is_new(void) {
    for (int past = 0; past < 2; past++) {
        anew();
        CHECK(!(past ? real_unlink()(TABLE) : unlink(TABLE)) && entries[0].dead == !past);
        int fd = opened_for(TABLE, O_RDWR | O_CREAT);
        CHECK(pwrite(fd, ones, PAGE, CHUNK) == PAGE && pread(fd, seen, CHUNK, 0) == CHUNK && is_all(seen, CHUNK, 0));
        CHECK(orders->fetched == 0);
        close(fd);
    }
    anew();
    sparse("base/5/18000", TABLE_BYTES);
    CHECK(!real_rename()("base/5/18000", TABLE)); // past the library, and just as long
    int fd = opened_for(TABLE, O_RDWR);
    CHECK(pread(fd, seen, CHUNK, 0) == CHUNK && is_all(seen, CHUNK, 0) && state_of(0) == ABSENT);
    close(fd);
}
static void a_cut_that_was_killed_before_its_marks_counts(void) {
    anew();
    CHECK(!real_truncate()(TABLE, CHUNK + PAGE)); // as if; the chunk that is cut through was fetched before
    states[1] = DIRTY;
    int fd = opened_for(TABLE, O_RDWR);
    CHECK(pwrite(fd, ones, PAGE, 4 * CHUNK) == PAGE && pread(fd, seen, CHUNK, 2 * CHUNK) == CHUNK && is_all(seen, CHUNK, 0));
    CHECK(pread(fd, seen, PAGE, 0) == PAGE && is_image(seen, 0, 0, PAGE));
    close(fd);
}
static void the_control_file_has_a_name_of_ours(void) {
    anew();
    struct stat status;
    char text[16] = "", path[PATH_MAX + 32];
    sprintf(path, "%s/global/pg_control", here);
    CHECK(real_open()("global/pg_control", O_RDONLY) < 0 && errno == ENOENT);
    for (int absolute = 0; absolute < 2; absolute++) {
        const char *name = absolute ? path : "global/pg_control";
        int fd = opened_for(name, O_RDONLY);
        FILE *file = fopen(name, "r");
        CHECK(read(fd, text, 7) == 7 && !memcmp(text, "control", 7) && file && fgetc(file) == 'c');
        CHECK(!stat(name, &status) && status.st_size == 8 && !lstat(name, &status));
        close(fd), fclose(file);
    }
    CHECK(stat("global/pg_control.old", &status) && stat("/global/pg_control", &status));
}
static long took_ms(int fd, ssize_t wanted) {
    long begun = now_ms();
    CHECK(pread(fd, seen, PAGE, CHUNK) == wanted && (wanted > 0 || errno == EIO));
    return now_ms() - begun;
}
static void a_store_that_is_away_costs_a_statement_and_no_more(void) {
    anew();
    int fd = opened_for(TABLE, O_RDWR);
    const char answers[] = {'l', 's'};
    for (int i = 0; i < 2; i++) {
        orders->answer = answers[i];
        long ms = took_ms(fd, -1);
        CHECK(ms >= 350 && ms < 3000 && state_of(1) == ABSENT);
    }
    CHECK(pwrite(fd, ones, PAGE, CHUNK) == -1 && errno == EIO && state_of(1) == ABSENT && map->failed == 3);
    orders->answer = 'n'; // it never will be
    CHECK(took_ms(fd, -1) < 300);
    orders->answer = 0;
    CHECK(took_ms(fd, PAGE) < 3000 && is_image(seen, 1, 0, PAGE));
    CHECK(ftruncate(fd, 100) == 0);
    close(fd);
}
static void who_has_no_database_waits_long(void) {
    anew();
    int fd = opened_for(TABLE, O_RDWR);
    orders->answer = 'l'; MyDatabaseId = 0;
    pid_t waker = fork();
    if (!waker)
    {
        nap_us(1200000);
        orders->answer = 0;
        _exit(0);
    }
    CHECK(took_ms(fd, PAGE) > 600);
    waitpid(waker, NULL, 0);
    close(fd);
}
static void cancel(int sign) { (void)sign, QueryCancelPending = 1; }
static void end_session(int sign) { (void)sign, ProcDiePending = 1; }
static void a_cancel_ends_the_wait(void) {
    for (int way = 0; way < 2; way++) {
        anew();
        session_wait_ms = 20000; orders->answer = way ? 's' : 'l';
        int fd = opened_for(TABLE, O_RDWR);
        sigaction(SIGALRM, &(struct sigaction){.sa_handler = way ? cancel : end_session, .sa_flags = SA_RESTART}, NULL);
        alarm(1);
        CHECK(took_ms(fd, -1) < 3000);
        close(fd);
    }
}
static void an_agent_that_comes_back_is_waited_for(void) {
    anew();
    session_wait_ms = 5000; orders->slow_us = 1000; orders->dies = 1; // in the middle of the fetch
    pid_t waker = fork();
    if (!waker) {
        nap_us(300000), begin_agent(), nap_us(1500000), end_agent(), _exit(0);
    }
    int fd = opened_for(TABLE, O_RDWR);
    took_ms(fd, PAGE);
    CHECK(is_image(seen, 1, 0, PAGE) && pread(fd, seen, CHUNK, CHUNK) == CHUNK && is_image(seen, 1, 0, CHUNK));
    waitpid(waker, NULL, 0);
    close(fd);
}
static void many_at_once_lose_nothing(void) {
    anew();
    orders->slow_us = 500;
    session_wait_ms = 20000;
    for (int worker = 0; worker < 8; worker++)
        if (!fork()) {
            int fd = opened_for(TABLE, O_RDWR);
            for (long n = 0; n < TABLE_CHUNKS - 1; n++)
                CHECK(pwrite(fd, ones, PAGE, n * CHUNK + worker * PAGE) == PAGE);
            _exit(0);
        }
    for (int status, left = 8; left;) // the agent is a child, too
        if (wait(&status) != agent) {
            CHECK(status == 0);
            left--;
        }
    int fd = opened_for(TABLE, O_RDWR);
    for (long n = 0; n < TABLE_CHUNKS - 1; n++)
        CHECK(pread(fd, seen, CHUNK, n * CHUNK) == CHUNK && is_all(seen, 8 * PAGE, 1) && is_image(seen + 8 * PAGE, n, 8 * PAGE, CHUNK));
    CHECK(orders->fetched == TABLE_CHUNKS - 1);
    close(fd);
}
static int ends_with(const char *folder, const char *map_of) {
    pid_t child = fork();
    int status;
    if (!child) {
        map = NULL, close(STDERR_FILENO);
        setenv("SPG99_LAZY_ROOT", folder, 1), setenv("SPG99_LAZY_MAP", map_of, 1);
        begin();
        _exit(0);
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
static void nothing_starts_on_what_is_not_the_folder(void) {
    anew();
    CHECK(ends_with(here, map_path) == 0);
    CHECK(!system("rm -rf ../copy && cp -a . ../copy"));
    char copy[PATH_MAX];
    CHECK(realpath("../copy", copy) && ends_with(copy, map_path) == 1);
    CHECK(ends_with(here, "/nonexistent") == 1);
    int fd = real_open()(map_path, O_RDWR);
    CHECK(real_pwrite()(fd, "X", 1, 3) == 1 && ends_with(here, map_path) == 1);
    real_close()(fd);
}

// Any history, compared with plain files. A step is the same each time it is made, so the one that a kill fell into is made again, as by recovery.
static void step(unsigned seed, int number, int is_plain) {
    unsigned chance = seed * 1000003u + (unsigned)number * 7919u;
    const char *names[] = {TABLE, INDEX, "base/5/17000"};
    for (int i = 0; i < 3; i++)
        rand_r(&chance);
    int what = rand_r(&chance) % 12, byte = rand_r(&chance) % 256;
    off_t at = rand_r(&chance) % (TABLE_BYTES + CHUNK), size = 1 + rand_r(&chance) % (what == 0 ? 2 * CHUNK : 3 * PAGE);
    char path[PATH_MAX];
    sprintf(path, is_plain ? "../plain/%s" : "%s", names[rand_r(&chance) % 3]);
    if (what == 11) {
        unlink(path);
        return;
    }
    int fd = opened_for(path, O_RDWR | O_CREAT);
    unsigned char text[2 * CHUNK];
    memset(text, byte, sizeof text);
    if (what < 5) CHECK(pwrite(fd, text, (size_t)size, at) == size);
    if (what == 5) CHECK(pwritev(fd, (struct iovec[]){{text, (size_t)size}, {text, 100}}, 2, at) == size + 100);
    if (what == 6) CHECK(!posix_fallocate(fd, at, size));
    if (what == 7) CHECK(!ftruncate(fd, at));
    if (what == 8) CHECK(!truncate(path, at / CHUNK * CHUNK));
    if (what == 9) CHECK(!ftruncate(fd, at / 4));
    if (what == 10) CHECK(pread(fd, text, (size_t)size, at) >= 0);
    close(fd);
}
static void any_history_is_that_of_plain_files(int kills) {
    enum { STEPS = 60 };
    for (unsigned seed = 1; seed <= (kills ? 12 : 25); seed++) {
        anew();
        session_wait_ms = 20000; orders->slow_us = kills ? 300 : 0;
        CHECK(!system("cp --sparse=always base/5/1640* ../plain/base/5"));
        for (long n = 0; n < CHUNKS; n++) {
            int fd = real_open()(n < TABLE_CHUNKS ? "../plain/" TABLE : "../plain/" INDEX, O_WRONLY);
            image_of(n, seen, bytes_of(n));
            CHECK(real_pwrite()(fd, seen, (size_t)bytes_of(n), (n < TABLE_CHUNKS ? n : n - TABLE_CHUNKS) * CHUNK) == bytes_of(n));
            real_close()(fd);
        }
        unsigned chance = seed;
        while (orders->done < STEPS) {
            pid_t worker = fork();
            if (!worker) {
                for (int number = orders->done; number < STEPS; orders->done = ++number)
                    step(seed, number, 0);
                _exit(0);
            }
            if (kills) {
                nap_us(rand_r(&chance) % 20000);
                if (rand_r(&chance) % 3 == 0)
                    end_agent(), begin_agent();
                kill(worker, SIGKILL);
            }
            int status;
            waitpid(worker, &status, 0);
            CHECK(WIFSIGNALED(status) || status == 0);
        }
        for (int number = 0; number < STEPS; number++)
            step(seed, number, 1);
        memset(opened, 0, sizeof opened);
        const char *names[] = {TABLE, INDEX, "base/5/17000"};
        for (int i = 0; i < 3; i++) {
            char path[PATH_MAX];
            static unsigned char a[8 * CHUNK], b[8 * CHUNK];
            sprintf(path, "../plain/%s", names[i]);
            int lazy = open(names[i], O_RDONLY), plain = open(path, O_RDONLY);
            CHECK((lazy < 0) == (plain < 0));
            if (lazy < 0)
                continue;
            ssize_t n = pread(plain, b, sizeof b, 0);
            CHECK(pread(lazy, a, sizeof a, 0) == n && !memcmp(a, b, (size_t)n));
            struct entry *entry = entry_at(lazy); // what is called clean is the image's
            for (uint32_t c = 0; entry && c < entry->count; c++)
                if (state_of(entry->first + c) == CLEAN)
                    CHECK(is_image(a + c * CHUNK, entry->first + c, 0, bytes_of(entry->first + c)));
            close(lazy), close(plain);
        }
    }
}
static void any_history(void) { any_history_is_that_of_plain_files(0); }
static void any_history_with_kills(void) { any_history_is_that_of_plain_files(1); }
#define TEST(name) {#name, name}
static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    TEST(a_read_brings_its_chunk_and_no_other),
    TEST(every_call_that_reads_brings_it),
    TEST(what_is_written_in_part_keeps_the_rest),
    TEST(what_comes_behind_the_end_is_the_servers_own),
    TEST(a_cut_stays_a_cut),
    TEST(a_cut_waits_for_a_fetch_behind_it),
    TEST(another_file_of_that_name_is_new),
    TEST(a_cut_that_was_killed_before_its_marks_counts),
    TEST(the_control_file_has_a_name_of_ours),
    TEST(a_store_that_is_away_costs_a_statement_and_no_more),
    TEST(who_has_no_database_waits_long),
    TEST(a_cancel_ends_the_wait),
    TEST(an_agent_that_comes_back_is_waited_for),
    TEST(many_at_once_lose_nothing),
    TEST(nothing_starts_on_what_is_not_the_folder),
    TEST(any_history),
    TEST(any_history_with_kills),
};
int main(int count, char **arguments) {
    CHECK(count >= 2 && strlen(arguments[1]) < 1000); // in the folder that the caller names, and removes; all tests, or the one that is named
    snprintf(map_path, sizeof map_path, "%s/pages.map", arguments[1]);
    snprintf(here, sizeof here, "%s/data", arguments[1]);
    CHECK(!mkdir(here, 0700) && !chdir(here));
    strcpy(agent_socket, "../agent"); // the folder's own path may be too long
    orders = real_mmap()(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(ones, 1, sizeof ones);
    setenv("SPG99_LAZY_MAP", map_path, 1), setenv("SPG99_LAZY_ROOT", here, 1), setenv("SPG99_LAZY_SOCKET", agent_socket, 1);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (count == 2 || !strcmp(arguments[2], tests[i].name))
            tests[i].run();
    end_agent();
    puts("all right");
    return 0;
}
