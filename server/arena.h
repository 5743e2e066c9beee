/* arena.h - the one file that holds all tensor bytes, and its mapping in the server.
 *
 * A sparse file on tmpfs, or with --durable on a disk, 0600 in a 0700 directory. Its first page is
 * a header: magic, boot id, a random nonce, size, whether it is durable. The rest is handed out by
 * extent.c. Opened and closed by the main thread; the getters are safe from any thread.
 */
#ifndef TUTTI_SERVER_ARENA_H
#define TUTTI_SERVER_ARENA_H

#include "schema/arena_header.h"
#include "schema/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena; /* opaque */

/* Opens dir/NAME ("arena"), or makes it size_bytes long.
 *
 *   expected_nonce  what the database remembers, 0 when nothing
 *   kept            set: is this the same file, of the same boot unless it is durable, so that old
 *                   extents are valid? When not, the file is made anew.
 *
 * Makes dir (0700) when it is missing; refuses one that others may enter. A size that differs from
 * the file's grows it, or is refused (ERR_arena) when smaller. Checks that the filesystem has room
 * and says which compose line to add when it is a small /dev/shm (a warning in the log: the
 * service starts). With --durable dir must be on a disk, and what the file holds is there on
 * return, its name too. Returns 0, or -1 with ERR_arena. */
int arena_open(struct arena **out, const char *dir, uint64_t size_bytes, uint64_t expected_nonce,
               bool *kept, struct err *e);

/* Takes window_bytes of addresses behind the arena, where nothing is mapped, for other memory that
 * workers see at the same places (region.c): everything is then an offset from arena_base. Main
 * thread, before anybody has asked for that. Returns 0, or -1 with ERR_arena. */
int arena_make_window(struct arena *a, uint64_t window_bytes, struct err *e);
uint64_t arena_window_bytes(const struct arena *a);

/* Maps all of fd's size_bytes at that offset, which lies in the window; back to nothing. Any
 * thread. Returns 0, or -1 with ERR_no_memory. */
int arena_window_map(struct arena *a, uint64_t offset, uint64_t size_bytes, int fd, bool written,
                     struct err *e);
void arena_window_unmap(struct arena *a, uint64_t offset, uint64_t size_bytes);

/* Unmaps and closes; the file stays. Accepts NULL and a half-open arena. */
void arena_close(struct arena *a);

uint8_t *arena_base(const struct arena *a);
uint64_t arena_size(const struct arena *a); /* bytes, header page included */
int arena_fd(const struct arena *a);        /* not to be closed */
uint64_t arena_nonce(const struct arena *a);
const char *arena_path(const struct arena *a); /* absolute when its directory is */

/* Makes [offset, offset+size) safe to touch: fallocates whole LIMIT_CHUNK_BYTES chunks that are
 * not yet reserved and populates this mapping. Any thread. Returns 0, or -1 with ERR_arena_full
 * when tmpfs is full (never SIGBUS later). */
int arena_reserve(struct arena *a, uint64_t offset, uint64_t size_bytes, struct err *e);

/* Waits until what is in [offset, offset+size) is on the disk. Any thread. Returns 0, or -1 with
 * ERR_arena: then it may never come there, also when a later flush says so. */
int arena_flush(const struct arena *a, uint64_t offset, uint64_t size_bytes, struct err *e);

uint64_t arena_reserved_bytes(const struct arena *a);

#endif
