/* resident_parts.h - what resident.c and resident_room.c share; nobody else includes it. Core
 * thread. */
#ifndef TUTTI_SERVER_RESIDENT_PARTS_H
#define TUTTI_SERVER_RESIDENT_PARTS_H

#include "server/resident.h"

/* A copy: on the device of this rank's worker of that time. */
struct place {
    uint32_t rank;
    uint64_t epoch;
    bool live;
};

struct resident {
    struct residence base;
    struct core_msg msg; /* the tensor was freed */
    struct id id;
    uint64_t number, size_bytes;    /* number: on the link, never used again */
    uint32_t in_use;                /* jobs that run with it */
    struct resident *newer, *older; /* by last use */
    /* On its way to the arena: */
    struct tensor *fetching; /* a reference; NULL: it is not */
    struct extent *to;
    struct place *from;
    bool evict; /* then it leaves that device */
    struct core_timer timer;
    struct resident_wait *waits;
    struct resident *next_fetch;
    uint32_t n;
    struct place place[];
};

struct residents {
    struct resident *newest, *oldest, *fetches;
    uint64_t last_number;
    atomic_bool closed;
};
extern struct residents residents;

struct resident *resident_of(const struct tensor *t); /* NULL: it never was on a device */
void resident_touch(struct resident *h);              /* it is used now */

/* Its copy on the device of this rank; any but that one. NULL: there is none. */
struct place *resident_copy_on(struct resident *h, uint32_t rank);
struct place *resident_any_copy(struct resident *h, const struct place *but);
void resident_drop_copy(struct resident *h, struct place *p);

/* Begins to bring t to the arena, if that has not begun. Returns 0, or -1 with ERR_arena_full or
 * ERR_tensor_lost. */
int resident_fetch(struct resident *h, struct tensor *t, struct err *e);

#endif
