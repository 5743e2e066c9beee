/* call.c - one rank's call: to the job that it belongs to. */
#include "server/call_parts.h"
#include "server/group.h"
#include "server/job_parts.h"
#include "server/metrics.h"
#include "server/rank_list.h"
#include "server/workers.h"
#include "schema/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void call_free(struct call *c)
{
    if (!c)
        return;
    tensor_unref(c->input);
    for (uint32_t i = 0; c->inputs && i < record_needs(c->record); i++)
        tensor_unref(c->inputs[i]);
    free(c->inputs);
    record_free(c->record);
    free(c);
}

static void refuse(struct call *c, const struct err *why)
{
    job_wait_refuse(c->wait, why);
    call_free(c);
}

static void say(const struct call *c, char *out)
{
    const struct job_record *r = c->record;
    char shape[SHAPE_TEXT] = "", id[ID_TEXT];
    size_t len;

    if (c->shaped)
        shape_format(&r->in_shape, shape, sizeof shape);
    if (id_is_zero(&r->parent))
        len = (size_t)snprintf(out, SAID_BYTES, "%s%s", r->op->name, r->value ? " of JSON" : "");
    else
        len = (size_t)snprintf(out, SAID_BYTES, "backward of %s", id_format('j', &r->parent, id));
    if (c->shaped)
        len += (size_t)snprintf(out + len, SAID_BYTES - len, " %s %.40s", dtypes[r->dtype].name,
                                shape);
    if (op_takes_axis(r->op) && len < SAID_BYTES)
        len += (size_t)snprintf(out + len, SAID_BYTES - len, " axis=%lld",
                                (long long)r->params.split_axis);
    if (op_takes_two_axes(r->op) && len < SAID_BYTES)
        len += (size_t)snprintf(out + len, SAID_BYTES - len, " split_axis=%lld concat_axis=%lld",
                                (long long)r->params.split_axis, (long long)r->params.concat_axis);
    if ((r->stream || r->resident) && len < SAID_BYTES)
        snprintf(out + len, SAID_BYTES - len, " stream=%u%s", r->stream,
                 r->resident ? " resident" : "");
}

/* Of a pair one calls the sending, one the receiving operation. */
static bool agrees(const struct gather *g, const struct call *c)
{
    const struct job_record *a = g->job->record, *b = c->record;

    if (g->series->pair ? a->op->kind != b->op->kind : a->op != b->op)
        return false;
    if (a->params.split_axis != b->params.split_axis ||
        a->params.concat_axis != b->params.concat_axis || a->stream != b->stream ||
        a->resident != b->resident || a->value != b->value || !id_equal(&a->parent, &b->parent))
        return false;
    return !a->shaped || !c->shaped ||
           (a->dtype == b->dtype && shape_equal(&a->in_shape, &b->in_shape));
}

/* Those who called the same as rank `as`. */
struct alike {
    const struct gather *g;
    uint32_t as;
};

static bool called_alike(const void *arg, uint32_t rank)
{
    const struct alike *a = arg;

    return a->g->came[rank] && strcmp(a->g->caller[rank].said, a->g->caller[a->as].said) == 0;
}

/* How many called the same, when it is the first of them; else 0. */
static uint32_t count_alike(const struct gather *g, uint32_t rank)
{
    struct alike a = {.g = g, .as = rank};
    uint32_t n = 1;

    if (!g->came[rank])
        return 0;
    for (uint32_t i = 0; i < rank; i++) {
        if (called_alike(&a, i))
            return 0;
    }
    for (uint32_t i = rank + 1; i < g->series->n; i++)
        n += called_alike(&a, i);
    return n;
}

/* What each called, the fewest who agree first: it is they who look for it. Two rounds, since more
 * than two different calls are rare: first those of less than half of who came. */
