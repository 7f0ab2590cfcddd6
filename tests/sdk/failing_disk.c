/* A disk that fails on demand, for a real server: preloaded, it makes writes and syncs of files
 * below FAULT_DIR fail while the control file says so.
 *
 * The control file is one page, shared with the test: byte 0 is the error number (0: no fault),
 * byte 1 a mask of what fails (1: writes, 2: syncs, 4: renames and new files), byte 2 which files
 * (1: the database and its log, 2: the contents, 3: both). Bytes 8..15 count the failed calls. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2, NAMES = 4 };
enum { DATABASE = 1, CONTENTS = 2 };

static volatile unsigned char *control;
static const char *directory;

__attribute__((constructor)) static void begin(void) {
    directory = getenv("FAULT_DIR");
    const char *path = getenv("FAULT_CONTROL");
    if (!directory || !path) return;
    /* The server's disk fails, not that of the processes it starts. */
    if (strncmp(program_invocation_short_name, "cov-server", 10) != 0) return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) control = page;
    close(fd);
}

static int below(const char *path) {
    if (!directory || strncmp(path, directory, strlen(directory)) != 0) return 0;
    int file = strstr(path, ".sqlite") ? DATABASE : CONTENTS;
    return control[2] & file;
}

static int fails(int what) {
    return control && control[0] && (control[1] & what);
}

static int refuse(void) {
    atomic_fetch_add((_Atomic uint64_t *)(control + 8), 1);
    errno = control[0];
    return -1;
}

static int fails_on(int fd, int what) {
    if (!fails(what)) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *buffer, size_t length) {
    return fails_on(fd, WRITES) ? refuse() : REAL(write)(fd, buffer, length);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return fails_on(fd, WRITES) ? refuse() : REAL(writev)(fd, parts, count);
}
ssize_t pwrite(int fd, const void *buffer, size_t length, off_t at) {
    return fails_on(fd, WRITES) ? refuse() : REAL(pwrite)(fd, buffer, length, at);
}
ssize_t pwrite64(int fd, const void *buffer, size_t length, off64_t at) {
    return fails_on(fd, WRITES) ? refuse() : REAL(pwrite64)(fd, buffer, length, at);
}
int ftruncate(int fd, off_t length) {
    return fails_on(fd, WRITES) ? refuse() : REAL(ftruncate)(fd, length);
}
int ftruncate64(int fd, off64_t length) {
    return fails_on(fd, WRITES) ? refuse() : REAL(ftruncate64)(fd, length);
}
int fsync(int fd) {
    return fails_on(fd, SYNCS) ? refuse() : REAL(fsync)(fd);
}
int fdatasync(int fd) {
    return fails_on(fd, SYNCS) ? refuse() : REAL(fdatasync)(fd);
}
int rename(const char *from, const char *to) {
    return fails(NAMES) && (below(from) || below(to)) ? refuse() : REAL(rename)(from, to);
}
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    if ((flags & O_CREAT) && fails(NAMES) && below(path)) return refuse();
    return REAL(open64)(path, flags, mode);
}
