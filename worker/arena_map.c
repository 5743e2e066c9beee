/* arena_map.c - map the arena once, map its pages a chunk at a time as jobs come to them. */
#include "worker/arena_map.h"
#include "schema/limits.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

static struct {
    uint8_t *base;
    uint64_t size_bytes;
    atomic_uint_least64_t *mapped; /* a bit per chunk */
} map;

int arena_map_open(int fd, uint64_t size_bytes, struct err *e)
{
    uint64_t chunks = (size_bytes + LIMIT_CHUNK_BYTES - 1) / LIMIT_CHUNK_BYTES;
    void *base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int map_errno = errno;

    close(fd);
    if (base == MAP_FAILED)
        return err_sys(e, ERR_arena, map_errno, "map %llu bytes of the arena",
                       (unsigned long long)size_bytes);
    map.base = base;
    map.size_bytes = size_bytes;
    map.mapped = calloc(chunks / 64 + 1, sizeof *map.mapped);
    madvise(base, size_bytes, MADV_DONTDUMP);
    return map.mapped ? 0 : err_set(e, ERR_no_memory, "the arena's page table");
}

void arena_map_close(void)
{
    if (map.base)
        munmap(map.base, map.size_bytes);
    free(map.mapped);
    map.base = NULL;
    map.mapped = NULL;
}

uint8_t *arena_map_base(void)
{
    return map.base;
}

uint64_t arena_map_size(void)
{
    return map.size_bytes;
}

/* The server has reserved whole chunks, so populating one cannot run into a hole. On an older
 * kernel the call fails and the pages come by faults. */
static void populate(uint64_t chunk)
{
    uint64_t at = chunk * LIMIT_CHUNK_BYTES, len = map.size_bytes - at;

    madvise(map.base + at, len < LIMIT_CHUNK_BYTES ? len : LIMIT_CHUNK_BYTES, MADV_POPULATE_WRITE);
    atomic_fetch_or_explicit(&map.mapped[chunk / 64], 1ull << chunk % 64, memory_order_relaxed);
}

uint8_t *arena_map_at(uint64_t offset, uint64_t size_bytes)
{
    if (offset > map.size_bytes || size_bytes > map.size_bytes - offset)
        return NULL;
    return map.base + offset;
}

void arena_map_touch(const uint8_t *p, uint64_t n)
{
    uint64_t first, last;

    if (n == 0 || p < map.base || p >= map.base + map.size_bytes || !map.base)
        return;
    first = (uint64_t)(p - map.base) / LIMIT_CHUNK_BYTES;
    last = ((uint64_t)(p - map.base) + n - 1) / LIMIT_CHUNK_BYTES;
    for (uint64_t c = first; c <= last; c++)
        if (!(atomic_load_explicit(&map.mapped[c / 64], memory_order_relaxed) >> c % 64 & 1))
            populate(c);
}
