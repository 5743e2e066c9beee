/* events.c - a ring of the last events, and those who wait for the next. */
#include "server/events.h"
#include "schema/clock.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static struct {
    pthread_mutex_t lock;
    struct event ring[LIMIT_EVENTS]; /* by number */
    uint64_t oldest, next;           /* numbers; none is kept when they are equal */
    uint32_t readers;
    struct events_reader *waiting;
    bool over;
    uint64_t epoch;
} events = {.lock = PTHREAD_MUTEX_INITIALIZER, .oldest = 1, .next = 1};

static atomic_bool wanted;
static struct core_timer beat; /* core thread */
static uint64_t left_at_us;    /* clock_us(); since when nobody follows; 0: somebody does */

uint64_t events_epoch(void)
{
    return events.epoch;
}

bool events_wanted(void)
{
    return atomic_load_explicit(&wanted, memory_order_relaxed);
}

uint32_t events_readers(void)
{
    uint32_t n;

    pthread_mutex_lock(&events.lock);
    n = events.readers;
    pthread_mutex_unlock(&events.lock);
    return n;
}

/* ---- the ring; under the lock ---- */

static struct event *at(uint64_t number)
{
    return &events.ring[number % LIMIT_EVENTS];
}

static void drop_oldest(void)
{
    struct event *x = at(events.oldest++);

    if (x->kind == EVENT_job)
        record_free(x->job);
    else
        free(x->any);
    x->any = NULL;
}

static bool may_see(const struct account *scope, const struct event *x)
{
    char account[LIMIT_ACCOUNT_BYTES + 1];

    if (!scope || x->kind == EVENT_worker)
        return true;
    if (x->kind == EVENT_job)
        return x->job->owner == scope;
    group_account(x->group->name, account);
    return strcmp(account, scope->name) == 0;
}

static bool concerns(const struct events_reader *r, const struct event *x)
{
    if (!may_see(r->scope, x))
        return false;
    return id_is_zero(&r->job) || (x->kind == EVENT_job && id_equal(&r->job, &x->job->id));
}

/* ---- readers ---- */

