/* api_jobs_delete.c - forget a finished job and its output tensors. */
#include "server/api.h"

#include <stdlib.h>

/* Owned by the request; the store's until its last message is done. */
struct removal {
    struct request *rq;
    struct store_job_delete job;
    int rc;
    struct err err;
    struct tensor *removed[]; /* the table's references */
};

static void removal_free(void *state)
{
    struct removal *d = state;

    for (uint32_t i = 0; i < d->job.n; i++)
        tensor_forget(d->removed[i], d->rc != 0);
    free(d);
}

/* Store thread. */
static void on_job_deleted(struct store_msg *m, const struct err *e)
{
    struct removal *d = CORE_OWNER(m, struct removal, job.msg);

    d->rc = e ? -1 : 0;
    if (e)
        d->err = *e;
    http_resume(d->rq);
}

static int deleted(struct request *rq, struct err *e)
{
    struct removal *d = rq->state;

    if (d->rc == 0)
        return reply_empty(rq, 204);
    *e = d->err;
    return -1;
}

/* And what was kept for its gradient. */
static void take_outputs(struct removal *d, const struct job_record *r)
{
    for (uint32_t i = 0; r->outputs && i < r->n; i++) {
        struct tensor *t = id_is_zero(&r->outputs[i]) ? NULL : tensor_remove(&r->outputs[i]);

        if (t) /* of a shared one, only the first time */
            d->removed[d->job.n++] = t;
    }
    for (uint32_t i = 0; r->kept && i < r->n; i++) {
        struct tensor *t = tensor_find(&r->kept[i]);
        bool own = t && id_equal(&t->job, &r->id);

        tensor_unref(t);
        t = own ? tensor_remove(&r->kept[i]) : NULL;
        if (t)
            d->removed[d->job.n++] = t;
    }
}

static int remove_now(struct request *rq, const struct job_record *r, struct err *e)
{
    struct removal *d = calloc(1, sizeof *d + 2 * r->n * sizeof d->removed[0]);

    if (!d)
        return err_set(e, ERR_no_memory, "a request");
    d->rq = rq;
    d->job.id = r->id;
    d->job.msg.done = on_job_deleted;
    store_job_delete_init(&d->job);
    d->job.tensors = d->removed;
    take_outputs(d, r);
    request_state(rq, d, removal_free);
    rq->resume = deleted;
    http_suspend(rq, NULL);
    store_post(&d->job.msg);
    return SUSPENDED;
}

static int found(struct request *rq, struct err *e)
{
    struct job_wait *w = &((struct job_request *)rq->state)->wait;
    struct job_record *r;
    struct id id;
    int rc;

    if (w->rc == 0)
        return err_set(e, ERR_job_running, "the job is %s; cancel it first",
                       job_state_name(w->job->state));
    if (job_id_read(rq, &id, e) != 0 || job_settle(w, &id, e) != 0)
        return -1;
    if (!job_state_terminal(w->job->state))
        return err_set(e, ERR_job_running, "the job is still being recorded");
    r = w->job;
    w->job = NULL;
    rc = remove_now(rq, r, e);
    record_free(r);
    return rc;
}

int api_job_delete(struct request *rq, struct err *e)
{
    struct job_request *jr;
    struct id id;

    if (job_id_read(rq, &id, e) != 0)
        return -1;
    jr = job_request_new(rq, 0, found, e);
    if (!jr)
        return -1;
    job_request_suspend(jr);
    job_watch(&id, &jr->wait);
    return SUSPENDED;
}
