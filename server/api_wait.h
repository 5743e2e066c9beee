/* api_wait.h - requests that wait: for a job, for a commit, or for bytes that are on a device. Pool
 * threads.
 */
#ifndef TUTTI_SERVER_API_WAIT_H
#define TUTTI_SERVER_API_WAIT_H

#include "schema/error.h"
#include "server/http.h"
#include "server/job.h"
#include "server/store.h"

/* A request that waits for a job: owned by the request, freed with it. */
struct job_request {
    struct job_wait wait;
    struct request *rq;
};

/* Suspends rq on a fresh job_request whose wake resumes it; post it with job_submit, job_watch or
 * job_cancel. NULL when out of memory. api_wait.c. */
struct job_request *job_request_new(struct request *rq, uint64_t wait_us,
                                    int (*resume)(struct request *, struct err *), struct err *e);
/* One that is part of a larger state, zeroed. */
void job_request_init(struct job_request *jr, struct request *rq, uint64_t wait_us);
void job_request_suspend(struct job_request *jr);

/* Posts a store message and suspends until it is committed; then resume runs, and store_wait_rc
 * tells how it went. core, when not NULL, runs on the core thread after the commit. api_wait.c. */
struct store_wait {
    struct request *rq;
    void (*core)(struct store_wait *w);
    void (*free)(struct store_wait *w); /* what the owner put in, not w itself */
    int rc;
    struct err err;
    struct core_msg msg;
    union {
        struct store_msg any;
        struct store_tensor_insert tensor_insert;
        struct store_tensor_delete tensor_delete;
    } op;
    struct tensor *tensor;
};

/* Gives rq another state; frees the one before. api_wait.c. */
void request_state(struct request *rq, void *state, void (*state_free)(void *state));

/* Suspends until the bytes of a tensor that is away are in the arena; then again is called, from
 * the start and with the request's own state, or the reason why they never will be is the answer.
 * Returns SUSPENDED, or -1. Before anything of the reply is made. api_wait.c. */
int tensor_bring(struct request *rq, struct tensor *t, int (*again)(struct request *, struct err *),
                 struct err *e);

/* The same for the first of a job's outputs that is away (rank: one of them, -1: all), and
 * rq->resume again. 0: all are there. api_wait.c. */
int outputs_bring(struct request *rq, const struct job_record *r, int64_t rank, struct err *e);

struct store_wait *store_wait_new(struct request *rq, struct err *e);
void store_wait_post(struct store_wait *w, int (*resume)(struct request *, struct err *));

#endif
