/* comms.h - ordered groups as the workers know them: a name each, and which rank has been told.
 * Core thread. */
#ifndef TUTTI_SERVER_COMMS_H
#define TUTTI_SERVER_COMMS_H

#include "schema/error.h"
#include "schema/limits.h"

#include <stdbool.h>
#include <stdint.h>

#define COMMS_MAX 256    /* kept; more only while more than that run at once */
#define COMMS_MAX_GPU 32 /* each holds memory of every device that it spans */

struct comm {
    uint64_t id; /* never used again */
    uint32_t n, stream;
    uint32_t busy;                   /* ranks' parts of jobs that run on it */
    bool broken;                     /* a rank of it was lost, failed or was told to stop */
    uint64_t ticket_epoch;           /* of the worker whose ticket this is */
    char backend[16];                /* what carries it */
    char ticket[LIMIT_TICKET_BYTES]; /* how its ranks find each other; "" while there is none */
    struct comm *next;               /* in its bucket */
    struct comm *newer, *older;      /* by last use */
    uint32_t *ranks;                 /* world ranks in group order; behind joined[] */
    uint64_t joined[];               /* n: the epoch of the worker that was told, 0: none */
};

/* The comm of exactly these ranks in this order and this stream on that backend, made when
 * it is new, and used now. NULL with ERR_no_memory. */
struct comm *comms_use(const uint32_t *ranks, uint32_t n, uint32_t stream, const char *backend,
                       struct err *e);

/* When there are more than max: the least recently used one that nobody runs on, taken out of
 * the table; tell its ranks and comm_free it. Else NULL. */
struct comm *comms_evict(uint32_t max);

/* Takes it, which nobody runs on, out of the table: tell its ranks and comm_free it. */
void comms_take(struct comm *c);

/* The one that is called so; NULL: it was taken out. */
struct comm *comms_find(uint64_t id);

void comm_free(struct comm *c);
void comms_fini(void);

#endif
