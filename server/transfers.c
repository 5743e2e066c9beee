/* transfers.c - what the core thread wants of data channels, and the thread that does it. */
#include "server/transfers_parts.h"
#include "schema/clock.h"
#include "schema/limits.h"
#include "schema/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TICK_MS 1000

static struct {
    pthread_mutex_t lock;
    struct channel *wanting; /* under lock */
    bool stop;               /* under lock */
    int wake;
    bool running;
    pthread_t thread;
    /* The thread's. */
    struct channel *channels;
    uint32_t n;
    struct pollfd *polls;
    uint32_t n_polls;
} transfers = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = -1};

/* ---- the core's side ---- */

static void want(struct channel *c)
{
    uint64_t one = 1;

    if (!c->wants) {
        c->wants = true;
        c->next_wanting = transfers.wanting;
        transfers.wanting = c;
    }
    pthread_mutex_unlock(&transfers.lock);
    if (write(transfers.wake, &one, sizeof one) < 0) {
        /* EAGAIN at 2^64-1 writes: it is awake all the same. */
    }
}

static void run_broke(struct core_msg *m)
{
    struct channel *c = CORE_OWNER(m, struct channel, broke);

    atomic_store(&c->broke_posted, false);
    c->owner->broke(c->owner);
}

static void run_closed(struct core_msg *m)
{
    struct channel *c = CORE_OWNER(m, struct channel, closed);
    struct channel_owner *o = c->owner;

    free(c);
    o->closed(o);
}

static void run_done(struct core_msg *m)
{
    struct transfer *t = CORE_OWNER(m, struct transfer, msg);

    t->done(t);
}

struct channel *channel_new(struct channel_owner *o, struct err *e)
{
    struct channel *c = calloc(1, sizeof *c);

    if (!c) {
        err_set(e, ERR_no_memory, "a data channel");
        return NULL;
    }
    c->owner = o;
    c->broke.run = run_broke;
    c->closed.run = run_closed;
    c->fd = c->new_fd = -1;
    c->fresh_end = &c->fresh;
    c->turn_end = &c->turn;
    return c;
}

void channel_attach(struct channel *c, int fd)
{
    pthread_mutex_lock(&transfers.lock);
    if (c->new_fd >= 0)
        close(c->new_fd);
    c->new_fd = fd;
    want(c);
}

void channel_detach(struct channel *c)
{
    pthread_mutex_lock(&transfers.lock);
    if (c->new_fd >= 0)
        close(c->new_fd);
    c->new_fd = -1;
    c->detach = true;
    want(c);
}

void channel_close(struct channel *c)
{
    pthread_mutex_lock(&transfers.lock);
    c->close = true;
    want(c);
}

void channel_start(struct channel *c, struct transfer *t)
{
    t->msg.run = run_done;
    t->next = NULL;
    pthread_mutex_lock(&transfers.lock);
    *c->fresh_end = t;
    c->fresh_end = &t->next;
    want(c);
}

void channel_count(const struct channel *c, struct channel_counts *out)
{
    *out = (struct channel_counts){.sent_bytes = atomic_load(&c->sent_bytes),
                                   .received_bytes = atomic_load(&c->received_bytes),
                                   .broken = atomic_load(&c->broken)};
}

/* ---- the thread ---- */

static void end_channel(struct channel *c)
{
    channel_hang_up(c);
    while (c->all)
        transfer_finish(c->all, ERR_link, "the host has gone");
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    transfers.n--;
    core_post(&c->closed);
}

static void connect_to(struct channel *c, int fd)
{
    channel_hang_up(c);
    c->fd = fd;
    c->in = (struct chunk_reader){.fd = fd};
    c->heard_us = clock_us();
}

static void obey(struct channel *c, struct transfer *fresh, int fd, bool detach, bool end)
{
    if (!c->prev) { /* not seen before */
        c->next = transfers.channels;
        c->prev = &transfers.channels;
        if (c->next)
            c->next->prev = &c->next;
        transfers.channels = c;
        transfers.n++;
    }
    if (detach)
        channel_hang_up(c);
    if (fd >= 0)
        connect_to(c, fd);
    for (struct transfer *t = fresh, *next; t; t = next) {
        next = t->next;
        channel_enter(c, t);
    }
    if (end)
        end_channel(c);
}