static void say_all(const struct gather *g, char *text, size_t size)
{
    size_t len = 0;

    text[0] = '\0';
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < g->series->n; i++) {
            uint32_t n = count_alike(g, i);
            struct alike a = {.g = g, .as = i};
            char ranks[64];

            if (n == 0 || (2 * n > g->n_came) != (round == 1))
                continue;
            rank_list(ranks, sizeof ranks, g->series->n, called_alike, &a);
            if (len + strlen(ranks) + strlen(g->caller[i].said) + 32 > size) {
                snprintf(text + len, size - len, "; ...");
                return;
            }
            len += (size_t)snprintf(text + len, size - len, "%srank%s %s called %s",
                                    len ? "; " : "", n > 1 ? "s" : "", ranks, g->caller[i].said);
        }
    }
}

static void disagree(struct gather *g)
{
    char text[400];
    struct err why;

    say_all(g, text, sizeof text);
    err_set(&why, ERR_mismatch, "call %llu of group %s: %s", (unsigned long long)g->turn,
            g->series->group, text);
    for (uint32_t i = 0; i < g->series->n; i++) {
        if (g->came[i])
            err_rank(&why, i);
    }
    gather_end(g, JOB_failed, &why);
}

/* The first to come opens the job. Takes the call's record and mask. */
static struct gather *open_gather(struct series *s, struct call *c, struct err *e)
{
    struct job_record *r = c->record;
    struct tensor **inputs = c->inputs ? c->inputs : calloc(s->n, sizeof(struct tensor *));
    struct gather *g = NULL;

    r->came_us = calloc(s->n, sizeof *r->came_us);
    r->state = JOB_waiting;
    r->called = true;
    r->shaped = false;
    r->call_seq = *series_turn(s, c->rank);
    if (inputs && r->came_us)
        g = gather_new(s, r->call_seq, &r->id, e);
    if (g)
        g->job = job_new(r, inputs, e);
    if (g && g->job) {
        c->inputs = NULL; /* the job's */
        g->job->gather = g;
        g->job->event_us = g->job->received_at_us = clock_us();
        job_enter(g->job);
        return g;
    }
    err_set(e, ERR_no_memory, "a job of %u ranks", s->n);
    if (g)
        gather_free(g);
    if (!c->inputs)
        free(inputs);
    return NULL;
}

/* May a rank be so far ahead, or there be one more job? Counts it. */
static int check_room(const struct series *s, const struct call *c, struct err *e)
{
    if (s->open < LIMIT_CALLS_AHEAD)
        return job_count_in(c->record->owner, e);
    return err_set(e, ERR_too_many_jobs,
                   "rank %u has made %u calls that other ranks have not come to; wait for them",
                   c->rank, s->open);
}

/* Its part of the job. own: the record is the job's. */
static void take_part(struct gather *g, struct call *c, bool own)
{
    struct job_record *r = g->job->record;
    struct caller *me = &g->caller[c->rank];

    g->came[c->rank] = true;
    g->n_came++;
    if (own)
        metrics_call_opened(g->wanted);
    metrics_call_came();
    me->missing = c->missing;
    say(c, me->said);
    if (c->key[0])
        me->key = call_key_add(c, &g->id);
    r->came_us[c->rank] = clock_wall_us();
    if (c->shaped && !r->shaped) {
        r->dtype = c->record->dtype;
        r->in_shape = c->record->in_shape;
        r->out_shape = c->record->out_shape;
        r->shaped = true;
    }
    g->job->inputs[c->rank] = c->input;
    c->input = NULL;
    if (own)
        c->record = NULL;
}

/* It ended before this rank came to it. */
static void join_late(struct gather *g, struct call *c)
{
    struct call_key *key = c->key[0] ? call_key_add(c, &g->id) : NULL;

    ++*series_turn(g->series, c->rank);
    gather_pass(g, c->rank, key, c->wait);
    call_free(c);
}

static void join(struct series *s, struct call *c)
{
    uint64_t turn = *series_turn(s, c->rank), timeout_us = c->record->timeout_us;
    struct gather *g = series_find(s, turn);
    struct job_wait *wait = c->wait;
    struct job *j;
    uint32_t rank = c->rank;
    bool own = !g, fits;
    struct err e;

    if (g && g->over) {
        join_late(g, c);
        return;
    }
    if (!g && check_room(s, c, &e) == 0) {
        g = open_gather(s, c, &e);
        if (!g)
            job_count_out(c->record->owner);
    }
    if (!g) {
        refuse(c, &e);
        return;
    }
    fits = own || agrees(g, c);
    ++*series_turn(s, c->rank);
    take_part(g, c, own);
    call_free(c);
    j = g->job;
    job_tell(j);
    wait->calls = true;
    wait->rank = rank;
    if (fits)
        gather_next(g, timeout_us);
    else
        disagree(g);
    job_wait_attach(j, wait);
}

