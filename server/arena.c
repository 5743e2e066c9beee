/* arena.c - the file that holds all tensor bytes: open or make it, map it, reserve its pages. */
#include "server/arena.h"

#include "schema/arena_header.h"
#include "schema/failpoint.h"
#include "schema/limits.h"
#include "schema/log.h"
#include "server/durable.h"
#include "server/private_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct arena {
    char path[PATH_MAX];
    int lock_fd; /* holds the flock: its own file, since workers share the arena's description */
    int fd;
    uint8_t *base;
    uint64_t size_bytes;
    uint64_t nonce;
    uint64_t window_bytes; /* of addresses, from arena_window_at(size_bytes) on */
    uint64_t chunks;
    atomic_uint_least64_t *reserved; /* a bit per chunk: pages are there and mapped */
};

static int read_boot_id(char out[BOOT_ID_BYTES], struct err *e)
{
    const char *path = BOOT_ID_PATH;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return err_sys(e, ERR_arena, errno, "open %s", path);
    memset(out, 0, BOOT_ID_BYTES);
    n = read(fd, out, BOOT_ID_BYTES - 1);
    close(fd);
    if (n <= 0)
        return err_set(e, ERR_arena, "read %s", path);
    out[strcspn(out, "\n")] = 0;
    return 0;
}

static int make_nonce(uint64_t *out, struct err *e)
{
    do {
        if (getrandom(out, sizeof *out, 0) != sizeof *out)
            return err_sys(e, ERR_arena, errno, "random nonce");
    } while (*out == 0);
    return 0;
}

/* Two servers with two databases must not share an arena. */
static int take_lock(struct arena *a, const char *dir, struct err *e)
{
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof path, "%s/arena.lock", dir) >= sizeof path)
        return err_set(e, ERR_arena, "the arena directory's name is too long");
    a->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (a->lock_fd < 0)
        return err_sys(e, ERR_arena, errno, "open %s", path);
    if (private_dir_lock(a->lock_fd) != 0)
        return err_sys(e, ERR_arena, errno,
                       "%s is in use by another server: give this one another --arena-dir", dir);
    return 0;
}

/* Is what is there the file whose extents the database knows? Any doubt means no: the caller then
 * makes a new one. */
static bool is_ours(int fd, uint64_t expected_nonce, const char *boot_id, struct arena_header *out)
{
    struct stat st;

    if (expected_nonce == 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
        pread(fd, out, sizeof *out, 0) != sizeof *out)
        return false;
    return out->magic == ARENA_MAGIC && out->version == ARENA_VERSION &&
           out->nonce == expected_nonce &&
           (out->durable == 1 || memcmp(out->boot_id, boot_id, BOOT_ID_BYTES) == 0) &&
           out->size_bytes >= LIMIT_ARENA_MIN_BYTES &&
           (uint64_t)st.st_size >= out->size_bytes; /* longer: growing it was cut short */
}

static int sync_file(const struct arena *a, struct err *e)
{
    return fsync(a->fd) == 0 ? 0 : err_sys(e, ERR_arena, errno, "flush %s", a->path);
}

/* Makes the file long and then writes the header, so that a whole header vouches for the length;
 * and, when it says that it is durable, for what is in the file.
 *
 *   on_disk  the old header, or the new one, says so */
static int set_size(struct arena *a, const struct arena_header *h, bool on_disk, struct err *e)
{
    if (ftruncate(a->fd, (off_t)h->size_bytes) != 0)
        return err_sys(e, ERR_arena, errno, "make %s %llu bytes long", a->path,
                       (unsigned long long)h->size_bytes);
    if (fallocate(a->fd, 0, 0, ARENA_HEADER_BYTES) != 0)
        return err_sys(e, ERR_arena, errno, "reserve the first page of %s", a->path);
    if (on_disk && sync_file(a, e) != 0)
        return -1;
    if (pwrite(a->fd, h, sizeof *h, 0) != sizeof *h)
        return err_sys(e, ERR_arena, errno, "write the header of %s", a->path);
    failpoint("arena.header");
    if (on_disk && sync_file(a, e) != 0)
        return -1;
    a->size_bytes = h->size_bytes;
    a->nonce = h->nonce;
    return 0;
}

