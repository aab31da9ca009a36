// Becomes a server: gives up root, bounds its own process, and goes on as the program that is named.
//
//     spg99_launch USER_ID:GROUP_ID DATA_KB PROGRAM ARGUMENT...        "-" in the place of either leaves it as it is
//
// Here: what a process can do to itself alone before PostgreSQL runs in it. Not here: which user, which bounds (the agent).
// It stands for setpriv and a shell, which take a tenth of a start by themselves; and the agent needs no copy of its memory map (fork).
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int refuse(const char *what) {
    fprintf(stderr, "spg99_launch: %s: %s\n", what, strerror(errno));
    return 126;
}
static int is_left(const char *word) { return !strcmp(word, "-"); }

// A number and nothing else, up to `end`; -1 for anything that is none. (User 4294967295 means "leave it" to setresuid.)
static long long number(const char *text, char end, const char **rest) {
    char *after;
    errno = 0;
    long long found = strtoll(text, &after, 10);
    if (*text < '0' || *text > '9' || errno || *after != end || found < 0)
        return -1;
    *rest = after + 1;
    return found;
}

static int become(const char *words) {
    const char *rest = words;
    long long user = number(words, ':', &rest), group = user < 0 ? -1 : number(rest, 0, &rest);
    if (user <= 0 || group < 0 || user >= 0xffffffffLL || group >= 0xffffffffLL)
        return errno = EINVAL, -1; // never root
    if (setgroups(0, NULL) || setresgid((gid_t)group, (gid_t)group, (gid_t)group))
        return -1;
    return setresuid((uid_t)user, (uid_t)user, (uid_t)user);
}

static int bound(const char *data_kb) {
    const char *rest;
    long long kb = number(data_kb, 0, &rest);
    if (kb <= 0 || kb > 1LL << 40)
        return errno = EINVAL, -1;
    struct rlimit data = {(rlim_t)kb << 10, (rlim_t)kb << 10}, none = {0, 0};
    // No core files: that of one session is as large as its memory.
    return setrlimit(RLIMIT_CORE, &none) || setrlimit(RLIMIT_DATA, &data) ? -1 : 0;
}

int main(int count, char **words) {
    if (count < 4) {
        errno = EINVAL;
        return refuse("wants USER_ID:GROUP_ID DATA_KB PROGRAM ARGUMENT...");
    }
    if (!is_left(words[2]) && bound(words[2]))
        return refuse("cannot bound the process");
    if (!is_left(words[1]) && become(words[1]))
        return refuse("cannot become the user");
    execv(words[3], words + 3);
    return refuse(words[3]);
}
