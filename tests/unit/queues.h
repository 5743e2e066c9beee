/* queues.h - the scheduler with a runner that is only pretended, for its tests. */
#ifndef TUTTI_TESTS_UNIT_QUEUES_H
#define TUTTI_TESTS_UNIT_QUEUES_H

#include "server/scheduler.h"
#include "schema/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORLD 8

static uint64_t seqs;
static struct job *running[WORLD]; /* by rank */
static uint32_t started, finished, blocked;
static bool no_room;
static uint64_t order_of[WORLD][20000]; /* what each rank ran, in its order */
static uint32_t ran_on[WORLD];

static __attribute__((unused)) struct job *job_of(const uint32_t *ranks, uint32_t n,
                                                  int32_t priority)
{
    struct job *j = calloc(1, sizeof *j + n * sizeof j->links[0]);

    j->record = calloc(1, sizeof *j->record);
    j->record->ranks = calloc(n, sizeof *ranks);
    memcpy(j->record->ranks, ranks, n * sizeof *ranks);
    j->record->n = n;
    j->record->priority = priority;
    j->record->owner = account_everybody();
    j->seq = ++seqs;
    return j;
}

static __attribute__((unused)) void job_gone(struct job *j)
{
    free(j->record->ranks);
    free(j->record);
    free(j);
}

/* Takes the ranks as job_begin does: the job leaves the queues, the ranks are busy. */
static __attribute__((unused)) enum job_begun begin(struct job *j)
{
    if (no_room) {
        blocked++;
        return JOB_BLOCKED;
    }
    for (uint32_t i = 0; i < j->record->n; i++) {
        uint32_t r = j->record->ranks[i];

        assert_null(running[r]);
        running[r] = j;
        if (ran_on[r] < 20000)
            order_of[r][ran_on[r]] = j->seq;
        ran_on[r]++;
    }
    scheduler_remove(j, true);
    for (uint32_t i = 0; i < j->record->n; i++)
        scheduler_rank(j->record->ranks[i], 0, false);
    started++;
    return JOB_BEGUN;
}

static __attribute__((unused)) void release(struct job *j)
{
    for (uint32_t i = 0; i < j->record->n; i++) {
        running[j->record->ranks[i]] = NULL;
        scheduler_rank(j->record->ranks[i], 0, true);
    }
}

static __attribute__((unused)) void end(struct job *j)
{
    release(j);
    finished++;
    job_gone(j);
    scheduler_next();
}

static __attribute__((unused)) int set_up(void **state)
{
    struct err e;

    (void)state;
    seqs = 0;
    started = finished = blocked = 0;
    no_room = false;
    memset(running, 0, sizeof running);
    memset(ran_on, 0, sizeof ran_on);
    return scheduler_init(WORLD, 1, begin, &e);
}

static __attribute__((unused)) int tear_down(void **state)
{
    (void)state;
    scheduler_fini();
    account_fini();
    return 0;
}

static __attribute__((unused)) void all_ready(void)
{
    for (uint32_t r = 0; r < WORLD; r++)
        scheduler_rank(r, 0, true);
}

static __attribute__((unused)) void check(void)
{
    struct err e;

    if (scheduler_check(&e) != 0)
        fail_msg("%s", e.detail);
}

#endif