/* A new inode, so that a worker of an earlier server keeps its own, dead copy. */
static int make_anew(struct arena *a, uint64_t size_bytes, const char *boot_id, struct err *e)
{
    struct arena_header h = {.magic = ARENA_MAGIC,
                             .version = ARENA_VERSION,
                             .size_bytes = size_bytes,
                             .durable = durable};

    memcpy(h.boot_id, boot_id, BOOT_ID_BYTES);
    if (make_nonce(&h.nonce, e) != 0)
        return -1;
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
    if (unlink(a->path) != 0 && errno != ENOENT)
        return err_sys(e, ERR_arena, errno, "remove the old %s", a->path);
    a->fd = open(a->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (a->fd < 0)
        return err_sys(e, ERR_arena, errno, "make %s", a->path);
    return set_size(a, &h, durable, e);
}

/* What the header said, it says of this start from now on. */
static int keep(struct arena *a, struct arena_header *h, uint64_t size_bytes, const char *boot_id,
                struct err *e)
{
    bool was = h->durable == 1;

    if (was != durable)
        log_info("the arena %s %s", a->path,
                 durable ? "is durable from now on" : "was durable and is no more");
    h->size_bytes = size_bytes;
    h->durable = durable;
    memcpy(h->boot_id, boot_id, BOOT_ID_BYTES);
    return set_size(a, h, was || durable, e);
}

static int open_file(struct arena *a, uint64_t size_bytes, uint64_t expected_nonce, bool *kept,
                     struct err *e)
{
    char boot_id[BOOT_ID_BYTES];
    struct arena_header h;

    if (read_boot_id(boot_id, e) != 0)
        return -1;
    a->fd = open(a->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (a->fd < 0 && errno != ENOENT)
        return err_sys(e, ERR_arena, errno, "open %s", a->path);
    *kept = a->fd >= 0 && is_ours(a->fd, expected_nonce, boot_id, &h);
    if (!*kept)
        return make_anew(a, size_bytes, boot_id, e);
    if (size_bytes < h.size_bytes)
        return err_set(
            e, ERR_arena,
            "%s holds results and is %llu bytes long: start with --arena-size %llu or more, "
            "or remove the file to give them up",
            a->path, (unsigned long long)h.size_bytes, (unsigned long long)h.size_bytes);
    return keep(a, &h, size_bytes, boot_id, e);
}

/* The line of a compose file that makes the filesystem as large as the arena. */
static const char *compose_line(const struct arena *a, char *line, size_t size)
{
    unsigned long long mib = (a->size_bytes + (1 << 20) - 1) >> 20;
    struct stat here, shm;
    struct statfs fs;

    if (fstat(a->fd, &here) == 0 && stat("/dev/shm", &shm) == 0 && here.st_dev == shm.st_dev)
        snprintf(line, size, "add `shm_size: %llum` to the compose service, or ", mib);
    else if (fstatfs(a->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
        snprintf(line, size,
                 "write `size=%llum` into `driver_opts: o:` of the compose file's volume, or ",
                 mib);
    else
        line[0] = '\0';
    return line;
}

static void warn_if_small(const struct arena *a)
{
    struct statvfs fs;
    char line[120];
    uint64_t total, held = arena_reserved_bytes(a);

    if (fstatvfs(a->fd, &fs) != 0)
        return;
    total = (uint64_t)fs.f_blocks * fs.f_frsize;
    if (total != 0 && total < a->size_bytes) /* 0: a tmpfs without a limit */
        log_warn("the arena of %llu bytes is larger than the filesystem of %s (%llu bytes): "
                 "%sgive a smaller --arena-size",
                 (unsigned long long)a->size_bytes, a->path, (unsigned long long)total,
                 compose_line(a, line, sizeof line));
    else if (total != 0 && (uint64_t)fs.f_bavail * fs.f_frsize + held < a->size_bytes)
        log_warn("only %llu bytes are free for the arena of %llu bytes at %s: jobs will see "
                 "arena_full early; free some, or give a smaller --arena-size",
                 (unsigned long long)fs.f_bavail * fs.f_frsize, (unsigned long long)a->size_bytes,
                 a->path);
}

/* Is there a range of addresses for it? Asked before the file is touched: one that was made longer
 * than can be mapped, with results in it, would not open with less any more. */
static int check_size(const char *dir, uint64_t size_bytes, struct err *e)
{
    void *base = mmap(NULL, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                      0);
    struct statvfs fs;
    unsigned long long free_mib;

    if (base != MAP_FAILED) {
        munmap(base, size_bytes);
        return 0;
    }
    if (statvfs(dir, &fs) != 0 || fs.f_blocks == 0) /* 0: a tmpfs without a limit */
        return err_set(e, ERR_arena, "--arena-size: %llu bytes are more than this machine can map",
                       (unsigned long long)size_bytes);
    free_mib = (unsigned long long)fs.f_bavail * fs.f_frsize >> 20;
    return err_set(e, ERR_arena,
                   "--arena-size: %llu bytes are more than this machine can map; %llu MiB are free "
                   "in %s: write --arena-size %lluM, or less",
                   (unsigned long long)size_bytes, free_mib, dir, free_mib);
}

static int map_file(struct arena *a, struct err *e)
{
    void *base = mmap(NULL, a->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);

    if (base == MAP_FAILED)
        return err_sys(e, ERR_arena, errno, "map %s", a->path);
    a->base = base;
    /* Best effort: fewer faults where shared huge pages are allowed, no arena in a core dump. */
    madvise(base, a->size_bytes, MADV_HUGEPAGE);
    madvise(base, a->size_bytes, MADV_DONTDUMP);
    a->chunks = (a->size_bytes + LIMIT_CHUNK_BYTES - 1) / LIMIT_CHUNK_BYTES;
    a->reserved = calloc((a->chunks + 63) / 64, sizeof *a->reserved);
    if (!a->reserved)
        return err_set(e, ERR_no_memory, "the arena's page table");
    return 0;
}

int arena_open(struct arena **out, const char *dir, uint64_t size_bytes, uint64_t expected_nonce,
               bool *kept, struct err *e)
{
    int rc = -1;
    bool same = false;
    struct arena *a;

    if (size_bytes < LIMIT_ARENA_MIN_BYTES || size_bytes > INT64_MAX / 2)
        return err_set(e, ERR_arena, "an arena has at least %llu bytes",
                       (unsigned long long)LIMIT_ARENA_MIN_BYTES);
    size_bytes &= ~(uint64_t)(ARENA_HEADER_BYTES - 1); /* whole pages */
    a = calloc(1, sizeof *a);
    if (!a)
        return err_set(e, ERR_no_memory, "arena");
    a->fd = a->lock_fd = -1;
    if ((size_t)snprintf(a->path, sizeof a->path, "%s/arena", dir) >= sizeof a->path) {
        err_set(e, ERR_arena, "the arena directory's name is too long");
        goto out;
    }
    if (private_dir_make(dir, ERR_arena, e) != 0 ||
        (durable && durable_check_dir(dir, "--arena-dir", ERR_arena, e) != 0) ||
        take_lock(a, dir, e) != 0 || check_size(dir, size_bytes, e) != 0 ||
        open_file(a, size_bytes, expected_nonce, &same, e) != 0 ||
        (durable && durable_sync_dir(dir, ERR_arena, e) != 0) || map_file(a, e) != 0)
        goto out;
    warn_if_small(a);
    *out = a;
    *kept = same;
    rc = 0;
out:
    if (rc != 0)
        arena_close(a);
    return rc;
}

static uint64_t mapped_bytes(const struct arena *a)
{
    return a->window_bytes ? arena_window_at(a->size_bytes) + a->window_bytes : a->size_bytes;
}

int arena_make_window(struct arena *a, uint64_t window_bytes, struct err *e)
{
    uint64_t all = arena_window_at(a->size_bytes) + window_bytes;
    uint8_t *base = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED)
        return err_sys(e, ERR_arena, errno, "take %llu bytes of addresses",
                       (unsigned long long)all);
    if (mmap(base, a->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, a->fd, 0) ==
        MAP_FAILED) {
        err_sys(e, ERR_arena, errno, "map %s", a->path);
        munmap(base, all);
        return -1;
    }
    munmap(a->base, a->size_bytes);
    a->base = base;
    a->window_bytes = window_bytes;
    madvise(base, a->size_bytes, MADV_HUGEPAGE); /* as in map_file */
    madvise(base, all, MADV_DONTDUMP);
    return 0;
}

uint64_t arena_window_bytes(const struct arena *a)
{
    return a->window_bytes;
}

int arena_window_map(struct arena *a, uint64_t offset, uint64_t size_bytes, int fd, bool written,
                     struct err *e)
{
    int how = written ? PROT_READ | PROT_WRITE : PROT_READ;

    if (mmap(a->base + offset, size_bytes, how, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        return err_sys(e, ERR_no_memory, errno, "map %llu bytes", (unsigned long long)size_bytes);
    madvise(a->base + offset, size_bytes, MADV_DONTDUMP);
    return 0;
}

void arena_window_unmap(struct arena *a, uint64_t offset, uint64_t size_bytes)
{
    mmap(a->base + offset, size_bytes, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

void arena_close(struct arena *a)
{
    if (!a)
        return;
    if (a->base)
        munmap(a->base, mapped_bytes(a));
    if (a->fd >= 0)
        close(a->fd);
    if (a->lock_fd >= 0)
        close(a->lock_fd);
    free(a->reserved);
    free(a);
}

uint8_t *arena_base(const struct arena *a)
{
    return a->base;
}

uint64_t arena_size(const struct arena *a)
{
    return a->size_bytes;
}

int arena_fd(const struct arena *a)
{
    return a->fd;
}

uint64_t arena_nonce(const struct arena *a)
{
    return a->nonce;
}

const char *arena_path(const struct arena *a)
{
    return a->path;
}

/* One chunk, clipped to the file. fallocate takes the pages from tmpfs or says that there are none;
 * without it the first touch would be a SIGBUS. Doing a chunk twice is harmless, so no lock. */
static int reserve_chunk(struct arena *a, uint64_t chunk, struct err *e)
{
    uint64_t at = chunk * LIMIT_CHUNK_BYTES;
    uint64_t len = a->size_bytes - at;
    int rc;

    if (len > LIMIT_CHUNK_BYTES)
        len = LIMIT_CHUNK_BYTES;
    do {
        rc = fallocate(a->fd, 0, (off_t)at, (off_t)len);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0)
        return err_sys(e, ERR_arena_full, errno,
                       "the filesystem of the arena has no room for %llu more bytes",
                       (unsigned long long)len);
    /* EINVAL: a kernel before 5.14, where the pages are mapped on first touch instead. */
    if (madvise(a->base + at, len, MADV_POPULATE_WRITE) != 0 &&
        (errno == EFAULT || errno == ENOMEM))
        return err_sys(e, ERR_arena_full, errno, "the arena's pages cannot be mapped");
    atomic_fetch_or_explicit(&a->reserved[chunk / 64], 1ull << chunk % 64, memory_order_release);
    return 0;
}

int arena_reserve(struct arena *a, uint64_t offset, uint64_t size_bytes, struct err *e)
{
    uint64_t end = offset + size_bytes;

    if (size_bytes == 0)
        return 0;
    if (end < offset || end > a->size_bytes)
        return err_set(e, ERR_arena_full, "the range leaves the arena");
    for (uint64_t c = offset / LIMIT_CHUNK_BYTES; c <= (end - 1) / LIMIT_CHUNK_BYTES; c++) {
        uint64_t word = atomic_load_explicit(&a->reserved[c / 64], memory_order_acquire);

        if (!(word >> c % 64 & 1) && reserve_chunk(a, c, e) != 0)
            return -1;
    }
    return 0;
}

int arena_flush(const struct arena *a, uint64_t offset, uint64_t size_bytes, struct err *e)
{
    uint64_t in_page = offset & (ARENA_HEADER_BYTES - 1);

    if (msync(a->base + offset - in_page, size_bytes + in_page, MS_SYNC) != 0)
        return err_sys(e, ERR_arena, errno, "flush %s", a->path);
    return 0;
}

uint64_t arena_reserved_bytes(const struct arena *a)
{
    struct stat st;

    return fstat(a->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}
