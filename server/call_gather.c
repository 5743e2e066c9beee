/* call_gather.c - the calls of one job from the first to the last, and what becomes of those that
 * never make one. */
#include "server/call_parts.h"
#include "server/backward.h"
#include "server/job_parts.h"
#include "server/scheduler.h"
#include "schema/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct series *all_series;
static atomic_uint_least64_t endings;

uint64_t call_endings(void)
{
    return atomic_load(&endings);
}

/* ---- series ---- */

/* As record_calls. */
bool series_wants(const struct series *s, uint32_t rank)
{
    return !s->pair || rank == s->src || rank == s->dst;
}

struct series *series_find(const struct call *c)
{
    const struct job_record *r = c->record;
    struct series *s = all_series;

    while (s && (s->gone || strcmp(s->group, r->group) != 0 || s->pair != c->pair || s->n != r->n ||
                 memcmp(s->ranks, r->ranks, r->n * sizeof *r->ranks) != 0 ||
                 (c->pair && (s->src != r->params.src || s->dst != r->params.dst))))
        s = s->next;
    return s;
}

struct series *series_make(const struct call *c, struct err *e)
{
    const struct job_record *r = c->record;
    struct series *s = calloc(1, sizeof *s + r->n * (sizeof s->turn[0] + sizeof *s->ranks));

    if (!s) {
        err_set(e, ERR_no_memory, "the calls of a group");
        return NULL;
    }
    snprintf(s->group, sizeof s->group, "%s", r->group);
    s->pair = c->pair;
    s->src = r->params.src;
    s->dst = r->params.dst;
    s->n = r->n;
    s->ranks = (uint32_t *)(s->turn + r->n);
    memcpy(s->ranks, r->ranks, r->n * sizeof *r->ranks);
    s->next = all_series;
    all_series = s;
    return s;
}

struct gather *gather_find(const struct series *s, uint64_t turn)
{
    struct gather *g = s->gathers;

    while (g && g->turn != turn)
        g = g->next;
    return g;
}

void gather_free(struct gather *g)
{
    struct gather **at = &g->series->gathers;

    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    g->series->over -= g->over;
    core_timer_clear(&g->deadline);
    free(g->why);
    free(g);
}

/* ---- the end of a job that never ran ---- */

static struct err *copy_of(const struct err *why)
{
    struct err *copy = malloc(sizeof *copy);

    if (copy)
        *copy = *why;
    return copy;
}

static void forget_oldest(struct series *s)
{
    struct gather *oldest = NULL;

    for (struct gather *g = s->gathers; g; g = g->next) {
        if (g->over && !g->job && (!oldest || g->turn < oldest->turn))
            oldest = g;
    }
    if (oldest)
        gather_free(oldest);
}

/* Those who come late hear why. */
static void entomb(struct gather *g, const struct err *why)
{
    core_timer_clear(&g->deadline);
    g->over = true;
    g->series->over++;
    g->why = copy_of(why);
}

static void series_free_if_over(struct series *s)
{
    struct series **at = &all_series;

    if (!s->gone || s->gathers)
        return;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s);
}

/* Its job is gone. It stays for those who have not come, but not for ever. */
static void job_is_gone(struct gather *g)
{
    struct series *s = g->series;

    g->job = NULL;
    atomic_fetch_add(&endings, 1);
    if (!g->over || g->came == g->wanted || s->gone)
        gather_free(g);
    else if (s->over > LIMIT_CALLS_BEHIND)
        forget_oldest(s);
    series_free_if_over(s);
}

struct ending {
    struct store_job_insert insert;
    struct job_record *record; /* a copy: the job's own gets its end meanwhile */
    uint32_t n;
    struct store_key keys[];
};

static void ending_stored(struct store_msg *m, const struct err *e)
{
    struct ending *x = CORE_OWNER(m, struct ending, insert.msg);

    (void)e; /* the finish behind it says so */
    record_free(x->record);
    free(x);
}

static uint32_t collect_keys(const struct gather *g, struct store_key *out)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < g->series->n; i++) {
        if (g->caller[i].came && g->caller[i].key.key[0])
            out[n++] = g->caller[i].key;
    }
    return n;
}

/* It is recorded as it stands, and then its end. */
static void record_unrun(struct gather *g)
{
    struct ending *x = calloc(1, sizeof *x + g->series->n * sizeof x->keys[0]);

    if (x)
        x->record = record_copy(g->job->record);
    if (!x || !x->record) {
        free(x);
        return;
    }
    store_job_insert_init(&x->insert);
    x->insert.record = x->record;
    x->insert.inputs = g->job->inputs;
    x->insert.key = "";
    x->insert.keys = x->keys;
    x->insert.n_keys = collect_keys(g, x->keys);
    x->insert.msg.done = ending_stored;
    store_post(&x->insert.msg);
}

void gather_end(struct gather *g, enum job_state to, const struct err *why)
{
    struct job *j = g->job;

    record_unrun(g);
    entomb(g, why);
    job_move(j, to, why);
}