/* ---- is it a new call? ---- */

/* It was made before, and belongs to this job. */
static void join_again(const struct id *job, struct call *c)
{
    struct job *j = job_find(job);

    c->wait->replayed = true;
    c->wait->id = *job;
    c->wait->calls = true;
    c->wait->rank = c->rank;
    if (j)
        call_claimed(j, c->rank);
    if (j)
        job_wait_attach(j, c->wait);
    else
        job_wait_refuse_unknown(c->wait);
    call_free(c);
}

static void call_anew(struct call *c)
{
    struct err e;
    struct series *s = series_of(c->record, &e);

    if (!s) {
        refuse(c, &e);
        return;
    }
    if (c->rejoin)
        series_rejoin(s, c->rank);
    if (*series_turn(s, c->rank) >= s->forgotten || series_find(s, *series_turn(s, c->rank))) {
        join(s, c);
        return;
    }
    ++*series_turn(s, c->rank);
    err_set(&e, ERR_ranks_missing,
            "the other ranks gave up waiting for this call of rank %u so long ago that no more is "
            "known of it; rejoin=1 goes on where they are now",
            c->rank);
    refuse(c, &e);
}

/* Does the key of an earlier call, whose job has not ended or is being recorded, answer it? */
static bool answered_by_key(struct call *c)
{
    struct call_key *k = call_key_find(c->key);
    struct err e;

    if (!k)
        return false;
    if (memcmp(k->key.digest, c->digest, sizeof c->digest) == 0) {
        join_again(&k->job, c);
        return true;
    }
    err_set(&e, ERR_idempotency_key_reused,
            "this Idempotency-Key came with another call before: take a new key");
    refuse(c, &e);
    return true;
}

static void on_looked_up(struct core_msg *m)
{
    struct call *c = CORE_OWNER(m, struct call, msg);

    if (answered_by_key(c)) /* twice at the same time */
        return;
    if (c->look.msg.rc != 0)
        refuse(c, &c->look.msg.err);
    else if (c->look.found)
        join_again(&c->look.job, c);
    else
        call_anew(c);
}

/* Store thread. */
static void looked_up(struct store_msg *m, const struct err *e)
{
    struct call *c = CORE_OWNER(m, struct call, look.msg);

    m->rc = e ? -1 : 0;
    if (e && e != &m->err)
        m->err = *e;
    c->msg.run = on_looked_up;
    core_post(&c->msg);
}

/* The store's thread has the keys of all that was recorded before: it is asked, and no reader. */
static void look_up(struct call *c)
{
    memcpy(c->look.key.key, c->key, sizeof c->look.key.key);
    memcpy(c->look.key.digest, c->digest, sizeof c->look.key.digest);
    c->look.msg.done = looked_up;
    store_key_find_init(&c->look);
    store_post(&c->look.msg);
}

/* The group may have gone since the api layer looked. */
static int check_group(const struct job_record *r, struct err *e)
{
    static struct group group; /* large */

    if (group_find(r->group, strlen(r->group), &group, e) != 0)
        return -1;
    if (group.n == r->n && memcmp(group.ranks, r->ranks, r->n * sizeof *r->ranks) == 0)
        return 0;
    return err_set(e, ERR_group_unknown, "the group %s was deleted", r->group);
}

static void on_call(struct core_msg *m)
{
    struct call *c = CORE_OWNER(m, struct call, msg);
    struct err e;

    assert(core_here());
    if (check_group(c->record, &e) != 0 || workers_check(c->record, &e) != 0)
        refuse(c, &e);
    else if (!c->key[0])
        call_anew(c);
    else if (!answered_by_key(c))
        look_up(c);
}

void call_post(struct call *c)
{
    c->wait->id = c->record->id;
    c->msg.run = on_call;
    core_post(&c->msg);
}
