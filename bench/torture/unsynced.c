/* Loaded into a daemon (LD_PRELOAD): tells what of its database files is on the disk, and what would be lost.
 *
 * Every write to a file whose name begins with $UNSYNCED_PREFIX goes through, and is noted in FILE.writes together
 * with each fsync. From that journal bench/torture/power.py builds the files as a power cut would leave them: what
 * came before the last fsync is there, what came after it may be there, in parts or not at all.
 *
 * A note: kind ('w' write, 't' truncate, 's' sync), offset, length (int64 each), then the bytes of a write.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 4096

static int notes[FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void note(int fd, char kind, int64_t offset, int64_t length, const void *bytes)
{
    struct { char kind; int64_t offset, length; } __attribute__((packed)) head = {kind, offset, length};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)bytes, bytes ? (size_t)length : 0}};
    if (writev(notes[fd], parts, bytes ? 2 : 1) < 0) abort();
}

static int watched(int fd) { return fd >= 0 && fd < FILES && notes[fd] > 0; }

static int opened(int fd, const char *path)
{
    const char *prefix = getenv("UNSYNCED_PREFIX");
    size_t length = strlen(path);
    if (fd < 0 || fd >= FILES || !prefix || strncmp(path, prefix, strlen(prefix))) return fd;
    if (length > 4 && !strcmp(path + length - 4, "-shm")) return fd;
    if (length > 5 && !strcmp(path + length - 5, ".lock")) return fd;
    char name[4096];
    snprintf(name, sizeof name, "%s.writes", path);
    static int (*real)(const char *, int, ...);
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    notes[fd] = real(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
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
    const char *prefix = getenv("UNSYNCED_PREFIX");
    if (prefix && !strncmp(path, prefix, strlen(prefix))) {
        char name[4096];
        snprintf(name, sizeof name, "%s.writes", path);
        real(name);
    }
    return real(path);
}

int close(int fd)
{
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "close");
    if (watched(fd)) {
        real(notes[fd]);
        notes[fd] = 0;
    }
    return real(fd);
}

#define PWRITE(NAME, OFFSET)                                                \
    ssize_t NAME(int fd, const void *bytes, size_t length, OFFSET offset)   \
    {                                                                       \
        static ssize_t (*real)(int, const void *, size_t, OFFSET);          \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                          \
        if (!watched(fd)) return real(fd, bytes, length, offset);           \
        pthread_mutex_lock(&lock);                                          \
        note(fd, 'w', offset, length, bytes);                               \
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
        note(fd, 't', length, 0, NULL);                                     \
        int done = real(fd, length);                                        \
        pthread_mutex_unlock(&lock);                                        \
        return done;                                                        \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(NAME)                                                          \
    int NAME(int fd)                                                        \
    {                                                                       \
        static int (*real)(int);                                            \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                          \
        int done = real(fd);                                                \
        if (watched(fd) && !done) {                                         \
            pthread_mutex_lock(&lock);                                      \
            note(fd, 's', 0, 0, NULL);                                      \
            pthread_mutex_unlock(&lock);                                    \
        }                                                                   \
        return done;                                                        \
    }
SYNC(fsync)
SYNC(fdatasync)
