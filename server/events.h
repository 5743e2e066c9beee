/* events.h - what happened to jobs, workers and groups, in order, for those who follow it.
 *
 * The last LIMIT_EVENTS are kept while somebody follows, and for LIMIT_EVENTS_KEPT_S after the
 * last one left, so that a reader who was cut off can go on where it was; else nothing is.
 * Written on the core thread; read from any thread, behind one mutex (named in ARCHITECTURE.md).
 */
#ifndef TUTTI_SERVER_EVENTS_H
#define TUTTI_SERVER_EVENTS_H

#include "schema/error.h"
#include "server/core.h"
#include "server/group.h"
#include "server/record.h"
#include "server/workers.h"

enum event_kind { EVENT_job, EVENT_worker, EVENT_group, EVENT_group_deleted };

struct event {
    uint64_t number;
    enum event_kind kind;
    union {
        struct job_record *job; /* as outsiders see it */
        struct worker_info *worker;
        struct group *group;
        void *any;
    };
};

/* One who follows. Zeroed by its owner, then opened. */
struct events_reader {
    uint64_t next;               /* the number of the event that it has not seen */
    struct id job;               /* only of this one; zero: everything */
    struct account *account;     /* who follows, and pays for the stream; NULL: nobody */
    const struct account *scope; /* only what is this account's, and workers; NULL: everybody's */
    void (*wake)(struct events_reader *r); /* core thread, once a wait */
    bool beat;                             /* it was woken for nothing but the time */
    /* events.c's. */
    bool open, waiting;
    struct events_reader *next_waiting, **prev_waiting;
};

/* Which run of the service the numbers are of. */
uint64_t events_epoch(void);

/* Follows from now on. Returns 0, or -1 with ERR_too_many_streams or ERR_quota. */
int events_open(struct events_reader *r, struct err *e);
void events_close(
    struct events_reader *r); /* not while it waits; one that is not open is ignored */

/* From the event after this one, if it is still known; returns whether it is. */
bool events_resume(struct events_reader *r, uint64_t after);

enum events_found {
    EVENTS_NONE, /* nothing new */
    EVENTS_ONE,  /* show() was called with it, under the mutex */
    EVENTS_GAP,  /* some are not known any more; it goes on with the oldest that is */
    EVENTS_OVER, /* the service stops */
};
enum events_found events_read(struct events_reader *r,
                              void (*show)(void *arg, const struct event *x), void *arg);

/* Returns true when it will be woken; false when there is something to read. */
bool events_wait(struct events_reader *r);

/* ---- core thread ---- */

/* Wakes it, if it waits. */
void events_rouse(struct events_reader *r);

/* Follows from this moment on. */
void events_now(struct events_reader *r);

bool events_wanted(void); /* does anybody follow? Otherwise what follows need not be made */
void events_job(struct job_record *snapshot); /* takes it; NULL is ignored */
void events_worker(const struct worker_info *w);
void events_group(const struct group *g, bool deleted);

void events_start(void); /* heartbeats; before the core thread runs */
void events_stop(void);  /* every reader is woken, and finds that it is over */
void events_fini(void);  /* after the core thread */

uint32_t events_readers(void); /* any thread */

#endif
