/* arena_own.c - a file on tmpfs with a lock a worker, made or joined behind the door of its
 * directory. */
#include "worker/arena_own.h"
#include "schema/arena_header.h"
#include "schema/limits.h"
#include "schema/log.h"
#include "worker/arena_map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define PREFIX "arena-"

static struct {
    char path[PATH_MAX];
    int fd; /* holds both locks, to our end */
    uint64_t size_bytes;
    uint64_t *reserved; /* a bit per chunk. The data channel's thread */
} own = {.fd = -1};

void arena_own_default_dir(char out[ARENA_OWN_DIR_BYTES])
{
    snprintf(out, ARENA_OWN_DIR_BYTES, "/dev/shm/tutti-worker-%u", (unsigned)geteuid());
}

/* ---- the directory ---- */

static int make_dir(const char *dir, struct err *e)
{
    struct stat s;

    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_sys(e, ERR_refused, errno, "make %s; see --arena-dir", dir);
    if (stat(dir, &s) != 0 || !S_ISDIR(s.st_mode))
        return err_set(e, ERR_refused, "%s is no directory; see --arena-dir", dir);
    if (s.st_uid != geteuid() || (s.st_mode & (S_IRWXG | S_IRWXO)))
        return err_set(e, ERR_refused,
                       "others may enter %s, or it is another's: chmod 700 it, or give another "
                       "--arena-dir",
                       dir);
    return 0;
}

/* One worker at a time decides what is to be made, joined, removed. Returns the descriptor, whose
 * close opens the door again, or -1. */
static int enter(const char *dir, struct err *e)
{
    char path[PATH_MAX];
    int fd = -1;

    if ((size_t)snprintf(path, sizeof path, "%s/door", dir) < sizeof path)
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(e, ERR_refused, errno, "open %s/door", dir);
    if (flock(fd, LOCK_EX) != 0) {
        err_sys(e, ERR_refused, errno, "lock %s", path);
        close(fd);
        return -1;
    }
    return fd;
}

/* Nobody's any more: of servers, or of sessions, before. */
static void sweep(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;

    while (d && (entry = readdir(d))) {
        int fd = strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0
                     ? openat(dirfd(d), entry->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
                     : -1;

        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(dirfd(d), entry->d_name, 0);
        if (fd >= 0)
            close(fd);
    }
    if (d)
        closedir(d);
}

/* ---- the file ---- */

static int read_boot_id(char out[BOOT_ID_BYTES])
{
    int fd = open(BOOT_ID_PATH, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    memset(out, 0, BOOT_ID_BYTES);
    n = fd < 0 ? -1 : read(fd, out, BOOT_ID_BYTES - 1);
    if (fd >= 0)
        close(fd);
    out[strcspn(out, "\n")] = '\0';
    return n > 0 ? 0 : -1;
}

/* A file that is there is some living worker's, since sweep() has left no other; or of one that is
 * about to end, and empty; or condemned. */
static int join(struct arena_own *out, struct err *e)
{
    struct arena_header h;
    struct stat s;

    if (pread(own.fd, &h, sizeof h, 0) != sizeof h || h.magic != ARENA_MAGIC ||
        h.version != ARENA_VERSION || fstat(own.fd, &s) != 0 || (uint64_t)s.st_size < h.size_bytes)
        return err_set(e, ERR_refused, "%s is no arena of this version", own.path);
    out->nonce = h.nonce;
    out->size_bytes = h.size_bytes;
    return 0;
}

static uint64_t fit(uint64_t size_bytes)
{
    struct statvfs fs;
    uint64_t total = 0;

    if (fstatvfs(own.fd, &fs) == 0)
        total = (uint64_t)fs.f_blocks * fs.f_frsize;
    if (total != 0 && total < size_bytes) { /* 0: a tmpfs without a limit */
        log_warn("an arena of %llu bytes does not fit into the filesystem of %s: it has %llu; add "
                 "`shm_size: 8g` to the compose service, or give a smaller --arena-size",
                 (unsigned long long)size_bytes, own.path, (unsigned long long)total);
        size_bytes = total;
    }
    return size_bytes & ~(uint64_t)(ARENA_HEADER_BYTES - 1);
}

static int make(uint64_t size_bytes, struct arena_own *out, struct err *e)
{
    struct arena_header h = {.magic = ARENA_MAGIC, .version = ARENA_VERSION};

    h.size_bytes = fit(size_bytes);
    if (read_boot_id(h.boot_id) != 0 || getrandom(&h.nonce, sizeof h.nonce, 0) != sizeof h.nonce)
        return err_set(e, ERR_refused, "this machine tells neither its boot nor random numbers");
    if (ftruncate(own.fd, (off_t)h.size_bytes) != 0 ||
        fallocate(own.fd, 0, 0, ARENA_HEADER_BYTES) != 0 ||
        pwrite(own.fd, &h, sizeof h, 0) != sizeof h)
        return err_sys(e, ERR_refused, errno, "make %s %llu bytes long", own.path,
                       (unsigned long long)h.size_bytes);
    out->nonce = h.nonce;
    out->size_bytes = h.size_bytes;
    return 0;
}

/* Of the open file, which is ours until the process ends: not dropped when others of it are closed.
 */
static int lock_epoch(uint64_t epoch, struct err *e)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)epoch, .l_len = 1};

    if (flock(own.fd, LOCK_SH | LOCK_NB) != 0 || fcntl(own.fd, F_OFD_SETLK, &lock) != 0)
        return err_sys(e, ERR_refused, errno, "lock %s", own.path);
    return 0;
}

