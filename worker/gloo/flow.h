/* flow.h - plans made and carried out: chunk by chunk over the wire. The communicator's thread. */
#ifndef TUTTI_WORKER_GLOO_FLOW_H
#define TUTTI_WORKER_GLOO_FLOW_H

#include "worker/gloo/plan.h"
#include "worker/gloo/wire.h"

#include <stdatomic.h>

struct flow {
    struct wire *wire;
    uint32_t number;             /* of the next run on this wire: the same on all ranks */
    uint32_t silent_ms;          /* longest wait for a chunk */
    atomic_bool *stop;           /* set by another thread, with wire_stop: as soon as may be */
    atomic_uint_least64_t *done; /* bytes of outputs written */
};

/* A batch. Returns 0 when all of this rank's part is done, or -1 with e: then the wire is stopped,
 * and nothing is written any more. */
int flow_run(struct flow *f, const struct map *m, struct task *const *tasks, uint32_t n,
             struct err *e);

#endif
