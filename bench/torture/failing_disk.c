/* Loaded into a daemon (LD_PRELOAD): its disk is full, fails or can only be read, as long as somebody says so.
 *
 * Concerns what lies below $FAILING_FOLDER. $FAILING_SWITCH names a file: absent or empty, all is well; else it holds
 * an errno and how many writes still succeed before it (`28 17`). ENOSPC and EIO strike what writes, EIO also fsync,
 * EROFS also what opens for writing or takes a file away. Used by bench/torture/disk.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define FILES 4096

static char watched_fd[FILES];
static char last[64];
static long left;

static int below(const char *path)
{
    const char *folder = getenv("FAILING_FOLDER");
    return folder && !strncmp(path, folder, strlen(folder));
}

static int watched(int fd) { return fd >= 0 && fd < FILES && watched_fd[fd]; }

/* The errno that strikes now, or 0. */
static int trouble(void)
{
    char text[64] = "";
    const char *path = getenv("FAILING_SWITCH");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return 0;
    long got = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (got <= 0) return 0;
    text[got] = 0;
    int code = 0;
    long skip = 0;
    sscanf(text, "%d %ld", &code, &skip);
    if (strcmp(text, last)) {
        strcpy(last, text);
        left = skip;
    }
    if (left > 0) {
        left--;
        return 0;
    }
    return code;
}

#define OPEN(NAME)                                                              \
    int NAME(const char *path, int flags, ...)                                  \
    {                                                                           \
        static int (*real)(const char *, int, ...);                             \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                              \
        va_list more;                                                           \
        va_start(more, flags);                                                  \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                           \
        int ours = below(path), writes = (flags & O_ACCMODE) != O_RDONLY;       \
        if (ours && writes && trouble() == EROFS) {                             \
            errno = EROFS;                                                      \
            return -1;                                                          \
        }                                                                       \
        int fd = real(path, flags, mode);                                       \
        if (fd >= 0 && fd < FILES) watched_fd[fd] = (char)(ours && writes);     \
        return fd;                                                              \
    }
OPEN(open)
OPEN(open64)

int close(int fd)
{
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "close");
    if (fd >= 0 && fd < FILES) watched_fd[fd] = 0;
    return real(fd);
}

int unlink(const char *path)
{
    static int (*real)(const char *);
    if (!real) real = dlsym(RTLD_NEXT, "unlink");
    if (below(path) && trouble() == EROFS) {
        errno = EROFS;
        return -1;
    }
    return real(path);
}

#define FAILS(CODE)                                                             \
    if (watched(fd)) {                                                          \
        int code = trouble();                                                   \
        if (CODE) {                                                             \
            errno = code;                                                       \
            return -1;                                                          \
        }                                                                       \
    }

#define WRITE(NAME, TAKES, GIVES)                                               \
    ssize_t NAME TAKES                                                          \
    {                                                                           \
        static ssize_t (*real) TAKES;                                           \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                              \
        FAILS(code)                                                             \
        return real GIVES;                                                      \
    }
WRITE(write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
WRITE(pwrite, (int fd, const void *bytes, size_t length, off_t offset), (fd, bytes, length, offset))
WRITE(pwrite64, (int fd, const void *bytes, size_t length, off64_t offset), (fd, bytes, length, offset))

#define SYNC(NAME)                                                              \
    int NAME(int fd)                                                            \
    {                                                                           \
        static int (*real)(int);                                                \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                              \
        FAILS(code == EIO)                                                      \
        return real(fd);                                                        \
    }
SYNC(fsync)
SYNC(fdatasync)
