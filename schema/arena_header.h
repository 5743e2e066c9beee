/* arena_header.h - the first page of the arena, by which a worker that finds the file by its name
 * knows that it is the server's.
 *
 * Native byte order: whoever maps the file runs on the machine that wrote it.
 */
#ifndef TUTTI_SCHEMA_ARENA_HEADER_H
#define TUTTI_SCHEMA_ARENA_HEADER_H

#include "schema/limits.h"

#include <stdint.h>

#define ARENA_MAGIC 0x414e455241495455ull /* "UTIARENA" */
#define ARENA_VERSION 1
#define ARENA_HEADER_BYTES 4096u
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_BYTES 40 /* 36 characters, then NULs */

/* Written once, but for the size when the arena grows. */
struct arena_header {
    uint64_t magic;
    uint64_t version;
    uint64_t nonce; /* never 0; the database remembers it */
    uint64_t size_bytes;
    char boot_id[BOOT_ID_BYTES];
    uint64_t durable; /* what the database names was flushed before: the boot does not matter */
};

/* Behind an arena of so many bytes, where other memory is mapped by the server and by workers. */
static inline uint64_t arena_window_at(uint64_t arena_bytes)
{
    return (arena_bytes + LIMIT_CHUNK_BYTES - 1) / LIMIT_CHUNK_BYTES * LIMIT_CHUNK_BYTES;
}

_Static_assert(sizeof(struct arena_header) <= ARENA_HEADER_BYTES, "the header is one page");

#endif
