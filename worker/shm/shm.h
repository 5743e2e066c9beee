/* shm.h - the shared-memory backend's inner door: how one kind of collective is cut into pieces. */
#ifndef TUTTI_WORKER_SHM_SHM_H
#define TUTTI_WORKER_SHM_SHM_H

#include "worker/backend.h"
#include "worker/copy.h"
#include "worker/reduce.h"

/* What one rank has to do for one job: pieces in order, each a run of output bytes. */
struct work {
    struct task task;
    uint32_t pieces;      /* how many */
    uint64_t piece_bytes; /* of one piece */
    uint64_t grain;       /* pieces are cut at multiples of this many bytes */
    struct move move;     /* of the piece at hand; set by begin, for movers */
    uint64_t from_bytes;  /* reducers: the piece's first byte in the output */
    void (*begin)(struct work *w, uint32_t piece);
    void (*run)(struct work *w, uint64_t lo, uint64_t hi); /* bytes [lo, hi) of the piece */
};

/* Fills in everything but task, from the task: one function a kind, in moves.c and reduces.c. A
 * rank with nothing to do has no pieces. */
typedef void shm_plan_fn(struct work *w);

#define X(KIND, kind) shm_plan_fn shm_##kind;
KINDS(X)
#undef X

#endif
