/* retention.c - removes tensors past --retain and job records past a week. */
#include "server/retention.h"

#include "schema/clock.h"
#include "schema/limits.h"
#include "schema/log.h"
#include "server/core.h"
#include "server/job.h"
#include "server/steady.h"
#include "server/store.h"
#include "server/tensor.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define TICK_US 1000000
#define BATCH 256
#define BATCHES 16 /* a tick: 4,096 tensors, so that nothing waits long */
#define PURGE_TICKS                                                                               \
    60                  /* between looks at old records, unless the last one found a full message \
                         */
#define TRIM_TICKS 2    /* idle ones: the last removals are committed by then */
#define PURGE_FULL 1000 /* rows of one store_purge */

/* Tensors that left the table; their bytes are free only once the database forgot them, else a
 * restart would find a row that points at another tensor's bytes. */
struct removal {
    struct store_tensor_delete message;
    struct core_msg back;
    struct core_timer retry;
    struct removal *next, **prev; /* those that wait for retry */
    struct tensor *tensors[BATCH];
};

/* Core thread's, but for stopped. */
static struct {
    struct core_timer tick;
    uint32_t ticks; /* until the next purge */
    struct store_purge purge;
    struct core_msg purged;
    bool purging;
    uint32_t untrimmed; /* idle ticks until malloc's free pages are given back; 0: they were */
    struct removal *waiting;
    atomic_bool stopped;
} retention;

/* ---- tensors ---- */

static void removal_free(struct removal *r)
{
    for (uint32_t i = 0; i < r->message.n; i++)
        tensor_unref(r->tensors[i]);
    free(r);
}

static void removal_retry(struct core_timer *t)
{
    struct removal *r = CORE_OWNER(t, struct removal, retry);

    *r->prev = r->next;
    if (r->next)
        r->next->prev = r->prev;
    store_post(&r->message.msg);
}

static void removal_failed(struct core_msg *m)
{
    struct removal *r = CORE_OWNER(m, struct removal, back);

    r->next = retention.waiting;
    r->prev = &retention.waiting;
    if (r->next)
        r->next->prev = &r->next;
    retention.waiting = r;
    r->retry.fire = removal_retry;
    core_timer_set(&r->retry, clock_us() + TICK_US);
}

/* Store thread. While the server stops nobody takes the bytes any more, so a row that stays is
 * right. */
static void removal_done(struct store_msg *m, const struct err *e)
{
    struct removal *r = CORE_OWNER(m, struct removal, message.msg);

    if (!e || atomic_load(&retention.stopped)) {
        removal_free(r);
        return;
    }
    r->back.run = removal_failed;
    core_post(&r->back);
}

/* Returns whether there may be more. */
static bool remove_some(uint64_t now_us)
{
    struct removal *r = calloc(1, sizeof *r);
    uint32_t n;

    if (!r)
        return false; /* the next tick tries again */
    store_tensor_delete_init(&r->message);
    r->message.tensors = r->tensors;
    n = tensor_take_expired(now_us, r->tensors, BATCH);
    r->message.n = n;
    r->message.msg.done = removal_done;
    if (n == 0) {
        free(r);
        return false;
    }
    log_debug("retention: %u tensors expired", n);
    store_post(&r->message.msg); /* and r is the store's, which frees it */
    return n == BATCH;
}

/* ---- job records ---- */

static void on_purged(struct core_msg *m)
{
    (void)m;
    retention.purging = false;
    if (retention.purge.purged >= PURGE_FULL)
        retention.ticks = 0;
    if (retention.purge.purged > 0)
        log_debug("retention: %u job records removed", retention.purge.purged);
}

/* Store thread. What failed is tried again at the next turn. */
static void purge_done(struct store_msg *m, const struct err *e)
{
    (void)m;
    if (e)
        retention.purge.purged = 0;
    retention.purged.run = on_purged;
    core_post(&retention.purged);
}

static void purge(uint64_t now_us)
{
    uint64_t keep_us = (uint64_t)LIMIT_RECORD_S * 1000000;

    if (retention.ticks > 0) {
        retention.ticks--;
        return;
    }
    if (retention.purging || now_us < keep_us)
        return;
    retention.ticks = PURGE_TICKS;
    retention.purging = true;
    store_purge_init(&retention.purge);
    retention.purge.before_us = now_us - keep_us;
    retention.purge.msg.done = purge_done;
    store_post(&retention.purge.msg);
}

/* ---- the timer ---- */

/* A burst's memory goes back to the system when all of its tensors are gone: malloc alone keeps the
 * pages between what is still in use. Once a burst, and never while jobs come. */
static void trim(void)
{
    if (tensor_count() > 0 || !job_idle())
        retention.untrimmed = TRIM_TICKS;
    else if (retention.untrimmed > 0 && --retention.untrimmed == 0)
        malloc_trim(0);
}

static void tick(struct core_timer *t)
{
    uint64_t now_us = steady_now_us();

    for (int i = 0; i < BATCHES; i++)
        if (!remove_some(now_us))
            break;
    purge(now_us);
    trim();
    core_timer_set(t, clock_us() + TICK_US);
}

void retention_start(void)
{
    steady_start();
    retention.ticks = 0;
    retention.purging = false;
    atomic_store(&retention.stopped, false);
    retention.tick.fire = tick;
    core_timer_set(&retention.tick, clock_us() + TICK_US);
}

void retention_stop(void)
{
    atomic_store(&retention.stopped, true);
    core_timer_clear(&retention.tick);
    steady_stop();
    while (retention.waiting) {
        struct removal *r = retention.waiting;

        retention.waiting = r->next;
        if (r->next)
            r->next->prev = &retention.waiting;
        core_timer_clear(&r->retry);
        removal_free(r);
    }
}
