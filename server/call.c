/* call.c - one rank's call: to the job that it belongs to. */
#include "server/call_parts.h"
#include "server/job_parts.h"
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

static void disagree(struct gather *g)
{
    char text[420] = "";
    size_t len = 0;
    struct err why;

    for (uint32_t i = 0; i < g->series->n && len < sizeof text; i++) {
        if (g->caller[i].came)
            len += (size_t)snprintf(text + len, sizeof text - len, "%srank %u called %s",
                                    len ? "; " : "", i, g->caller[i].said);
    }
    err_set(&why, ERR_mismatch, "call %llu on the group: %s", (unsigned long long)g->turn, text);
    for (uint32_t i = 0; i < g->series->n; i++) {
        if (g->caller[i].came)
            err_rank(&why, i);
    }
    gather_end(g, JOB_failed, &why);
}

/* The first to come opens the job. Takes the call's record. */
static struct gather *open_gather(struct series *s, struct call *c, struct err *e)
{
    struct gather *g = calloc(1, sizeof *g + s->n * sizeof g->caller[0]);
    struct tensor **inputs = c->inputs ? c->inputs : calloc(s->n, sizeof(struct tensor *));

    if (job_count_in(e) != 0) {
        free(g);
        if (!c->inputs)
            free(inputs);
        return NULL;
    }
    c->record->came_us = calloc(s->n, sizeof *c->record->came_us);
    c->record->state = JOB_waiting;
    c->record->called = true;
    c->record->shaped = false;
    c->record->call_seq = s->turn[c->rank];
    if (g && inputs && c->record->came_us)
        g->job = job_new(c->record, inputs, e);
    if (!g || !g->job) {
        err_set(e, ERR_no_memory, "a job of %u ranks", s->n);
        job_count_out();
        free(g);
        if (!c->inputs)
            free(inputs);
        return NULL;
    }
    c->inputs = NULL; /* the job's */
    g->series = s;
    g->turn = s->turn[c->rank];
    g->wanted = s->pair ? 2 : s->n;
    g->job->gather = g;
    g->job->event_us = g->job->received_at_us = clock_us();
    g->next = s->gathers;
    s->gathers = g;
    job_enter(g->job);
    return g;
}

static void set_deadline(struct gather *g, uint64_t timeout_us)
{
    uint64_t at = clock_us() + timeout_us;

    if (g->deadline.slot && g->deadline.at_us <= at)
        return;
    core_timer_clear(&g->deadline);
    g->deadline.fire = gather_late;
    core_timer_set(&g->deadline, at);
}

/* Its part of the job. own: the record is the job's. */
static void take_part(struct gather *g, struct call *c, bool own)
{
    struct job_record *r = g->job->record;
    struct caller *me = &g->caller[c->rank];

    me->came = true;
    me->missing = c->missing;
    g->came++;
    say(c, me->said);
    memcpy(me->key.key, c->key, sizeof me->key.key);
    memcpy(me->key.digest, c->digest, sizeof me->key.digest);
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

static void join(struct series *s, struct call *c)
{
    struct gather *g = gather_find(s, s->turn[c->rank]);
    struct job_wait *wait = c->wait;
    bool own = !g, fits;
    uint64_t timeout_us = c->record->timeout_us;
    struct err e;

    if (g && g->over) { /* it ended before this rank came */
        struct err why = g->why ? *g->why : (struct err){.code = ERR_ranks_missing};

        s->turn[c->rank]++;
        g->caller[c->rank].came = true;
        if (++g->came == g->wanted && !g->job)
            gather_free(g);
        refuse(c, &why);
        return;
    }
    if (!g)
        g = open_gather(s, c, &e);
    if (!g) {
        refuse(c, &e);
        return;
    }
    fits = own || agrees(g, c);
    s->turn[c->rank]++;
    take_part(g, c, own);
    job_wait_attach(g->job, wait);
    call_free(c);
    if (!fits)
        disagree(g);
    else if (g->came == g->wanted)
        gather_record(g);
    else
        set_deadline(g, timeout_us);
}

/* The same call, sent again: it waits for the job that it was part of. 1: so it is. */
static int join_again(struct series *s, struct call *c, struct err *e)
{
    for (struct gather *g = s->gathers; g && c->key[0]; g = g->next) {
        const struct store_key *k = &g->caller[c->rank].key;

        if (!g->job || strcmp(k->key, c->key) != 0)
            continue;
        if (memcmp(k->digest, c->digest, sizeof c->digest) != 0)
            return err_set(e, ERR_idempotency_key_reused,
                           "this Idempotency-Key came with another call before: take a new key");
        c->wait->replayed = true;
        job_wait_attach(g->job, c->wait);
        return 1;
    }
    if (c->key[0] && c->endings != call_endings())
        return err_set(e, ERR_call_key_stale, "a job of calls has ended meanwhile");
    return 0;
}

/* To the oldest that waits for this rank, or else to where the foremost rank is. */
static void rejoin(struct series *s, uint32_t rank)
{
    uint64_t to = 0;

    for (uint32_t i = 0; i < s->n; i++)
        to = s->turn[i] > to ? s->turn[i] : to;
    for (const struct gather *g = s->gathers; g; g = g->next) {
        if (!g->over && !g->caller[rank].came && series_wants(s, rank) && g->turn < to)
            to = g->turn;
    }
    while (s->turn[rank] < to) {
        struct gather *g = gather_find(s, s->turn[rank]++);

        if (!g)
            continue;
        g->caller[rank].came = true;
        if (++g->came == g->wanted && !g->job)
            gather_free(g);
    }
}

static void on_call(struct core_msg *m)
{
    struct call *c = CORE_OWNER(m, struct call, msg);
    struct series *s = series_find(c);
    struct err e;
    int again;

    assert(core_here());
    if (!s)
        s = series_make(c, &e);
    if (!s || workers_check(c->record, &e) != 0) {
        refuse(c, &e);
        return;
    }
    again = join_again(s, c, &e);
    if (again < 0 && e.code == ERR_call_key_stale) {
        job_wait_refuse(c->wait, &e); /* the asker keeps the call */
    } else if (again < 0) {
        refuse(c, &e);
    } else if (again > 0) {
        call_free(c);
    } else {
        if (c->rejoin)
            rejoin(s, c->rank);
        join(s, c);
    }
}

void call_post(struct call *c)
{
    c->wait->id = c->record->id;
    c->msg.run = on_call;
    core_post(&c->msg);
}
