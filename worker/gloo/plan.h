/* plan.h - what one rank does for a job among several hosts: stations that streams of bytes pass.
 *
 * A stream is cut into chunks, and passes stations on the ranks that take part: at each, chunks
 * come from peers or lie in this host's memory, are reduced or not, are kept or not, and go on to
 * others. At step `first + c` a station works at chunk c; what a chunk waits for was sent at an
 * earlier step. So every rank goes through its steps in order, and none waits in a circle.
 *
 * Every rank computes the same plan, and keeps its own part. Pure but for allocation; any thread.
 */
#ifndef TUTTI_WORKER_GLOO_PLAN_H
#define TUTTI_WORKER_GLOO_PLAN_H

#include "worker/backend.h"
#include "worker/copy.h"
#include "worker/gloo/map.h"

#define PLAN_LEAD 3 /* chunks that a station is ahead of the next one */

/* A chunk's way on; its tag is not another's between these two ranks in this task. */
struct hop {
    uint32_t peer, tag;
};

/* One of the inputs that meet at a station. */
struct term {
    const uint8_t *here; /* in this host's memory, as station.in says; NULL: from peer */
    uint32_t peer, tag;
};

struct station {
    const struct task *task;
    uint32_t in_batch;     /* the task's number there */
    uint32_t first;        /* the step of its first chunk */
    uint64_t items, chunk; /* of the stream, of one chunk; the last may be shorter */
    uint32_t item_bytes;   /* in memory, and on the way but for accumulators */
    bool reduces;
    bool parts_in, parts_out; /* what comes, what goes on, are accumulators: reduce_part.h */
    uint32_t n_terms;         /* moves: 1 */
    struct term *terms;       /* in the order in which they are reduced */
    struct rows in;           /* where the terms that lie here have their bytes */
    uint8_t *out;             /* kept there; NULL: not */
    struct rows kept;         /* and how; one row where it reduces */
    uint32_t n_to;
    struct hop *to; /* goes on to */
};

struct plan {
    uint32_t n, room;
    struct station **stations;
    bool failed; /* out of memory, for plan_of */
};

/* A batch's stations on rank m->rank. Returns 0, or -1 with ERR_no_memory; to be freed in both
 * cases. */
int plan_of(struct plan *p, const struct map *m, struct task *const *tasks, uint32_t n,
            struct err *e);
void plan_free(struct plan *p);

/* ---- for moves.c and reduces.c ---- */

/* What plans are made from: one task, seen from this rank. */
struct sketch {
    struct plan *plan;
    const struct map *map;
    const struct task *task;
    uint32_t in_batch;
};

typedef void plan_fn(const struct sketch *k);
#define X(KIND, kind) plan_fn plan_##kind;
KINDS(X)
#undef X

/* A stream: how much, and from which step on. */
struct stream {
    uint32_t first;
    uint64_t items, chunk;
    uint32_t item_bytes;
    uint32_t number, lane; /* among those of its task; which rank of a host it passes */
};

/* The stream of that many items; part_bytes: the larger of an item and an accumulator. */
struct stream plan_stream(uint64_t items, uint32_t item_bytes, uint32_t part_bytes);

/* A station of it `hops` after its begin, with no terms or peers yet, which moves. NULL: out of
 * memory, which plan_of reports; the others do nothing with it. */
struct station *plan_station(const struct sketch *k, const struct stream *s, uint32_t hops);
void plan_here(const struct sketch *k, struct station *s, const uint8_t *here);
void plan_from(const struct sketch *k, struct station *s, uint32_t peer, uint32_t tag);
void plan_to(const struct sketch *k, struct station *s, uint32_t peer, uint32_t tag);
void plan_keep(struct station *s, uint8_t *out, struct rows how);

/* Where this rank writes the output of rank r; NULL: that is not here, or another's to write, or a
 * view of an input. */
uint8_t *plan_out(const struct sketch *k, uint32_t r);

/* A stream that has come to `source` (NULL: not here) on a host after so many hops goes on to every
 * other host, to be kept at out. relay: from each to the next, else from the source to all. */
void plan_spread(const struct sketch *k, const struct stream *s, uint32_t hops, uint32_t host,
                 struct station *source, uint8_t *out, bool relay);

/* All of a tensor as one row. */
struct rows plan_whole(uint64_t bytes);
/* The part of rank r of n along an axis, of what lies in a tensor n times as long there. */
struct rows plan_part(const struct task *t, const struct shape *part, uint32_t axis, uint32_t r);

/* Items [*lo, *hi) of one of `of` slices, cut at whole cache lines. */
void plan_slice(uint64_t items, uint32_t item_bytes, uint32_t slice, uint32_t of, uint64_t *lo,
                uint64_t *hi);

#endif
