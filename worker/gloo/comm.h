/* comm.h - what the backend's files share: a communicator, and the thread that works for it. */
#ifndef TUTTI_WORKER_GLOO_COMM_H
#define TUTTI_WORKER_GLOO_COMM_H

#include "worker/backend.h"
#include "worker/gloo/map.h"
#include "worker/gloo/wire.h"

#include <pthread.h>
#include <stdatomic.h>

struct device {
    struct place at;
    struct wire_device *wire;
    uint32_t silent_ms;
};

/* How a peer is reached; under comm.lock. */
struct peer {
    bool heard;
    uint8_t address[WIRE_ADDRESS_BYTES], port[WIRE_PORT_BYTES];
};

struct comm {
    struct device *device;
    uint64_t id;
    struct map *map, *apart; /* the group as it lies; every rank by itself, for masked tasks */
    struct wire *wire;       /* the thread's, but for wire_stop */
    pthread_t thread;
    bool started; /* it has to be joined; main thread */
    atomic_bool stop;
    atomic_uint_least64_t done_bytes;

    pthread_mutex_t lock; /* gloo.comm.lock: of all that follows */
    pthread_cond_t news;  /* for the thread: work, a peer's address, stop */
    pthread_cond_t ended; /* for main: the batch */
    struct peer *peers;   /* n */
    struct task *const *tasks;
    uint32_t n_tasks, reported;
    bool submitted, over; /* a batch is at hand; it has ended, as rc and err say */
    bool broken;          /* nothing can run on it any more */
    int rc;
    struct err err;
    uint64_t start_ns, end_ns;
};

/* meet.c: how the ranks find each other. */

/* Listens, and tells the others where. Main thread. Returns 0 or -1. */
int comm_listen(struct comm *c, struct err *e);
/* What another rank told. Main thread. */
void comm_heard(struct comm *c, const char *key, const uint8_t *value, uint32_t bytes);
/* Connects with all other ranks, when they have been heard of. The thread. Returns 0 or
 * -1. */
int comm_connect(struct comm *c, struct err *e);

/* A wait of at most that long for a condition, under comm.lock. */
void comm_wait(struct comm *c, pthread_cond_t *on, uint64_t us);

#endif
