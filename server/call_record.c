/* call_record.c - what the database is told of calls whose job has not come about: before a caller
 * is told that its call stands, and when a rank comes late. */
#include "server/call_parts.h"
#include "server/job_parts.h"
#include "schema/clock.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_US 1000000 /* a late call that could not be recorded is told again */

/* A message, and who waits for it. */
struct told {
    struct store_call store;
    struct core_msg answered;
    struct job_record *record; /* a copy: the job's own goes on */
    struct store_key *keys;
    uint64_t number;
    struct call_key *key;  /* of a late call; until it is recorded */
    struct job_wait *wait; /* of a late call */
    struct core_timer again;
    bool failed;
    uint8_t came[];
};

static uint64_t numbers; /* of all messages */

static void told_free(struct told *x)
{
    call_key_remove(x->key);
    record_free(x->record);
    free(x->keys);
    free(x);
}

/* The job has ended, or nearly. */
static void hear_of(const struct id *id, struct job_wait *w)
{
    struct job *j = job_find(id);

    w->id = *id;
    if (j)
        job_wait_attach(j, w);
    else
        job_wait_refuse_unknown(w);
}

static void tell_again(struct core_timer *t)
{
    store_post(&CORE_OWNER(t, struct told, again)->store.msg);
}

/* It is answered, recorded or not: its turn has passed. Its key stays in the table until it is. */
static void late_answered(struct told *x)
{
    if (x->wait)
        hear_of(&x->store.id, x->wait);
    x->wait = NULL;
    if (!x->failed) {
        told_free(x);
        return;
    }
    x->again.fire = tell_again;
    core_timer_set(&x->again, clock_us() + RETRY_US);
}

static void on_answered(struct core_msg *m)
{
    struct told *x = CORE_OWNER(m, struct told, answered);
    struct job *j = x->record ? job_find(&x->store.id) : NULL;
    struct gather *g = j ? j->gather : NULL;

    if (!x->record) {
        late_answered(x);
        return;
    }
    if (g && x->number > g->heard_number)
        g->heard_number = x->number;
    if (g && x->failed && g->told_number == x->number)
        g->told = 0; /* the next one says it again */
    if (j)
        job_waits_told(j, x->number, x->failed ? &x->store.msg.err : NULL);
    told_free(x);
}

/* Store thread. */
static void call_done(struct store_msg *m, const struct err *e)
{
    struct told *x = CORE_OWNER(m, struct told, store.msg);

    x->failed = e != NULL;
    if (e && e != &m->err)
        m->err = *e;
    x->answered.run = on_answered;
    core_post(&x->answered);
}

/* NULL: out of memory. */
static struct told *make(const struct gather *g)
{
    struct told *x = calloc(1, sizeof *x + g->series->n);

    if (!x)
        return NULL;
    x->number = ++numbers;
    x->store.id = g->id;
    x->store.msg.done = call_done;
    store_call_init(&x->store);
    return x;
}

/* Its row, with what has come so far. Returns 0 or -1. */
static int tell_one(struct gather *g)
{
    struct told *x = make(g);

    if (!x)
        return -1;
    x->keys = gather_keys(g, &x->store.n_keys);
    x->store.keys = x->keys;
    x->record = record_copy(g->job->record);
    x->store.record = x->record;
    for (uint32_t i = 0; i < g->series->n; i++)
        x->came[i] = g->came[i];
    x->store.came = x->came;
    if (!x->record) {
        told_free(x);
        return -1;
    }
    g->known = true;
    g->told = g->n_came;
    g->told_number = x->number;
    store_post(&x->store.msg);
    return 0;
}

/* And before it, what ranks have called earlier: a restart must not take one of these calls for the
 * one that a rank made then. */
static int tell(struct gather *g)
{
    const struct series *s = g->series;

    for (uint64_t turn = s->low; turn < g->turn; turn++) {
        struct gather *before = series_find(s, turn);

        if (before && !before->whole && !before->over && before->told < before->n_came &&
            tell_one(before) != 0)
            return -1;
    }
    return tell_one(g);
}

bool call_ack(struct job *j, struct job_wait *w)
{
    struct gather *g = j->gather;

    if (!g || g->over) /* one of a restart is in the database */
        return false;
    if (g->whole) {
        w->told_number = UINT64_MAX; /* the insert tells */
        return j->record->state == JOB_waiting && !j->held;
    }
    if (g->told < g->n_came && tell(g) != 0)
        return false;
    w->told_number = g->told_number;
    return g->heard_number < g->told_number;
}

void gather_tell_late(const struct gather *g, uint32_t rank, struct call_key *key,
                      struct job_wait *w)
{
    struct told *x = make(g);
    struct err e;

    if (!x) {
        err_set(&e, ERR_no_memory, "a call");
        call_key_remove(key);
        if (w)
            job_wait_refuse(w, &e);
        return;
    }
    x->key = key;
    x->wait = w;
    x->store.rank = rank;
    x->store.last = g->n_came == g->wanted || g->series->gone;
    if (key) {
        x->store.keys = &key->key;
        x->store.n_keys = 1;
    }
    store_post(&x->store.msg);
}

void gather_tell_forgotten(const struct gather *g)
{
    struct told *x = make(g);

    if (!x)
        return; /* after a restart it is remembered again */
    x->store.last = true;
    store_post(&x->store.msg);
}
