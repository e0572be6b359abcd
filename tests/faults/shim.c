/* Stands between a program and libc, and lets a chosen call on a chosen file fail, wait, or be the last of its process.

   Loaded by LD_PRELOAD into a launcher and all that it starts. What happens is read from a page of memory that all of
   them share with the tests: the file that FAULTS_PAGE names, laid out as `struct page` (tests/faults/shim.py). With
   FAULTS_LOG each call that changes a file whose path matches FAULTS_LOGGED is written there as a line.

   Only x86-64 and aarch64 Linux with glibc. What libc calls within itself, such as the writes of stdio, is not seen. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, SYNC = 4, RENAME = 8, LINK = 16, UNLINK = 32, MKDIR = 64, TRUNCATE = 128 };
enum { FAIL = 1, KILL = 2, TEAR = 3, KILL_AFTER = 4, WAIT = 5, FREEZE = 6 };
enum { ANY_PROCESS = -2, NO_RANK = -1 };

struct page {
    int32_t armed;        /* whether anything happens at all */
    int32_t operations;   /* which calls: a sum of the first enumeration */
    int32_t action;       /* what happens: one of the second */
    int32_t value;        /* errno of FAIL, milliseconds of WAIT */
    int32_t rank;         /* whose calls: a rank's, NO_RANK's, ANY_PROCESS's */
    int32_t passing;      /* how many matching calls pass before */
    int32_t count;        /* how many calls meet with it */
    int32_t fired;        /* how many have */
    int64_t shift;        /* nanoseconds by which every process's clock is ahead */
    char pattern[256];    /* of the path, as fnmatch has it; * matches a slash */
};

static struct page *page;
static int logged = -1;
static const char *logged_pattern;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_PAGE"), *log = getenv("FAULTS_LOG");
    logged_pattern = getenv("FAULTS_LOGGED");
    int file = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *mapped = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        page = mapped == MAP_FAILED ? NULL : mapped;
        syscall(SYS_close, file);
    }
    if (log && logged_pattern)
        logged = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

static int my_rank(void) {
    static _Thread_local pid_t known;
    static _Thread_local int rank;
    pid_t pid = getpid();
    if (known != pid) {
        const char *text = getenv("RANK");
        if (!text) return NO_RANK; /* a fork may be told later which one it is */
        rank = atoi(text), known = pid;
    }
    return rank;
}

static const char *name_of(int operation) {
    switch (operation) {
    case OPEN: return "open";
    case WRITE: return "write";
    case SYNC: return "sync";
    case RENAME: return "rename";
    case LINK: return "link";
    case UNLINK: return "unlink";
    case MKDIR: return "mkdir";
    default: return "truncate";
    }
}

static void note(int operation, const char *path) {
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%d %s %s\n", my_rank(), name_of(operation), path);
    if (length > 0 && length < (int)sizeof line) syscall(SYS_write, logged, line, length);
}

/* What happens at this call: 0 for nothing, else an action, which is taken from the page once per call. */
static int due(int operation, const char *path) {
    if (logged >= 0 && fnmatch(logged_pattern, path, 0) == 0) note(operation, path);
    if (!page || !page->armed || !(page->operations & operation)) return 0;
    if (page->rank != ANY_PROCESS && page->rank != my_rank()) return 0;
    if (fnmatch(page->pattern, path, 0) != 0) return 0;
    if (__atomic_fetch_sub(&page->passing, 1, __ATOMIC_SEQ_CST) > 0) return 0;
    if (__atomic_fetch_sub(&page->count, 1, __ATOMIC_SEQ_CST) <= 0) return 0;
    __atomic_fetch_add(&page->fired, 1, __ATOMIC_SEQ_CST);
    return page->action;
}

static void end_process(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) {} /* the signal arrives before this goes on */
}

/* Before a call: true where it fails with the errno that is set. */
static int meet(int action) {
    if (action == KILL || action == TEAR) end_process();
    if (action == FREEZE) syscall(SYS_kill, getpid(), SIGSTOP);
    if (action == WAIT) {
        struct timespec rest = {page->value / 1000, (page->value % 1000) * 1000000L};
        while (syscall(SYS_nanosleep, &rest, &rest) != 0 && page->armed) {}
    }
    if (action == FAIL) errno = page->value;
    return action == FAIL;
}

