/* extent.h - pieces of the arena: allocate, share, free.
 *
 * One allocator for the process, behind one mutex (named in ARCHITECTURE.md); all functions are
 * safe from any thread unless said. Metadata lives outside the arena. Two-level segregated fit with
 * coalescing (TLSF, Masmano et al. 2004), so allocation and free are O(1) and fragmentation is
 * bounded. Sizes round up to LIMIT_EXTENT_ALIGN_BYTES; 1 MiB and more start on a page.
 */
#ifndef TUTTI_SERVER_EXTENT_H
#define TUTTI_SERVER_EXTENT_H

#include "schema/error.h"
#include "server/account.h"
#include "server/arena.h"
#include "server/blocks.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct extent; /* opaque, reference counted */

/* Other memory than the arena's that extents are pieces of, mapped behind it: region.c's. Whoever
 * has an extent of it sees no difference, but that nothing of it survives the server. */
struct extent_pool {
    pthread_mutex_t lock;
    struct blocks blocks;
    void (*freed)(struct extent_pool *p); /* an extent has ended; by whichever thread */
};

int extent_pool_init(struct extent_pool *p, uint64_t offset, uint64_t size_bytes,
                     void (*freed)(struct extent_pool *p), struct err *e);
void extent_pool_fini(struct extent_pool *p);

/* A free piece of the pool, as extent_alloc, for which nobody pays; or any piece that the caller
 * names, also one that others have named. Both with one reference. Return 0, or -1 with
 * ERR_arena_full or ERR_no_memory. */
int extent_pool_take(struct extent_pool *p, uint64_t size_bytes, struct extent **out,
                     struct err *e);
int extent_pool_name(struct extent_pool *p, uint64_t offset, uint64_t size_bytes,
                     struct extent **out, struct err *e);

/* NULL: it is in the arena. */
struct extent_pool *extent_pool_of(const struct extent *x);

/* Starts with everything after the header free. Takes no ownership of the arena. */
int extent_init(struct arena *a, struct err *e);

/* Every extent must be freed by now; says which are not in debug builds. */
void extent_fini(void);

/* A piece of size_bytes (0 is legal: it has no bytes and takes none), reserved and populated, with
 * one reference. Its content is whatever was there: the caller overwrites every byte before it
 * shows any. Returns 0, or -1 with ERR_arena_full (asked_bytes, free_bytes and the largest free
 * piece in the detail). */
int extent_alloc(uint64_t size_bytes, struct extent **out, struct err *e);

/* Reserves and populates the piece that extent_alloc of so many bytes would find now, which nobody
 * has by this: whoever cannot wait for pages finds them there. What cannot be done is left. */
void extent_warm(uint64_t size_bytes);

/* extent_alloc for an account, whose it then is to pay: from its quota, until the last reference
 * goes. Returns 0, or -1 with ERR_quota too. */
int extent_alloc_for(struct account *a, uint64_t size_bytes, struct extent **out, struct err *e);

/* What an extent of so many bytes counts to whoever pays for it: the whole units that it takes, and
 * one for none, so that nobody has any number of them. */
uint64_t extent_cost(uint64_t size_bytes);

/* The account pays from now on, whatever its quota is; unless somebody does already. By whoever has
 * the only reference, or at a start. */
void extent_charge(struct extent *x, struct account *a);

/* The account, which has taken these bytes before, pays from now on. By whoever has the only
 * reference. */
void extent_paid(struct extent *x, struct account *a);

/* Recovery: a reference to exactly [offset, offset+size_bytes), made live if it is not yet. The
 * same range adopted twice is one extent with two references. Returns 0, or -1 with ERR_arena when
 * the range overlaps another live extent or leaves the arena. */
int extent_adopt(uint64_t offset, uint64_t size_bytes, struct extent **out, struct err *e);

struct extent *extent_ref(struct extent *x);
void extent_unref(struct extent *x); /* NULL is ignored; the last one frees */

/* From now on nothing that is freed is given out again: the database may know it all the same, and
 * the next start find it there. For a process that is about to end. */
void extent_freeze(void);

/* Gives the tail back: size_bytes <= the present size. Only while the caller has the only
 * reference. */
void extent_shrink(struct extent *x, uint64_t size_bytes);

/* Somebody who is to hear that an extent is free again: copies of its bytes are elsewhere. */
struct extent_tie {
    void (*gone)(struct extent_tie *t); /* by whichever thread gives up the last reference */
};

/* One a live extent, set once, by the core thread, which holds a reference; NULL: none. */
void extent_tie(struct extent *x, struct extent_tie *t);
struct extent_tie *extent_tied(const struct extent *x);

uint8_t *extent_bytes(const struct extent *x);
uint64_t extent_offset(const struct extent *x); /* in the arena */
uint64_t extent_size(const struct extent *x);   /* as asked, not rounded */

/* With --durable: its bytes are on the disk, and do not change any more. Store thread. */
bool extent_on_disk(const struct extent *x);

/* Brings the bytes of n extents to the disk, and remembers it. Changes their order. Returns 0, or
 * -1 with ERR_arena: then what is on the disk is not known. Store thread. */
int extent_flush(struct extent **x, size_t n, struct err *e);

struct extent_usage {
    uint64_t arena_bytes; /* that can be handed out, in all */
    uint64_t used_bytes;  /* by live extents, rounded */
    uint64_t free_bytes;
    uint64_t largest_free_bytes; /* one extent of this size can be had */
    uint64_t reserved_bytes;     /* pages taken from tmpfs */
    uint64_t extents;            /* live */
};

void extent_usage(struct extent_usage *out);

/* Walks everything: blocks tile the arena, no two free neighbours, bins right, sums right.
 * Returns 0, or -1 with what is broken. For tests and the invariant checker. */
int extent_check(struct err *e);

#endif
