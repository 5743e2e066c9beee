/* core.h - the core thread: its inbox, its timers, the descriptors it watches.
 *
 * Jobs, groups, the scheduler and the workers live on this thread alone; everybody else posts to
 * it. Functions marked (core) assert core_here().
 */
#ifndef TUTTI_SERVER_CORE_H
#define TUTTI_SERVER_CORE_H

#include "schema/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Intrusive message: embed it, set run, post it; run(m) is called once on the core thread, in
 * posting order. Not to be touched by the poster until then. */
struct core_msg {
    void (*run)(struct core_msg *m);
    struct core_msg *next; /* the inbox's */
};

/* Intrusive timer, zero-initialised. One shot; fire() may set it again. */
struct core_timer {
    void (*fire)(struct core_timer *t);
    uint64_t at_us; /* clock_us() */
    size_t slot;    /* the heap's; 0 when not set */
};

/* Intrusive watch on a descriptor (epoll, level-triggered). */
struct core_watch {
    void (*ready)(struct core_watch *w, uint32_t events); /* EPOLLIN, EPOLLHUP, ... */
    int fd;
};

int core_init(struct err *e);  /* main thread: inbox, epoll */
int core_start(struct err *e); /* main thread: starts the thread */
void core_stop(
    void); /* main thread: after what is posted by now ran, the thread ends and is joined */
void core_fini(void);

/* One turn of the loop on the calling thread: inbox, due timers, then events, for which it waits up
 * to wait_us. Only while the thread is not running: unit tests, workers_fini. */
void core_turn(uint64_t wait_us);

bool core_here(
    void); /* is this the core thread (or has it not been started: unit tests, recovery) */

void core_post(struct core_msg *m); /* any thread; never blocks, never fails */

void core_timer_set(struct core_timer *t, uint64_t at_us); /* (core) sets or moves */
void core_timer_clear(struct core_timer *t);               /* (core) accepts one that is not set */

int core_watch_add(struct core_watch *w, uint32_t events, struct err *e); /* (core) */
void core_watch_set(struct core_watch *w, uint32_t events);               /* (core) */
void core_watch_remove(
    struct core_watch *w); /* (core) before the fd is closed; also from its own ready() */

/* container_of: the struct that embeds a message, timer or watch. */
#define CORE_OWNER(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
