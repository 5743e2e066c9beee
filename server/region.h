/* region.h - memory that a client on this machine maps too: of inputs, which it writes and we read,
 * or of results, which we write and it reads.
 *
 * A memfd, sealed so that nobody can make it shorter or longer under those who have mapped it; its
 * pages are taken ahead. The server and its workers map it in the window behind the arena, so that
 * what lies there is an offset as any. It lives while its client is connected, and on while an
 * extent of it does. Any thread, but for what says otherwise.
 */
#ifndef TUTTI_SERVER_REGION_H
#define TUTTI_SERVER_REGION_H

#include "server/account.h"
#include "server/arena.h"
#include "server/core.h"
#include "server/extent.h"
#include "server/id.h"

#include <stdbool.h>
#include <stdint.h>

enum region_kind { REGION_inputs, REGION_results };

struct region {
    struct id id;
    enum region_kind kind;
    struct account *owner; /* who pays */
    uint64_t offset;       /* as of an extent: from the arena's start */
    uint64_t size_bytes;   /* whole chunks */
    int fd;
    /* region.c's. */
    atomic_uint refs;
    struct extent_pool pool;
    struct block *place;      /* in the window */
    bool named;               /* its client is there */
    struct region *next;      /* of all, or of those that wait to be unmapped */
    struct region *next_told; /* of those that workers know */
    struct core_msg born, gone;
};

/* Main thread, before others. most_bytes: of all regions together, 0: there will be none. The
 * arena has a window. */
int regions_init(struct arena *a, uint64_t most_bytes, struct err *e);
void regions_fini(void);

/* A region for this account, whose client has the one reference. `client` gets a descriptor for
 * it, the caller's to close: of results one that only reads. Returns 0, or -1 with ERR_quota,
 * ERR_arena_full or ERR_no_memory. */
int region_make(enum region_kind kind, struct account *owner, uint64_t size_bytes,
                struct region **out, int *client, struct err *e);

/* Its client has left, or does not want it any more: nobody finds it from now on. The reference is
 * the client's still. */
void region_leave(struct region *r);

/* A new reference to one whose client is there; NULL where there is none of this account (scope
 * NULL: of any). */
struct region *region_find(const struct id *id, const struct account *scope);
struct region *region_ref(struct region *r);
void region_unref(struct region *r); /* NULL is ignored */

/* A piece of the region, counted from its start, that lies inside; of inputs. */
int region_piece(struct region *r, uint64_t at, uint64_t size_bytes, struct extent **out,
                 struct err *e);

/* A free piece of it; of results. Returns 0, or -1 with ERR_arena_full. */
int region_take(struct region *r, uint64_t size_bytes, struct extent **out, struct err *e);

/* Of which region it is a piece; NULL: of none. */
struct region *region_of(const struct extent *x);

/* May a client write to these bytes? */
bool region_is_written(const struct extent *x);

/* Has its client left? Then what lies there is to be kept for LIMIT_REGION_LEFT_S at most. */
bool region_is_left(struct region *r);

/* Does anything else use it than its client? */
bool region_is_used(const struct region *r);

/* Is there any? When not, nothing is a piece of one. */
bool regions_any(void);

struct region_usage {
    uint64_t size_bytes; /* that they may have together */
    uint64_t used_bytes;
    uint64_t regions;
};
void region_usage(struct region_usage *out);

/* Whoever tells workers; core thread. born comes before any use of the region, gone after the last;
 * then its addresses may become another's. */
struct region_follower {
    void (*born)(const struct region *r);
    void (*gone)(const struct region *r);
};
/* Main thread, while the core does not run; NULL: nobody is left who has to be told. */
void regions_follow(const struct region_follower *f);
void regions_each(void (*f)(const struct region *r, void *arg), void *arg); /* core: those born */

/* What is over is unmapped by whoever calls regions_sweep, which may take milliseconds; wake, from
 * any thread, says that there is some. NULL: it is done on the spot, and nobody is told. */
void regions_swept_by(void (*wake)(void));
void regions_sweep(void);

#endif