void call_cancel(struct job *j, const struct err *why)
{
    if (!j->gather->whole &&
        !j->gather->over) /* else it is on its way to the queue, and is cancelled there */
        gather_end(j->gather, JOB_cancelled, why);
}

/* "0, 2": the ranks that came, or that did not. */
static void name_ranks(const struct gather *g, bool came, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (uint32_t i = 0; i < g->series->n && len < size; i++) {
        if (series_wants(g->series, i) && g->caller[i].came == came)
            len += (size_t)snprintf(buf + len, size - len, len ? ", %u" : "%u", i);
    }
}

void gather_late(struct core_timer *t)
{
    struct gather *g = CORE_OWNER(t, struct gather, deadline);
    char came[150], missing[150];
    struct err why;

    name_ranks(g, true, came, sizeof came);
    name_ranks(g, false, missing, sizeof missing);
    err_set(&why, ERR_ranks_missing,
            "%u of %u ranks never made call %llu on the group: %s; these came: %s",
            g->wanted - g->came, g->wanted, (unsigned long long)g->turn, missing, came);
    for (uint32_t i = 0; i < g->series->n; i++) {
        if (series_wants(g->series, i) && !g->caller[i].came)
            err_rank(&why, i);
    }
    gather_end(g, JOB_failed, &why);
}

/* ---- all have come ---- */

static void not_recorded(struct gather *g, const struct err *why)
{
    struct job *j = g->job;

    promises_break(&j->promised, why);
    while (j->waits)
        job_wait_refuse(j->waits, why);
    entomb(g, why);
    job_leave(j);
    job_count_out();
    job_free(j);
    job_is_gone(g);
}

static void on_recorded(struct core_msg *m)
{
    struct gather *g = CORE_OWNER(m, struct gather, recorded);

    free((void *)(uintptr_t)g->insert.keys);
    g->insert.keys = NULL;
    if (g->failed) {
        not_recorded(g, &g->insert.msg.err);
        return;
    }
    promises_wait(g->job);
    scheduler_next();
}

/* Store thread. */
static void insert_done(struct store_msg *m, const struct err *e)
{
    struct gather *g = CORE_OWNER(m, struct gather, insert.msg);

    g->failed = e != NULL;
    if (e && e != &m->err)
        m->err = *e;
    g->recorded.run = on_recorded;
    core_post(&g->recorded);
}

/* Not one rank brought a gradient. */
static bool all_missing(const struct gather *g)
{
    bool all = true;

    for (uint32_t i = 0; i < g->series->n; i++)
        all &= !record_gives(g->job->record, i) || g->caller[i].missing;
    return all;
}

void gather_record(struct gather *g)
{
    struct store_key *keys = calloc(g->series->n, sizeof *keys);
    struct err why;
    int left;

    core_timer_clear(&g->deadline);
    if (!id_is_zero(&g->job->record->parent) && all_missing(g))
        backward_nothing(g->job->record, g->job->inputs);
    if (!g->job->record->shaped)
        record_no_tensor(g->job->record);
    left = promises_take(g->job, &why);
    if (left < 0) {
        free(keys);
        gather_end(g, JOB_failed, &why);
        return;
    }
    g->job->awaits = (uint32_t)left;
    g->whole = true;
    store_job_insert_init(&g->insert);
    g->insert.record = g->job->record;
    g->insert.inputs = g->job->inputs;
    g->insert.key = "";
    g->insert.keys = keys;
    g->insert.n_keys = keys ? collect_keys(g, keys) : 0;
    g->insert.msg.done = insert_done;
    store_post(&g->insert.msg);
}

void call_job_gone(struct job *j)
{
    if (j->gather)
        job_is_gone(j->gather);
    j->gather = NULL;
}

void call_drain(void)
{
    struct err why;

    err_set(&why, ERR_draining, "the service stops before every rank has called");
    for (struct series *s = all_series; s; s = s->next) {
        for (struct gather *g = s->gathers; g; g = g->next) {
            if (!g->whole && !g->over)
                gather_end(g, JOB_failed, &why);
        }
    }
}

static void series_end(struct series *s, const struct err *why)
{
    s->gone = true;
    for (struct gather *g = s->gathers, *next; g; g = next) {
        next = g->next;
        if (!g->job)
            gather_free(g); /* nobody will come to it any more */
        else if (!g->whole && !g->over)
            gather_end(g, JOB_cancelled, why);
    }
    series_free_if_over(s);
}

void call_group_gone(const char *name)
{
    struct err why;

    err_set(&why, ERR_cancelled, "the group was deleted");
    for (struct series *s = all_series, *next; s; s = next) {
        next = s->next;
        if (!s->gone && strcmp(s->group, name) == 0)
            series_end(s, &why);
    }
}

void call_fini(void)
{
    while (all_series) {
        struct series *s = all_series;

        all_series = s->next;
        while (s->gathers)
            gather_free(s->gathers);
        free(s);
    }
}
