/* arena_map.c - map the arena once, and behind it what clients share; map pages a chunk at a time
 * as jobs come to them. */
#include "worker/arena_map.h"
#include "schema/arena_header.h"
#include "schema/limits.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

/* Memory behind the arena: [offset, offset + bytes). */
struct piece {
    uint64_t offset, bytes;
    bool written;
};

static struct {
    uint8_t *base;
    uint64_t size_bytes;
    uint64_t window_bytes;         /* of addresses, behind the arena's last chunk */
    atomic_uint_least64_t *mapped; /* a bit per chunk, of the window's too */
    struct piece pieces[LIMIT_REGIONS];
    uint32_t n_pieces;
} map;

static uint64_t all_bytes(void)
{
    return map.window_bytes ? arena_window_at(map.size_bytes) + map.window_bytes : map.size_bytes;
}

static atomic_uint_least64_t *new_bits(uint64_t bytes)
{
    uint64_t chunks = (bytes + LIMIT_CHUNK_BYTES - 1) / LIMIT_CHUNK_BYTES;

    return calloc(chunks / 64 + 1, sizeof *map.mapped);
}

int arena_map_open(int fd, uint64_t size_bytes, struct err *e)
{
    void *base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int map_errno = errno;

    close(fd);
    if (base == MAP_FAILED)
        return err_sys(e, ERR_arena, map_errno, "map %llu bytes of the arena",
                       (unsigned long long)size_bytes);
    map.base = base;
    map.size_bytes = size_bytes;
    map.window_bytes = 0;
    map.n_pieces = 0;
    map.mapped = new_bits(size_bytes);
    madvise(base, size_bytes, MADV_DONTDUMP);
    return map.mapped ? 0 : err_set(e, ERR_no_memory, "the arena's page table");
}

/* The arena moves to where there is room behind it. */
int arena_map_window(uint64_t window_bytes, struct err *e)
{
    uint64_t all = arena_window_at(map.size_bytes) + window_bytes;
    atomic_uint_least64_t *bits;
    void *base;

    if (window_bytes == 0)
        return 0;
    bits = new_bits(all);
    base = bits ? mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                : MAP_FAILED;
    if (base == MAP_FAILED || mremap(map.base, map.size_bytes, map.size_bytes,
                                     MREMAP_MAYMOVE | MREMAP_FIXED, base) == MAP_FAILED) {
        err_sys(e, ERR_arena, errno, "take %llu bytes of addresses", (unsigned long long)all);
        if (base != MAP_FAILED)
            munmap(base, all);
        free(bits);
        return -1;
    }
    free(map.mapped);
    map.mapped = bits;
    map.base = base;
    map.window_bytes = window_bytes;
    return 0;
}

void arena_map_close(void)
{
    if (map.base)
        munmap(map.base, all_bytes());
    free(map.mapped);
    map.base = NULL;
    map.mapped = NULL;
    map.n_pieces = 0;
    map.window_bytes = 0;
}

/* ---- what clients share ---- */

static const struct piece *piece_at(uint64_t offset)
{
    for (uint32_t i = 0; i < map.n_pieces; i++) {
        if (offset - map.pieces[i].offset < map.pieces[i].bytes)
            return &map.pieces[i];
    }
    return NULL;
}

/* In the window, by whole chunks, so that a chunk belongs to one piece; and where there is none. */
static bool has_room(uint64_t offset, uint64_t bytes)
{
    bool inside = offset >= arena_window_at(map.size_bytes) && offset <= all_bytes() && bytes > 0 &&
                  bytes <= all_bytes() - offset;

    if (!inside || offset % LIMIT_CHUNK_BYTES || bytes % LIMIT_CHUNK_BYTES ||
        map.n_pieces == LIMIT_REGIONS)
        return false;
    for (uint32_t i = 0; i < map.n_pieces; i++) {
        const struct piece *p = &map.pieces[i];

        if (offset < p->offset + p->bytes && p->offset < offset + bytes)
            return false;
    }
    return true;
}

int arena_map_region(uint64_t offset, uint64_t size_bytes, int fd, bool written, struct err *e)
{
    int how = written ? PROT_READ | PROT_WRITE : PROT_READ, rc = 0;

    if (fd < 0 || !map.base || !has_room(offset, size_bytes))
        rc = err_set(e, ERR_link, "REGION names no place behind the arena, or has no descriptor");
    else if (mmap(map.base + offset, size_bytes, how, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        rc = err_sys(e, ERR_link, errno, "map a region");
    if (fd >= 0)
        close(fd);
    if (rc != 0)
        return -1;
    madvise(map.base + offset, size_bytes, MADV_DONTDUMP);
    map.pieces[map.n_pieces++] = (struct piece){offset, size_bytes, written};
    for (uint64_t c = offset / LIMIT_CHUNK_BYTES; c < (offset + size_bytes) / LIMIT_CHUNK_BYTES;
         c++)
        atomic_fetch_and(&map.mapped[c / 64], ~(1ull << c % 64));
    return 0;
}

void arena_map_drop(uint64_t offset, uint64_t size_bytes)
{
    for (uint32_t i = 0; i < map.n_pieces; i++) {
        if (map.pieces[i].offset != offset || map.pieces[i].bytes != size_bytes)
            continue;
        mmap(map.base + offset, size_bytes, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        map.pieces[i] = map.pieces[--map.n_pieces];
        return;
    }
}

/* ---- what all see ---- */

uint8_t *arena_map_base(void)
{
    return map.base;
}

uint64_t arena_map_size(void)
{
    return map.size_bytes;
}

/* The server has reserved whole chunks, so populating one cannot run into a hole; what a client
 * writes and we only read is mapped to be read. On an older kernel the call fails and the pages
 * come by faults. */
static void populate(uint64_t chunk)
{
    uint64_t at = chunk * LIMIT_CHUNK_BYTES, len = LIMIT_CHUNK_BYTES;
    const struct piece *p = at < map.size_bytes ? NULL : piece_at(at);

    if (at < map.size_bytes && len > map.size_bytes - at)
        len = map.size_bytes - at;
    madvise(map.base + at, len, p && !p->written ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
    atomic_fetch_or_explicit(&map.mapped[chunk / 64], 1ull << chunk % 64, memory_order_relaxed);
}

uint8_t *arena_map_at(uint64_t offset, uint64_t size_bytes)
{
    const struct piece *p;

    if (offset <= map.size_bytes && size_bytes <= map.size_bytes - offset)
        return map.base + offset;
    p = piece_at(offset);
    if (p && size_bytes <= p->bytes - (offset - p->offset))
        return map.base + offset;
    return NULL;
}

void arena_map_touch(const uint8_t *p, uint64_t n)
{
    uint64_t first, last;

    if (n == 0 || p < map.base || p >= map.base + all_bytes() || !map.base)
        return;
    first = (uint64_t)(p - map.base) / LIMIT_CHUNK_BYTES;
    last = ((uint64_t)(p - map.base) + n - 1) / LIMIT_CHUNK_BYTES;
    for (uint64_t c = first; c <= last; c++)
        if (!(atomic_load_explicit(&map.mapped[c / 64], memory_order_relaxed) >> c % 64 & 1))
            populate(c);
}
