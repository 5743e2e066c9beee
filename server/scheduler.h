/* scheduler.h - one global order: which job runs next on which ranks. Core thread only.
 *
 * Every world rank has a queue of the jobs that need it, by priority, then by turns of their
 * owners, then by age: owners are served in turn, one job each. A job runs when it is at the head
 * of all its ranks' queues and all of them are ready. Since all queues are in the one global order,
 * jobs on overlapping groups can never wait for each other in a circle, and jobs on disjoint groups
 * run side by side.
 *
 * A ready rank *offers* itself to the job at its head. A job with as many offers as ranks can
 * start. So an event costs the ranks it touches, however many jobs are queued.
 *
 * Jobs that need a rank which is away are parked beside the queues, so that nobody waits behind
 * them, and come back with it.
 *
 * All of this once a lane. There is one lane, unless streams may overlap: then each stream has its
 * own, and jobs of different streams run side by side on the same ranks.
 */
#ifndef TUTTI_SERVER_SCHEDULER_H
#define TUTTI_SERVER_SCHEDULER_H

#include "schema/error.h"
#include "server/job.h"

/* lanes: 1, or LIMIT_STREAM + 1 when streams may overlap. begin: job_begin, or a test's; it is
 * called from scheduler_next only. */
int scheduler_init(uint32_t world_size, uint32_t lanes, enum job_begun (*begin)(struct job *j),
                   struct err *e);
void scheduler_fini(void);

/* Puts a queued job in its ranks' queues (the scheduler_next that follows may start it). A job that
 * was running takes its old place, ahead of all that came after it. */
void scheduler_add(struct job *j);

/* Takes it out: it starts, or it ended or was cancelled. */
void scheduler_remove(struct job *j, bool starts);

uint32_t scheduler_lanes(void);
uint32_t scheduler_lane(const struct job_record *r); /* that this job takes */

/* From workers.c: the rank's worker can take a job in this lane, or no longer. */
void scheduler_rank(uint32_t world_rank, uint32_t lane, bool ready);

/* From workers.c: nobody holds the rank, and it is not ours to say when somebody will; or somebody
 * does. The scheduler_next that follows may start others. */
void scheduler_away(uint32_t world_rank, bool away);

/* Are all of its ranks ready in its lane, and wanted by no queued job? */
bool scheduler_idle(const struct job_record *r);

/* While begin starts j, which has left the queues, and its ranks are still ready: the job that
 * would start next on exactly these ranks, in this order and on the same stream. NULL: another, or
 * none.
 */
struct job *scheduler_follower(const struct job *j);

/* An extent was freed: jobs that wait for space are tried again by the next scheduler_next. */
void scheduler_freed(void);

/* Starts every job that can start now. Call after anything that may let one: a job was added or
 * ended, a worker became ready, an extent was freed. */
void scheduler_next(void);

/* From now on scheduler_next starts nothing. */
void scheduler_drain(void);

/* Queues are sorted, and a runnable job is never left: for tests. Returns 0 or -1. */
int scheduler_check(struct err *e);

#endif
