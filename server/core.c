/* core.c - the core thread: an inbox, one epoll, the loop that runs both and the timers.
 *
 * The inbox is a stack that any thread pushes on with one compare-and-swap and that the core takes
 * whole and turns round. The eventfd is written only when the core may be asleep, so a burst of
 * posts costs one system call.
 */
#include "server/core.h"
#include "server/core_timers.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64 /* events taken from the kernel at once */

static struct {
    _Atomic(struct core_msg *) inbox; /* newest first */
    atomic_bool sleeping;             /* the core waits, or is about to: wake it */
    atomic_bool started;
    bool stopping; /* core thread */
    int epoll, wake;
    pthread_t thread;
    struct epoll_event batch[BATCH]; /* being handled: a removed watch is struck out of it */
    int batch_count;
} core = {.epoll = -1, .wake = -1};

static _Thread_local bool this_is_core;

int core_init(struct err *e)
{
    struct epoll_event wake = {.events = EPOLLIN | EPOLLET};

    atomic_store(&core.inbox, NULL);
    core.stopping = false;
    core.epoll = epoll_create1(EPOLL_CLOEXEC);
    core.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* Edge-triggered: every write is an event of its own, so the counter is never read. */
    if (core.epoll < 0 || core.wake < 0 ||
        epoll_ctl(core.epoll, EPOLL_CTL_ADD, core.wake, &wake) != 0) {
        err_sys(e, ERR_internal, errno, "make the core's epoll");
        core_fini();
        return -1;
    }
    return 0;
}

void core_fini(void)
{
    if (core.epoll >= 0)
        close(core.epoll);
    if (core.wake >= 0)
        close(core.wake);
    core.epoll = core.wake = -1;
    core_timers_fini();
}

bool core_here(void)
{
    return this_is_core || !atomic_load_explicit(&core.started, memory_order_relaxed);
}

void core_post(struct core_msg *m)
{
    struct core_msg *head = atomic_load_explicit(&core.inbox, memory_order_relaxed);

    do
        m->next = head;
    while (!atomic_compare_exchange_weak(&core.inbox, &head, m));
    /* From here m may be gone. The core sets `sleeping` and then looks at the inbox once more;
     * we push and then look at `sleeping`: one of the two sees the other. */
    if (atomic_load(&core.sleeping) && atomic_exchange(&core.sleeping, false)) {
        uint64_t one = 1;

        if (write(core.wake, &one, sizeof one) < 0) {
            /* EAGAIN at 2^64-1 writes: the event is set all the same. */
        }
    }
}

static void run_inbox(void)
{
    struct core_msg *m = atomic_exchange(&core.inbox, NULL), *oldest = NULL;

    while (m) {
        struct core_msg *next = m->next;

        m->next = oldest;
        oldest = m;
        m = next;
    }
    while (oldest) {
        m = oldest;
        oldest = m->next; /* m may be freed or posted again by its run */
        m->run(m);
    }
}

/* How long the kernel may keep us: until the first timer, and no longer than wait_us. */
static uint64_t wait_time(uint64_t wait_us)
{
    uint64_t due = core_timers_next(), now;

    if (due == UINT64_MAX)
        return wait_us;
    now = clock_us();
    if (due <= now)
        return 0;
    return due - now < wait_us ? due - now : wait_us;
}

static int take_events(uint64_t wait_us)
{
    struct timespec t;
    int n;

    atomic_store(&core.sleeping, true);
    if (atomic_load(&core.inbox))
        wait_us = 0;
    t = (struct timespec){.tv_sec = (time_t)(wait_us / 1000000),
                          .tv_nsec = (long)(wait_us % 1000000) * 1000};
    n = epoll_pwait2(core.epoll, core.batch, BATCH, wait_us == UINT64_MAX ? NULL : &t, NULL);
    atomic_store(&core.sleeping, false);
    return n;
}

void core_turn(uint64_t wait_us)
{
    int n;

    run_inbox();
    core_timers_fire(clock_us());
    if (core.stopping)
        return;
    n = take_events(atomic_load(&core.inbox) ? 0 : wait_time(wait_us));
    core.batch_count = n > 0 ? n : 0;
    for (int i = 0; i < core.batch_count; i++) {
        struct core_watch *w = core.batch[i].data.ptr;

        if (w) /* NULL: the inbox, or a watch removed by one before it */
            w->ready(w, core.batch[i].events);
    }
    core.batch_count = 0;
}

static void *core_main(void *arg)
{
    (void)arg;
    pthread_setname_np(pthread_self(), "core");
    this_is_core = true;
    while (!core.stopping)
        core_turn(UINT64_MAX);
    return NULL;
}

int core_start(struct err *e)
{
    int rc;

    atomic_store(&core.started, true);
    rc = pthread_create(&core.thread, NULL, core_main, NULL);
    if (rc != 0) {
        atomic_store(&core.started, false);
        return err_sys(e, ERR_internal, rc, "start the core thread");
    }
    return 0;
}

static void on_stop(struct core_msg *m)
{
    (void)m;
    core.stopping = true;
}

void core_stop(void)
{
    static struct core_msg stop = {.run = on_stop};

    if (!atomic_load(&core.started))
        return;
    core_post(&stop);
    pthread_join(core.thread, NULL);
    atomic_store(&core.started, false);
    core.stopping = false;
}

int core_watch_add(struct core_watch *w, uint32_t events, struct err *e)
{
    struct epoll_event event = {.events = events, .data.ptr = w};

    assert(core_here());
    if (epoll_ctl(core.epoll, EPOLL_CTL_ADD, w->fd, &event) != 0)
        return err_sys(e, ERR_internal, errno, "watch descriptor %d", w->fd);
    return 0;
}

void core_watch_set(struct core_watch *w, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = w};

    assert(core_here());
    if (epoll_ctl(core.epoll, EPOLL_CTL_MOD, w->fd, &event) != 0)
        log_error("core: descriptor %d is not watched: %s", w->fd, strerror(errno));
}

void core_watch_remove(struct core_watch *w)
{
    assert(core_here());
    if (epoll_ctl(core.epoll, EPOLL_CTL_DEL, w->fd, NULL) != 0)
        log_error("core: descriptor %d is not watched: %s", w->fd, strerror(errno));
    for (int i = 0; i < core.batch_count; i++) {
        if (core.batch[i].data.ptr == w)
            core.batch[i].data.ptr = NULL;
    }
}
