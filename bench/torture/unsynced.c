/* Loaded into a daemon (LD_PRELOAD): tells what of its database files is on the disk, and what would be lost.
 *
 * Every write to $UNSYNCED_PREFIX, its -wal and its -journal goes through, and is noted in $UNSYNCED_PREFIX.log
 * together with each fsync, in the order in which they happened. From that log bench/torture/disk_log.py builds the
 * files as a power cut at any of its places would leave them: what came before a file's last fsync is there, what
 * came after it may be there, in parts or not at all.
 *
 * A note: kind ('w' write, 't' truncate, 's' sync, 'u' unlink), file (0 the database, 1 -wal, 2 -journal), offset,
 * length (int64 each), then the bytes of a write.
 *
 * UNSYNCED_DIE_AFTER=N: the power fails at the Nth write, so that it is not synced.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 4096

static char watched_as[FILES]; /* 1 + which file; 0: none of ours */
static int log_fd = -1;
static int64_t writes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int which(const char *path)
{
    const char *prefix = getenv("UNSYNCED_PREFIX");
    if (!prefix || strncmp(path, prefix, strlen(prefix))) return 0;
    const char *rest = path + strlen(prefix);
    return !*rest ? 1 : !strcmp(rest, "-wal") ? 2 : !strcmp(rest, "-journal") ? 3 : 0;
}

/* With the lock held. */
static void note(char kind, int file, int64_t offset, int64_t length, const void *bytes)
{
    if (log_fd < 0) {
        static int (*real)(const char *, int, ...);
        char name[4096];
        real = dlsym(RTLD_NEXT, "open64");
        snprintf(name, sizeof name, "%s.log", getenv("UNSYNCED_PREFIX"));
        log_fd = real(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    struct { char kind, file; int64_t offset, length; } __attribute__((packed)) head = {
        kind, (char)(file - 1), offset, length};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)bytes, bytes ? (size_t)length : 0}};
    if (writev(log_fd, parts, bytes ? 2 : 1) < 0) abort();
    const char *last = getenv("UNSYNCED_DIE_AFTER");
    if (kind == 'w' && last && ++writes >= atoll(last)) kill(getpid(), SIGKILL);
}

static int watched(int fd) { return fd >= 0 && fd < FILES ? watched_as[fd] : 0; }

static int opened(int fd, const char *path)
{
    if (fd >= 0 && fd < FILES) watched_as[fd] = (char)which(path);
    return fd;
}

#define OPEN(NAME)                                                          \
    int NAME(const char *path, int flags, ...)                              \
    {                                                                       \
        static int (*real)(const char *, int, ...);                         \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                          \
        va_list more;                                                       \
        va_start(more, flags);                                              \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                       \
        return opened(real(path, flags, mode), path);                       \
    }
OPEN(open)
OPEN(open64)

int unlink(const char *path)
{
    static int (*real)(const char *);
    if (!real) real = dlsym(RTLD_NEXT, "unlink");
    int file = which(path);
    if (!file) return real(path);
    pthread_mutex_lock(&lock);
    int done = real(path);
    if (!done) note('u', file, 0, 0, NULL);
    pthread_mutex_unlock(&lock);
    return done;
}

int close(int fd)
{
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "close");
    if (fd >= 0 && fd < FILES) watched_as[fd] = 0;
    return real(fd);
}

#define PWRITE(NAME, OFFSET)                                                \
    ssize_t NAME(int fd, const void *bytes, size_t length, OFFSET offset)   \
    {                                                                       \
        static ssize_t (*real)(int, const void *, size_t, OFFSET);          \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                          \
        if (!watched(fd)) return real(fd, bytes, length, offset);           \
        pthread_mutex_lock(&lock);                                          \
        note('w', watched(fd), offset, length, bytes);                      \
        ssize_t done = real(fd, bytes, length, offset);                     \
        pthread_mutex_unlock(&lock);                                        \
        return done;                                                        \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(NAME, OFFSET)                                              \
    int NAME(int fd, OFFSET length)                                         \
    {                                                                       \
        static int (*real)(int, OFFSET);                                    \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                          \
        if (!watched(fd)) return real(fd, length);                          \
        pthread_mutex_lock(&lock);                                          \
        note('t', watched(fd), length, 0, NULL);                            \
        int done = real(fd, length);                                        \
        pthread_mutex_unlock(&lock);                                        \
        return done;                                                        \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* The lock is held meanwhile: what another thread writes during an fsync is not vouched for by it. */
#define SYNC(NAME)                                                          \
    int NAME(int fd)                                                        \
    {                                                                       \
        static int (*real)(int);                                            \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                          \
        if (!watched(fd)) return real(fd);                                  \
        pthread_mutex_lock(&lock);                                          \
        int done = real(fd);                                                \
        if (!done) note('s', watched(fd), 0, 0, NULL);                      \
        pthread_mutex_unlock(&lock);                                        \
        return done;                                                        \
    }
SYNC(fsync)
SYNC(fdatasync)
