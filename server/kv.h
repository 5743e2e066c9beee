/* kv.h - requests that wait for a key to get a value. */
#ifndef TUTTI_SERVER_KV_H
#define TUTTI_SERVER_KV_H

#include "server/core.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Owned by the request; zero-initialise, then fill in. Not to be touched from kv_wait until wake.
 */
struct kv_wait {
    void (*wake)(struct kv_wait *w); /* core thread; exactly once: look again */
    const char *group, *key;
    uint64_t seen;        /* kv_generation() before the database was asked */
    uint64_t deadline_us; /* clock_us() */

    /* kv.c's. */
    atomic_int phase; /* who wakes: as in job_wait.c */
    bool held, late;
    struct core_msg msg, drop;
    struct core_timer timer;
    struct kv_wait *next, **prev;
};

/* Any thread: counts commits that those who wait may wait for. */
uint64_t kv_generation(void);

/* Any thread. Wakes w when the key has got a value since `seen` or its group is gone, at the
 * deadline, or when the service drains: none is missed, and one may be for nothing. */
void kv_wait(struct kv_wait *w);

/* Any thread; at most once a wait, as job_wait_drop: wakes it soon. */
void kv_wait_drop(struct kv_wait *w);

/* Store thread: a commit gave a key a value. Then kv_wake on the core thread. */
void kv_committed(void);

/* Core thread: wakes those that wait for this key. */
void kv_wake(const char *group, const char *key);

/* Core thread: the group was deleted, and taken out of the table. Wakes those that wait for its
 * keys. */
void kv_group_gone(const char *group);

/* Core thread: from now on nobody waits. */
void kv_drain(void);

/* Any thread. */
bool kv_draining(void);

#endif