/* Returns false when the thread is to end. */
static bool take_orders(void)
{
    bool stop;

    pthread_mutex_lock(&transfers.lock);
    while (transfers.wanting) {
        struct channel *c = transfers.wanting;
        struct transfer *fresh = c->fresh;
        bool detach = c->detach, end = c->close;
        int fd = c->new_fd;

        transfers.wanting = c->next_wanting;
        c->wants = c->detach = false;
        c->new_fd = -1;
        c->fresh = NULL;
        c->fresh_end = &c->fresh;
        pthread_mutex_unlock(&transfers.lock);
        obey(c, fresh, fd, detach, end);
        pthread_mutex_lock(&transfers.lock);
    }
    stop = transfers.stop;
    pthread_mutex_unlock(&transfers.lock);
    return !stop;
}

static bool make_polls(void)
{
    struct pollfd *grown;

    if (transfers.n + 1 <= transfers.n_polls)
        return true;
    grown = realloc(transfers.polls, (transfers.n + 16) * sizeof *grown);
    if (!grown)
        return false;
    transfers.polls = grown;
    transfers.n_polls = transfers.n + 16;
    return true;
}

static void wait_for_sockets(void)
{
    uint32_t n = 1, busy = 0;

    transfers.polls[0] = (struct pollfd){.fd = transfers.wake, .events = POLLIN};
    for (struct channel *c = transfers.channels; c; c = c->next) {
        bool asks = channel_has_unsent(c) || (c->turn && c->flying < WINDOW);

        busy += c->fd >= 0 && c->flying > 0;
        transfers.polls[n++] = (struct pollfd){
            .fd = c->fd, .events = (short)(POLLIN | (asks ? POLLOUT : 0))}; /* -1 is left out */
    }
    poll(transfers.polls, n, busy ? TICK_MS : -1);
}

static void serve(struct channel *c, short events)
{
    if (events & (POLLIN | POLLHUP | POLLERR))
        channel_hear(c);
    if (c->fd >= 0)
        channel_ask(c);
    if (c->fd >= 0 && c->flying > 0 && clock_us() - c->heard_us > LIMIT_CHANNEL_SILENT_MS * 1000ull)
        channel_break(c, "it does not answer");
}

static void *transfers_main(void *arg)
{
    uint64_t count;

    (void)arg;
    pthread_setname_np(pthread_self(), "transfers");
    while (take_orders()) {
        uint32_t n = 1;

        if (!make_polls()) {
            log_error("out of memory for data channels; exiting");
            _exit(71); /* as the core does: jobs that hang for ever are the greater harm */
        }
        wait_for_sockets();
        if (transfers.polls[0].revents && read(transfers.wake, &count, sizeof count) < 0) {
            /* EAGAIN: it was read before. */
        }
        for (struct channel *c = transfers.channels; c; c = c->next)
            serve(c, transfers.polls[n++].revents);
    }
    return NULL;
}

int transfers_start(struct err *e)
{
    int rc;

    transfers.stop = false;
    transfers.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (transfers.wake < 0)
        return err_sys(e, ERR_internal, errno, "make an eventfd");
    rc = pthread_create(&transfers.thread, NULL, transfers_main, NULL);
    if (rc != 0) {
        close(transfers.wake);
        transfers.wake = -1;
        return err_sys(e, ERR_internal, rc, "start the thread of the data channels");
    }
    transfers.running = true;
    return 0;
}

void transfers_stop(void)
{
    uint64_t one = 1;

    if (!transfers.running)
        return;
    pthread_mutex_lock(&transfers.lock);
    transfers.stop = true;
    pthread_mutex_unlock(&transfers.lock);
    if (write(transfers.wake, &one, sizeof one) < 0) {
        /* As in want(). */
    }
    pthread_join(transfers.thread, NULL);
    close(transfers.wake);
    free(transfers.polls);
    transfers.polls = NULL;
    transfers.n_polls = 0;
    transfers.wake = -1;
    transfers.running = false;
}
