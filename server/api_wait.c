/* api_wait.c - requests that wait: for a job, for a commit, or for bytes that are on a device. */
#include "schema/clock.h"
#include "server/api.h"
#include "server/resident.h"

#include <stdlib.h>
#include <string.h>

void request_state(struct request *rq, void *state, void (*state_free)(void *state))
{
    if (rq->state_free)
        rq->state_free(rq->state);
    rq->state = state;
    rq->state_free = state_free;
}

/* ---- for a job ---- */

static void job_woken(struct job_wait *w)
{
    http_resume(CORE_OWNER(w, struct job_request, wait)->rq);
}

static void job_client_gone(struct request *rq)
{
    struct job_request *jr = rq->state;

    job_wait_drop(&jr->wait);
}

static void job_request_free(void *state)
{
    struct job_request *jr = state;

    record_free(jr->wait.job);
    free(jr);
}

void job_request_init(struct job_request *jr, struct request *rq, uint64_t wait_us)
{
    jr->rq = rq;
    jr->wait.wake = job_woken;
    jr->wait.scope = visitor_scope(&rq->visitor);
    jr->wait.deadline_us = wait_us ? clock_us() + wait_us : 0;
}

struct job_request *job_request_new(struct request *rq, uint64_t wait_us,
                                    int (*resume)(struct request *, struct err *), struct err *e)
{
    struct job_request *jr;

    if (wait_us > 0 && http_take_wait(rq, e) != 0)
        return NULL;
    jr = calloc(1, sizeof *jr);
    if (!jr) {
        err_set(e, ERR_no_memory, "a request");
        return NULL;
    }
    job_request_init(jr, rq, wait_us);
    request_state(rq, jr, job_request_free);
    rq->resume = resume;
    return jr;
}

void job_request_suspend(struct job_request *jr)
{
    http_suspend(jr->rq, job_client_gone);
}

/* ---- for a commit ---- */

static void on_core(struct core_msg *m)
{
    struct store_wait *w = CORE_OWNER(m, struct store_wait, msg);

    if (w->rc == 0)
        w->core(w);
    http_resume(w->rq);
}

static void on_committed(struct store_msg *m, const struct err *e)
{
    struct store_wait *w = CORE_OWNER(m, struct store_wait, op.any);

    w->rc = e ? -1 : 0;
    if (e)
        w->err = *e;
    w->msg.run = on_core;
    if (w->core)
        core_post(&w->msg);
    else
        http_resume(w->rq);
}

static void store_wait_free(void *state)
{
    struct store_wait *w = state;

    if (w->free)
        w->free(w);
    free(w);
}

struct store_wait *store_wait_new(struct request *rq, struct err *e)
{
    struct store_wait *w = calloc(1, sizeof *w);

    if (!w) {
        err_set(e, ERR_no_memory, "a request");
        return NULL;
    }
    w->rq = rq;
    request_state(rq, w, store_wait_free);
    return w;
}

void store_wait_post(struct store_wait *w, int (*resume)(struct request *, struct err *))
{
    w->op.any.done = on_committed;
    w->rq->resume = resume;
    http_suspend(w->rq, NULL);
    store_post(&w->op.any);
}

/* ---- for a tensor's bytes ---- */

/* Stands in for the request's own state until they are there. */
struct bringing {
    struct resident_wait wait;
    struct request *rq;
    void *state;
    void (*state_free)(void *state);
    int (*again)(struct request *rq, struct err *e);
};

static void bringing_free(void *state)
{
    struct bringing *b = state;

    if (b->state_free)
        b->state_free(b->state);
    tensor_unref(b->wait.tensor);
    free(b);
}

static void brought(struct resident_wait *w)
{
    http_resume(CORE_OWNER(w, struct bringing, wait)->rq);
}

static int go_on(struct request *rq, struct err *e)
{
    struct bringing *b = rq->state;
    int (*again)(struct request *, struct err *) = b->again;
    int rc = b->wait.rc;

    if (rc != 0)
        *e = b->wait.err;
    rq->state = b->state;
    rq->state_free = b->state_free;
    b->state_free = NULL;
    bringing_free(b);
    rq->resume = again;
    return rc != 0 ? -1 : again(rq, e);
}

int tensor_bring(struct request *rq, struct tensor *t, int (*again)(struct request *, struct err *),
                 struct err *e)
{
    struct bringing *b = calloc(1, sizeof *b);

    if (!b)
        return err_set(e, ERR_no_memory, "a request");
    b->rq = rq;
    b->again = again;
    b->state = rq->state;
    b->state_free = rq->state_free;
    b->wait.tensor = tensor_ref(t);
    b->wait.done = brought;
    rq->state = b;
    rq->state_free = bringing_free;
    rq->resume = go_on;
    http_suspend(rq, NULL);
    resident_want(&b->wait);
    return SUSPENDED;
}

int outputs_bring(struct request *rq, const struct job_record *r, int64_t rank, struct err *e)
{
    for (uint32_t i = 0; r->outputs && i < r->n; i++) {
        struct tensor *t = NULL;
        int rc = 0;

        if ((rank < 0 || rank == i) && !id_is_zero(&r->outputs[i]))
            t = tensor_find(&r->outputs[i]);
        if (t && tensor_away(t))
            rc = tensor_bring(rq, t, rq->resume, e);
        tensor_unref(t);
        if (rc != 0)
            return rc;
    }
    return 0;
}
