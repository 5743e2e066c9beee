/* api_trace.c - jobs on one time axis: those that are named, or the newest. */
#include "schema/clock.h"
#include "server/api.h"
#include "server/trace.h"

#include <stdlib.h>
#include <string.h>

#define TRACE_JOBS_DEFAULT 50

struct tracing {
    struct request *rq;
    struct core_msg msg;
    uint32_t most, n; /* newest: up to most + n of them are in jobs, twins too */
    struct job_record *jobs[2 * LIMIT_PAGE];
};

_Static_assert(LIMIT_TRACE_JOBS <= LIMIT_PAGE, "a place for each");

static void tracing_free(void *state)
{
    struct tracing *t = state;

    for (uint32_t i = 0; i < t->n; i++)
        record_free(t->jobs[i]);
    free(t);
}

static bool may_see(const struct job_record *r, void *arg)
{
    const struct account *scope = visitor_scope(&((const struct request *)arg)->visitor);

    return !scope || scope == r->owner;
}

static bool has(const struct tracing *t, const struct id *id)
{
    for (uint32_t i = 0; i < t->n; i++) {
        if (id_equal(&t->jobs[i]->id, id))
            return true;
    }
    return false;
}

/* Of one that ended between the two looks memory's copy is kept: it ended a moment ago. */
static void add(struct tracing *t, struct job_record *r)
{
    if (!has(t, &r->id) && t->n < sizeof t->jobs / sizeof t->jobs[0])
        t->jobs[t->n++] = r;
    else
        record_free(r);
}

/* ---- on the core thread: what is unfinished ---- */

static void look(struct core_msg *m)
{
    struct tracing *t = CORE_OWNER(m, struct tracing, msg);
    const struct params *p = t->rq->params;
    const struct id newest = {{0}};

    if (!params_has(p, PARAM_jobs))
        t->n = job_list(&newest, may_see, t->rq, t->jobs, t->most);
    for (uint32_t i = 0; i < p->n_jobs; i++) {
        struct job_record *r = job_copy(&p->jobs[i]);

        if (r && may_see(r, t->rq))
            add(t, r);
        else
            record_free(r);
    }
    http_resume(t->rq);
}

/* ---- and then of the database ---- */

static int read_named(struct tracing *t, struct err *e)
{
    const struct params *p = t->rq->params;

    for (uint32_t i = 0; i < p->n_jobs; i++) {
        struct job_record *r;

        if (has(t, &p->jobs[i]))
            continue;
        if (store_job_read(&p->jobs[i], visitor_scope(&t->rq->visitor), &r, e) != 0)
            return -1;
        add(t, r);
    }
    return 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct job_record *const *x = a, *const *y = b;

    return memcmp((*y)->id.b, (*x)->id.b, sizeof(*x)->id.b);
}

static int read_newest(struct tracing *t, struct err *e)
{
    struct store_job_filter filter = {.terminal_only = true,
                                      .owner = visitor_scope(&t->rq->visitor)};
    struct job_record *stored[LIMIT_PAGE];
    uint32_t n;

    if (store_job_list(&filter, stored, t->most, &n, e) != 0)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        add(t, stored[i]);
    qsort(t->jobs, t->n, sizeof t->jobs[0], newest_first);
    while (t->n > t->most)
        record_free(t->jobs[--t->n]);
    return 0;
}

static int looked(struct request *rq, struct err *e)
{
    struct tracing *t = rq->state;
    int rc = params_has(rq->params, PARAM_jobs) ? read_named(t, e) : read_newest(t, e);

    if (rc != 0 || trace_write(&rq->reply.text, t->jobs, t->n, clock_wall_us(), e) != 0)
        return -1;
    return reply_json(rq, 200);
}

int api_trace(struct request *rq, struct err *e)
{
    struct tracing *t;

    if (params_has(rq->params, PARAM_jobs) && params_has(rq->params, PARAM_last))
        return err_set(e, ERR_conflicting_parameter,
                       "jobs names them, and last counts the newest: give one of the two");
    t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_no_memory, "a trace");
    t->rq = rq;
    t->most = (uint32_t)params_int(rq->params, PARAM_last, TRACE_JOBS_DEFAULT);
    t->msg.run = look;
    rq->state = t;
    rq->state_free = tracing_free;
    rq->resume = looked;
    http_suspend(rq, NULL);
    core_post(&t->msg);
    return SUSPENDED;
}
