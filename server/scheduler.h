/* scheduler.h - one global order: which job runs next on which ranks. Core thread only.
 *
 * Every world rank has a queue of the jobs that need it, by priority and then by age. A job runs when it
 * is at the head of all its ranks' queues and all of them are ready. Since all queues are in the one
 * global order, jobs on overlapping groups can never wait for each other in a circle, and jobs on
 * disjoint groups run side by side.
 */
#ifndef TUTTI_SERVER_SCHEDULER_H
#define TUTTI_SERVER_SCHEDULER_H

#include "schema/error.h"
#include "server/job.h"

int scheduler_init(uint32_t world_size, struct err *e);
void scheduler_fini(void);

/* Puts a queued job in its ranks' queues (the scheduler_next that follows may start it). */
void scheduler_add(struct job *j);

/* Takes it out: it started, ended or was cancelled. */
void scheduler_remove(struct job *j);

/* Starts every job that can start now. Call after anything that may let one: a job was added or
 * ended, a worker became ready, an extent was freed. */
void scheduler_next(void);

/* Queues are sorted, and a runnable job is never left: for tests. Returns 0 or -1. */
int scheduler_check(struct err *e);

#endif
