/* kv.c - requests that wait for a key to get a value.
 *
 * A request asks the database first, and then waits. What is committed in between is not missed:
 * the count of commits goes up before the core hears of one, and a wait that comes to the core with
 * an old count is woken at once.
 */
#include "server/kv.h"
#include "schema/clock.h"

#include <string.h>

enum phase { PHASE_open, PHASE_dropping, PHASE_woken };

static atomic_uint_least64_t generation;
static atomic_bool draining;
static struct kv_wait *waits; /* the core's */

uint64_t kv_generation(void)
{
    return atomic_load(&generation);
}

void kv_committed(void)
{
    atomic_fetch_add(&generation, 1);
}

bool kv_draining(void)
{
    return atomic_load(&draining);
}

/* When a drop won, its message points into w still, and wakes it. */
static void wake(struct kv_wait *w)
{
    int open = PHASE_open;

    core_timer_clear(&w->timer);
    if (w->held) {
        *w->prev = w->next;
        if (w->next)
            w->next->prev = w->prev;
    }
    w->held = false;
    if (atomic_compare_exchange_strong(&w->phase, &open, PHASE_woken))
        w->wake(w);
    else
        w->late = true;
}

static void deadline_passed(struct core_timer *t)
{
    wake(CORE_OWNER(t, struct kv_wait, timer));
}

static void begin(struct core_msg *m)
{
    struct kv_wait *w = CORE_OWNER(m, struct kv_wait, msg);

    if (w->seen != kv_generation() || w->deadline_us <= clock_us() || kv_draining()) {
        wake(w);
        return;
    }
    w->held = true;
    w->next = waits;
    w->prev = &waits;
    if (w->next)
        w->next->prev = &w->next;
    waits = w;
    w->timer.fire = deadline_passed;
    core_timer_set(&w->timer, w->deadline_us);
}

void kv_wait(struct kv_wait *w)
{
    w->msg.run = begin;
    core_post(&w->msg);
}

static void drop(struct core_msg *m)
{
    struct kv_wait *w = CORE_OWNER(m, struct kv_wait, drop);

    /* From here on nothing points into it but what begin has yet to find. */
    atomic_store(&w->phase, PHASE_open);
    if (w->late)
        w->wake(w);
    else if (w->held)
        wake(w);
    else
        w->deadline_us = 0; /* begin wakes it */
}

void kv_wait_drop(struct kv_wait *w)
{
    int open = PHASE_open;

    if (!atomic_compare_exchange_strong(&w->phase, &open, PHASE_dropping))
        return; /* it was woken: w may be gone as soon as we return */
    w->drop.run = drop;
    core_post(&w->drop);
}

void kv_wake(const char *group, const char *key)
{
    for (struct kv_wait *w = waits, *next; w; w = next) {
        next = w->next;
        if (strcmp(w->group, group) == 0 && strcmp(w->key, key) == 0)
            wake(w);
    }
}

void kv_group_gone(const char *group)
{
    kv_committed(); /* who is on his way here may have looked for the group before */
    for (struct kv_wait *w = waits, *next; w; w = next) {
        next = w->next;
        if (strcmp(w->group, group) == 0)
            wake(w);
    }
}

void kv_drain(void)
{
    atomic_store(&draining, true);
    while (waits)
        wake(waits);
}