int events_open(struct events_reader *r, struct err *e)
{
    int rc = 0;

    if (r->account && account_take(r->account, USE_streams, 1, e) != 0)
        return -1;
    pthread_mutex_lock(&events.lock);
    if (events.readers >= LIMIT_EVENT_STREAMS) {
        rc = err_set(e, ERR_too_many_streams, "%u event streams are open, and no more are served",
                     events.readers);
    } else {
        events.readers++;
        r->open = true;
        r->next = events.next;
        atomic_store_explicit(&wanted, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&events.lock);
    if (rc != 0 && r->account)
        account_give_back(r->account, USE_streams, 1);
    return rc;
}

void events_close(struct events_reader *r)
{
    bool open;

    pthread_mutex_lock(&events.lock);
    assert(!r->waiting);
    open = r->open;
    events.readers -= open;
    r->open = false;
    pthread_mutex_unlock(&events.lock);
    if (open && r->account)
        account_give_back(r->account, USE_streams, 1);
}

bool events_resume(struct events_reader *r, uint64_t after)
{
    bool known;

    pthread_mutex_lock(&events.lock);
    known = after + 1 >= events.oldest && after < events.next;
    if (known)
        r->next = after + 1;
    pthread_mutex_unlock(&events.lock);
    return known;
}

enum events_found events_read(struct events_reader *r,
                              void (*show)(void *arg, const struct event *x), void *arg)
{
    enum events_found found = EVENTS_NONE;

    pthread_mutex_lock(&events.lock);
    if (r->next < events.oldest) {
        r->next = events.oldest;
        found = EVENTS_GAP;
    }
    while (found == EVENTS_NONE && r->next < events.next) {
        const struct event *x = at(r->next++);

        if (!concerns(r, x))
            continue;
        show(arg, x);
        found = EVENTS_ONE;
    }
    if (found == EVENTS_NONE && events.over)
        found = EVENTS_OVER;
    pthread_mutex_unlock(&events.lock);
    return found;
}

/* Under the lock. */
static void wait_no_more(struct events_reader *r)
{
    *r->prev_waiting = r->next_waiting;
    if (r->next_waiting)
        r->next_waiting->prev_waiting = r->prev_waiting;
    r->waiting = false;
}

bool events_wait(struct events_reader *r)
{
    bool waits;

    pthread_mutex_lock(&events.lock);
    waits = r->next >= events.next && !events.over;
    if (waits) {
        r->beat = false;
        r->waiting = true;
        r->next_waiting = events.waiting;
        r->prev_waiting = &events.waiting;
        if (r->next_waiting)
            r->next_waiting->prev_waiting = &r->next_waiting;
        events.waiting = r;
    }
    pthread_mutex_unlock(&events.lock);
    return waits;
}

/* Only the core wakes, and whoever is not woken does not go away: the list may be walked behind the
 * lock. Those that wait again are in a new one. */
static void wake_all(bool for_time)
{
    struct events_reader *r, *next;

    pthread_mutex_lock(&events.lock);
    r = events.waiting;
    events.waiting = NULL;
    for (struct events_reader *i = r; i; i = i->next_waiting) {
        i->waiting = false;
        i->beat = for_time;
    }
    pthread_mutex_unlock(&events.lock);
    for (; r; r = next) {
        next = r->next_waiting;
        r->wake(r);
    }
}

void events_rouse(struct events_reader *r)
{
    bool waited;

    assert(core_here());
    pthread_mutex_lock(&events.lock);
    waited = r->waiting;
    if (waited)
        wait_no_more(r);
    pthread_mutex_unlock(&events.lock);
    if (waited)
        r->wake(r);
}

void events_now(struct events_reader *r)
{
    assert(core_here());
    pthread_mutex_lock(&events.lock);
    r->next = events.next;
    pthread_mutex_unlock(&events.lock);
}

/* ---- what happens ---- */

static void append(enum event_kind kind, void *what)
{
    struct event *x;

    assert(core_here());
    pthread_mutex_lock(&events.lock);
    if (events.next - events.oldest == LIMIT_EVENTS)
        drop_oldest();
    x = at(events.next);
    *x = (struct event){.number = events.next, .kind = kind, .any = what};
    events.next++;
    pthread_mutex_unlock(&events.lock);
    wake_all(false);
}

void events_job(struct job_record *snapshot)
{
    if (snapshot)
        append(EVENT_job, snapshot);
}

void events_worker(const struct worker_info *w)
{
    struct worker_info *copy = events_wanted() ? malloc(sizeof *copy) : NULL;

    if (!copy)
        return;
    *copy = *w;
    append(EVENT_worker, copy);
}

void events_group(const struct group *g, bool deleted)
{
    struct group *copy = events_wanted() ? malloc(sizeof *copy) : NULL;

    if (!copy)
        return;
    *copy = *g;
    append(deleted ? EVENT_group_deleted : EVENT_group, copy);
}

/* ---- time ---- */

/* After a while without readers what happens is not written down any more: whoever comes back then
 * hears that there is a gap. */
static void forget_when_alone(void)
{
    bool alone;

    pthread_mutex_lock(&events.lock);
    alone = events.readers == 0;
    if (!alone)
        left_at_us = 0;
    else if (left_at_us == 0)
        left_at_us = clock_us();
    if (alone && events_wanted() && clock_us() - left_at_us > LIMIT_EVENTS_KEPT_S * 1000000ull) {
        atomic_store_explicit(&wanted, false, memory_order_relaxed);
        while (events.oldest < events.next)
            drop_oldest();
        events.oldest = ++events.next; /* a number that nobody gets */
    }
    pthread_mutex_unlock(&events.lock);
}

static void on_beat(struct core_timer *t)
{
    forget_when_alone();
    wake_all(true);
    core_timer_set(t, clock_us() + LIMIT_EVENT_BEAT_S * 1000000ull);
}

void events_start(void)
{
    events.epoch = clock_wall_us();
    events.over = false;
    beat.fire = on_beat;
    core_timer_set(&beat, clock_us() + LIMIT_EVENT_BEAT_S * 1000000ull);
}

void events_stop(void)
{
    pthread_mutex_lock(&events.lock);
    events.over = true;
    pthread_mutex_unlock(&events.lock);
    wake_all(false);
}

void events_fini(void)
{
    core_timer_clear(&beat);
    while (events.oldest < events.next)
        drop_oldest();
}
