/* api_lane.c - a job's inputs that lie where a client may write, and outputs that it wants in a
 * region of its own. */
#include "server/api_submit.h"
#include "server/resident.h"

#include <stdlib.h>
#include <string.h>

/* The client leaves its bytes alone until the job has ended, and no longer. So what outlives the
 * job is a copy: an input that is passed on as an output, or kept for a gradient. Of truth values
 * the client may have written others than 0 and 1. r NULL: it is to stay as it is in any case. */
static bool is_to_copy(const struct job_record *r, const struct tensor *t)
{
    if (!t || t->promise || !region_is_written(t->extent))
        return false;
    return !r || record_is_view(r) || record_keeps(r) || t->dtype == DTYPE_bool;
}

int lane_settle(const struct request *rq, const struct job_record *r, struct region *into,
                struct tensor **t, struct err *e)
{
    struct extent *x = NULL;
    struct tensor *copy;

    if (!is_to_copy(r, *t))
        return 0;
    if ((into ? region_take(into, (*t)->size_bytes, &x, e)
              : codec_alloc(rq->visitor.account, (*t)->size_bytes, &x, e)) != 0)
        return -1;
    memcpy(extent_bytes(x), tensor_data(*t), (*t)->size_bytes);
    if ((*t)->dtype == DTYPE_bool)
        codec_normalise_bool(extent_bytes(x), (*t)->size_bytes);
    copy = tensor_new((*t)->dtype, &(*t)->shape, x, 0);
    extent_unref(x); /* the tensor has its own reference */
    if (!copy)
        return err_set(e, ERR_no_memory, "an input");
    copy->owner = (*t)->owner;
    tensor_unref(*t);
    *t = copy;
    return 0;
}

static int settle_all(const struct request *rq, const struct job_record *r, struct region *into,
                      struct tensor **t, struct err *e)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (lane_settle(rq, r, into, &t[i], e) != 0)
            return -1;
    }
    return 0;
}

int lane_settle_all(const struct request *rq, const struct job_record *r, struct tensor **t,
                    struct err *e)
{
    return settle_all(rq, r, NULL, t, e);
}

static int find_results(const struct request *rq, const char *text, struct region **out,
                        struct err *e)
{
    struct id id;

    *out = NULL;
    if (id_parse('r', text, strlen(text), &id) == 0)
        *out = region_find(&id, visitor_scope(&rq->visitor));
    if (*out && (*out)->kind == REGION_results)
        return 0;
    region_unref(*out);
    *out = NULL;
    err_set(
        e, ERR_region_unknown,
        "there is no results region %.40s: one lives as long as the connection to the lane that "
        "opened it",
        text);
    return err_pointer(e, "/results");
}

/* Room for every output, or none: a job that was accepted does not wait for it. */
static int take_room(struct region *in, struct job_submission *s, struct err *e)
{
    const struct job_record *r = s->record;
    uint64_t bytes = shape_count(&r->out_shape) * dtypes[r->dtype].size_bytes;
    struct extent *shared = NULL;

    s->results = calloc(r->n, sizeof(struct extent *));
    if (!s->results)
        return err_set(e, ERR_no_memory, "outputs of %u ranks", r->n);
    for (uint32_t i = 0; i < r->n; i++) {
        if (!record_gets(r, i))
            continue;
        if (shared)
            s->results[i] = extent_ref(shared);
        else if (region_take(in, bytes, &s->results[i], e) != 0)
            return err_pointer(e, "/results");
        if (record_shares_output(r))
            shared = s->results[i];
    }
    return 0;
}

int lane_results(const struct request *rq, struct job_submission *s, struct err *e)
{
    const char *text = params_text(rq->params, PARAM_results);
    bool view = record_is_view(s->record);
    struct region *in = NULL;
    int rc;

    if (text && find_results(rq, text, &in, e) != 0)
        return -1;
    rc = settle_all(rq, s->record, view ? in : NULL, s->inputs, e);
    if (rc == 0 && in && !view && !resident_stays(s->record))
        rc = take_room(in, s, e);
    region_unref(in);
    return rc;
}