static int due_for(int operation, int file, char *path) {
    char link[64];
    if (logged < 0 && (!page || !page->armed || !(page->operations & operation))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    int kept = errno;
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    errno = kept;
    if (length <= 0) return 0;
    path[length] = 0;
    return due(operation, path);
}

#define REAL(name) ({ static __typeof__(&name) found; if (!found) found = dlsym(RTLD_NEXT, #name); found; })

#define AROUND(operation, path, failed, call) \
    int action = due(operation, path); \
    if (action && meet(action)) return failed; \
    __typeof__(call) result = call; \
    if (action == KILL_AFTER) end_process(); \
    return result

#define AROUND_FILE(operation, file, failed, call) \
    char path[PATH_MAX]; \
    int action = due_for(operation, file, path); \
    if (action && meet(action)) return failed; \
    __typeof__(call) result = call; \
    if (action == KILL_AFTER) end_process(); \
    return result

#define OPENING(name, ...) \
    int mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); } \
    if (!(flags & (O_WRONLY | O_RDWR | O_CREAT))) return REAL(name)(__VA_ARGS__, flags, mode); \
    AROUND(OPEN, path, -1, REAL(name)(__VA_ARGS__, flags, mode))

int open(const char *path, int flags, ...) { OPENING(open, path); }
int open64(const char *path, int flags, ...) { OPENING(open64, path); }
int openat(int folder, const char *path, int flags, ...) { OPENING(openat, folder, path); }
int openat64(int folder, const char *path, int flags, ...) { OPENING(openat64, folder, path); }

#define WRITING(call, half) \
    char path[PATH_MAX]; \
    int action = due_for(WRITE, file, path); \
    if (action == TEAR) { ssize_t ignored = half; (void)ignored; } \
    if (action && meet(action)) return -1; \
    ssize_t result = call; \
    if (action == KILL_AFTER) end_process(); \
    return result

ssize_t write(int file, const void *bytes, size_t size) {
    WRITING(REAL(write)(file, bytes, size), REAL(write)(file, bytes, size / 2));
}
ssize_t pwrite(int file, const void *bytes, size_t size, off_t at) {
    WRITING(REAL(pwrite)(file, bytes, size, at), REAL(pwrite)(file, bytes, size / 2, at));
}
ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
    WRITING(REAL(pwrite64)(file, bytes, size, at), REAL(pwrite64)(file, bytes, size / 2, at));
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    WRITING(REAL(writev)(file, parts, count), REAL(writev)(file, parts, count / 2));
}

int fsync(int file) { AROUND_FILE(SYNC, file, -1, REAL(fsync)(file)); }
int fdatasync(int file) { AROUND_FILE(SYNC, file, -1, REAL(fdatasync)(file)); }
int ftruncate(int file, off_t size) { AROUND_FILE(TRUNCATE, file, -1, REAL(ftruncate)(file, size)); }
int ftruncate64(int file, off64_t size) { AROUND_FILE(TRUNCATE, file, -1, REAL(ftruncate64)(file, size)); }

int rename(const char *from, const char *to) { AROUND(RENAME, to, -1, REAL(rename)(from, to)); }
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    AROUND(RENAME, to, -1, REAL(renameat)(from_folder, from, to_folder, to));
}
int link(const char *from, const char *to) { AROUND(LINK, to, -1, REAL(link)(from, to)); }
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    AROUND(LINK, to, -1, REAL(linkat)(from_folder, from, to_folder, to, flags));
}
int symlink(const char *target, const char *path) { AROUND(LINK, path, -1, REAL(symlink)(target, path)); }
int symlinkat(const char *target, int folder, const char *path) {
    AROUND(LINK, path, -1, REAL(symlinkat)(target, folder, path));
}
int unlink(const char *path) { AROUND(UNLINK, path, -1, REAL(unlink)(path)); }
int unlinkat(int folder, const char *path, int flags) { AROUND(UNLINK, path, -1, REAL(unlinkat)(folder, path, flags)); }
int rmdir(const char *path) { AROUND(UNLINK, path, -1, REAL(rmdir)(path)); }
int mkdir(const char *path, mode_t mode) { AROUND(MKDIR, path, -1, REAL(mkdir)(path, mode)); }
int mkdirat(int folder, const char *path, mode_t mode) { AROUND(MKDIR, path, -1, REAL(mkdirat)(folder, path, mode)); }

/* The clock: monotonic clocks stay, as they do where a person sets the time of day. */

static void shift(struct timespec *now) {
    int64_t ahead = page ? __atomic_load_n(&page->shift, __ATOMIC_SEQ_CST) : 0;
    if (!ahead || !now) return;
    int64_t total = now->tv_sec * 1000000000LL + now->tv_nsec + ahead;
    now->tv_sec = total / 1000000000LL, now->tv_nsec = total % 1000000000LL;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*genuine)(clockid_t, struct timespec *);
    if (!genuine) genuine = REAL(clock_gettime);
    int result = genuine(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) shift(now);
    return result;
}

time_t time(time_t *stored) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (stored) *stored = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec, now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