static int open_file(uint64_t size_bytes, uint64_t epoch, struct arena_own *out, struct err *e)
{
    bool there;

    own.fd = open(own.path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    there = own.fd >= 0 && join(out, e) == 0;
    if (own.fd >= 0 && !there) {
        close(own.fd);
        unlink(own.path);
    }
    if (!there)
        own.fd = open(own.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (own.fd < 0)
        return err_sys(e, ERR_refused, errno, "open %s", own.path);
    if ((!there && make(size_bytes, out, e) != 0) || lock_epoch(epoch, e) != 0) {
        if (!there)
            unlink(own.path);
        return -1;
    }
    own.size_bytes = out->size_bytes;
    own.reserved = calloc(own.size_bytes / LIMIT_CHUNK_BYTES / 64 + 1, sizeof *own.reserved);
    out->map_fd = open(own.path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (!own.reserved || out->map_fd < 0)
        return err_set(e, ERR_refused, "no memory, or no descriptor, for %s", own.path);
    log_info("the host's arena %s, %llu bytes: %s", own.path, (unsigned long long)own.size_bytes,
             there ? "shared with others" : "made");
    return 0;
}

int arena_own_open(const char *dir, uint64_t size_bytes, uint64_t session, uint64_t epoch,
                   struct arena_own *out, struct err *e)
{
    int door, rc;

    if (size_bytes < LIMIT_ARENA_MIN_BYTES || size_bytes > INT64_MAX / 2)
        return err_set(e, ERR_refused, "an arena has at least %llu bytes: see --arena-size",
                       (unsigned long long)LIMIT_ARENA_MIN_BYTES);
    if ((size_t)snprintf(own.path, sizeof own.path, "%s/" PREFIX "%016llx", dir,
                         (unsigned long long)session) >= sizeof own.path)
        return err_set(e, ERR_refused, "%s is too long a name", dir);
    if (make_dir(dir, e) != 0)
        return -1;
    door = enter(dir, e);
    if (door < 0)
        return -1;
    sweep(dir);
    rc = open_file(size_bytes, epoch, out, e);
    close(door);
    return rc;
}

bool arena_own_held(uint64_t epoch)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)epoch, .l_len = 1};

    return own.fd < 0 || fcntl(own.fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

int arena_own_reserve(uint64_t offset, uint64_t size_bytes)
{
    if (offset > own.size_bytes || size_bytes > own.size_bytes - offset)
        return -1;
    if (size_bytes == 0)
        return 0;
    for (uint64_t c = offset / LIMIT_CHUNK_BYTES;
         c <= (offset + size_bytes - 1) / LIMIT_CHUNK_BYTES; c++) {
        uint64_t at = c * LIMIT_CHUNK_BYTES, len = own.size_bytes - at;

        if (own.reserved[c / 64] >> c % 64 & 1)
            continue;
        if (len > LIMIT_CHUNK_BYTES)
            len = LIMIT_CHUNK_BYTES;
        if (fallocate(own.fd, 0, (off_t)at, (off_t)len) != 0)
            return -1;
        /* Where the kernel cannot, its pages come by faults. */
        madvise(arena_map_base() + at, len, MADV_POPULATE_WRITE);
        own.reserved[c / 64] |= 1ull << c % 64;
    }
    return 0;
}

void arena_own_close(void)
{
    if (own.fd >= 0 && flock(own.fd, LOCK_EX | LOCK_NB) == 0 && ftruncate(own.fd, 0) != 0)
        log_warn("%s keeps its memory: %s", own.path, strerror(errno));
}

/* The sandbox lets nobody remove a file; without its header it is none. */
void arena_own_condemn(void)
{
    if (own.fd >= 0 && arena_map_base())
        memset(arena_map_base(), 0, sizeof(struct arena_header));
}
