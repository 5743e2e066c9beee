/* arena_map.h - the server's arena, mapped into this process. Main thread, but for touches. */
#ifndef TUTTI_WORKER_ARENA_MAP_H
#define TUTTI_WORKER_ARENA_MAP_H

#include "schema/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Maps size_bytes of fd, which is closed in every case. Returns 0 or -1. */
int arena_map_open(int fd, uint64_t size_bytes, struct err *e);
void arena_map_close(void);

/* Takes window_bytes of addresses behind the arena, where other memory is mapped later: right after
 * arena_map_open. Returns 0 or -1. */
int arena_map_window(uint64_t window_bytes, struct err *e);

/* All size_bytes of fd, which is closed in every case, continue the arena at that offset, which
 * lies in the window: to be read, or to be written to as well. Returns 0, or -1 with ERR_link. */
int arena_map_region(uint64_t offset, uint64_t size_bytes, int fd, bool written, struct err *e);
void arena_map_drop(uint64_t offset, uint64_t size_bytes); /* of none: nothing happens */

uint8_t *arena_map_base(void);
uint64_t arena_map_size(void);

/* [offset, offset + size_bytes) as a pointer; NULL when the range leaves the arena, and does not
 * lie in one region either. */
uint8_t *arena_map_at(uint64_t offset, uint64_t size_bytes);

/* Maps the pages of n bytes at p ahead of their use, if they lie in the arena: by chunks, once
 * each. A fault costs eight times as much; and a rank that maps only what it is about to touch
 * leaves the other ranks' share to them. Any thread. */
void arena_map_touch(const uint8_t *p, uint64_t n);

#endif
