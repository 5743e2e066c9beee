/* api_jobs_read.c - look at, list and cancel jobs. Memory knows the unfinished ones, the
 * store the others. */
#include "schema/clock.h"
#include "server/api.h"
#include "server/group.h"

#include <stdlib.h>
#include <string.h>

#define CANCEL_WAIT_US 10000000ull

int job_id_read(const struct request *rq, struct id *out, struct err *e)
{
    if (id_parse('j', rq->args[0], strlen(rq->args[0]), out) == 0)
        return 0;
    return err_set(e, ERR_job_unknown, "there is no job %.64s", rq->args[0]);
}

/* ---- one ---- */

int job_settle(struct job_wait *w, const struct id *id, struct err *e)
{
    if (w->rc == 0 || w->job)
        return 0;
    if (w->err.code == ERR_job_unknown)
        return store_job_read(id, w->scope, &w->job, e);
    *e = w->err;
    return -1;
}

static int watched(struct request *rq, struct err *e)
{
    struct job_wait *w = &((struct job_request *)rq->state)->wait;
    struct id id;

    if (job_id_read(rq, &id, e) != 0 || job_settle(w, &id, e) != 0)
        return -1;
    return job_reply(rq, w->job, false, e);
}

int api_job_get(struct request *rq, struct err *e)
{
    struct job_request *jr;
    struct id id;

    if (job_id_read(rq, &id, e) != 0)
        return -1;
    jr = job_request_new(rq, params_us(rq->params, PARAM_wait, 0), watched, e);
    if (!jr)
        return -1;
    job_request_suspend(jr);
    job_watch(&id, &jr->wait);
    return SUSPENDED;
}

static int cancelled(struct request *rq, struct err *e)
{
    struct job_wait *w = &((struct job_request *)rq->state)->wait;
    struct id id;
    bool known = w->rc == 0;

    if (job_id_read(rq, &id, e) != 0 || job_settle(w, &id, e) != 0)
        return -1;
    if (!known) /* one that ended while this came shows its end */
        return err_set(e, ERR_job_finished, "the job is over already: %s",
                       job_state_name(w->job->state));
    return job_reply(rq, w->job, false, e);
}

/* Where all places to wait are taken it does not wait for the end: who holds them may be waiting
 * for what this stops. */
int api_job_cancel(struct request *rq, struct err *e)
{
    struct job_request *jr;
    struct id id;

    if (job_id_read(rq, &id, e) != 0)
        return -1;
    jr = job_request_new(rq, http_take_wait(rq, e) == 0 ? CANCEL_WAIT_US : 0, cancelled, e);
    if (!jr)
        return -1;
    job_request_suspend(jr);
    job_cancel(&id, &jr->wait);
    return SUSPENDED;
}

/* ---- list ---- */

struct listing {
    struct request *rq;
    struct core_msg msg;
    struct store_job_filter filter;
    bool has_state; /* of any kind; the filter's is a terminal one */
    enum job_state state;
    char group[LIMIT_FULL_GROUP_BYTES + 1];
    uint32_t limit, n;
    struct job_record *rows[2 * (LIMIT_PAGE + 1)]; /* memory's, then the store's */
};

static void listing_free(void *state)
{
    struct listing *l = state;

    for (uint32_t i = 0; i < l->n; i++)
        record_free(l->rows[i]);
    free(l);
}

static bool keep(const struct job_record *r, void *arg)
{
    const struct listing *l = arg;
    const struct store_job_filter *f = &l->filter;

    return (!l->has_state || r->state == l->state) && (!f->op || r->op == f->op) &&
           (!f->owner || r->owner == f->owner) && (!f->group || strcmp(r->group, f->group) == 0) &&
           (!f->label || strcmp(r->label, f->label) == 0);
}

static void list_on_core(struct core_msg *m)
{
    struct listing *l = CORE_OWNER(m, struct listing, msg);

    l->n = job_list(&l->filter.before, keep, l, l->rows, l->limit + 1);
    http_resume(l->rq);
}

static int newest_first(const void *a, const void *b)
{
    const struct job_record *const *x = a, *const *y = b;

    return memcmp((*y)->id.b, (*x)->id.b, sizeof(*x)->id.b);
}

/* A job that ended between the two looks is in both. */
static void drop_twins(struct listing *l)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < l->n; i++) {
        if (kept > 0 && id_equal(&l->rows[kept - 1]->id, &l->rows[i]->id)) {
            bool better = job_state_terminal(l->rows[i]->state);

            record_free(l->rows[better ? kept - 1 : i]);
            if (better)
                l->rows[kept - 1] = l->rows[i];
        } else {
            l->rows[kept++] = l->rows[i];
        }
    }
    l->n = kept;
}

static int listed(struct request *rq, struct err *e)
{
    struct listing *l = rq->state;
    struct text *t = &rq->reply.text;
    char id[ID_TEXT];
    uint32_t stored = 0;

    if ((!l->has_state || job_state_terminal(l->state)) &&
        store_job_list(&l->filter, l->rows + l->n, l->limit + 1, &stored, e) != 0)
        return -1;
    l->n += stored;
    qsort(l->rows, l->n, sizeof l->rows[0], newest_first);
    drop_twins(l);
    text_object(t, NULL);
    text_array(t, "jobs");
    for (uint32_t i = 0; i < l->n && i < l->limit; i++)
        job_doc_write(t, l->rows[i], SHOWN_NOT);
    text_end_array(t);
    text_string(t, "next", l->n > l->limit ? id_format('j', &l->rows[l->limit - 1]->id, id) : NULL);
    text_end_object(t);
    return reply_json(rq, 200);
}

static int read_filter(const struct request *rq, struct listing *l, struct err *e)
{
    const struct params *p = rq->params;
    const char *state = params_text(p, PARAM_state), *label = params_text(p, PARAM_label),
               *after = params_text(p, PARAM_after);

    l->limit = (uint32_t)params_int(p, PARAM_limit, LIMIT_PAGE_DEFAULT);
    l->filter.terminal_only = true;
    l->filter.label = label && *label ? label : NULL;
    l->filter.owner = visitor_scope(&rq->visitor);
    group_full(rq->visitor.account, p->group.name, l->group);
    l->filter.group = params_has(p, PARAM_group) ? l->group : NULL;
    if (l->filter.group && p->group.n > 0)
        return err_set(e, ERR_group_invalid, "a list is filtered by a group's name");
    if (params_op(p, &l->filter.op, e) != 0)
        return -1;
    if (state && job_state_find(state, strlen(state), &l->state) != 0)
        return err_set(e, ERR_parameter_range,
                       "state is waiting, queued, running, succeeded, failed or cancelled");
    if (after && id_parse('j', after, strlen(after), &l->filter.before) != 0)
        return err_set(e, ERR_bad_cursor, "after is the `next` of the page before");
    l->has_state = state != NULL;
    l->filter.has_state = state && job_state_terminal(l->state);
    l->filter.state = l->state;
    return 0;
}

int api_job_list(struct request *rq, struct err *e)
{
    struct listing *l = calloc(1, sizeof *l);

    if (!l)
        return err_set(e, ERR_no_memory, "a list of jobs");
    rq->state = l;
    rq->state_free = listing_free;
    rq->resume = listed;
    l->rq = rq;
    l->msg.run = list_on_core;
    if (read_filter(rq, l, e) != 0)
        return -1;
    http_suspend(rq, NULL);
    core_post(&l->msg);
    return SUSPENDED;
}
