/* api_backward.c - the gradient of a finished job. */
#include "server/api_refs.h"
#include "server/api_submit.h"
#include "server/backward.h"

#include <stdlib.h>

int parent_find(struct request *rq, const struct id *id,
                int (*then)(struct request *, struct err *), struct err *e)
{
    struct job_request *jr = job_request_new(rq, 0, then, e);

    if (!jr)
        return -1;
    job_request_suspend(jr);
    job_watch(id, &jr->wait);
    return SUSPENDED;
}

int parent_found(struct request *rq, struct job_record **out, struct err *e)
{
    struct job_wait *w = &((struct job_request *)rq->state)->wait;

    if (job_settle(w, &w->id, e) != 0)
        return -1;
    *out = w->job;
    w->job = NULL;
    return 0;
}

static struct job_submission *read_gradient(struct request *rq, const struct job_record *of,
                                            struct err *e)
{
    struct job_submission *s = calloc(1, sizeof *s);
    struct json_span grads;
    bool has_grads;

    if (!s) {
        err_set(e, ERR_no_memory, "a job");
        return NULL;
    }
    if (submit_read_members(rq, WHERE_BACKWARD, "grads", &grads, &has_grads, e) != 0 ||
        submit_read_gradient(rq, of, NULL, &s->record, e) != 0)
        goto fail;
    s->inputs = calloc(record_needs(s->record), sizeof *s->inputs);
    if (!s->inputs) {
        err_set(e, ERR_no_memory, "a job");
        goto fail;
    }
    if (submit_read_grads(rq, &grads, has_grads, s->record, s->inputs, e) == 0 &&
        backward_complete(s->record, s->inputs, e) == 0 &&
        backward_masks(s->record, of, s->inputs, e) == 0)
        return s;
fail:
    submission_free(s);
    return NULL;
}

static int found(struct request *rq, struct err *e)
{
    struct job_submission *s;
    struct job_record *of;

    if (parent_found(rq, &of, e) != 0)
        return -1;
    s = read_gradient(rq, of, e);
    record_free(of);
    return s ? submission_post(rq, s, e) : refs_find(rq, api_job_backward, e);
}

int api_job_backward(struct request *rq, struct err *e)
{
    struct id id;

    return job_id_read(rq, &id, e) != 0 || refs_begin(rq, e) != 0 ? -1
                                                                  : parent_find(rq, &id, found, e);
}
