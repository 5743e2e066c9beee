/* call.h - ranks that call by themselves: the n-th calls of a group's ranks make one job. Core
 * thread only, but for call_post.
 *
 * Every rank of a group has a count of its calls. The n-th of each belong together, whatever
 * becomes of them: when they disagree, or some never come, the job fails for all who came, and
 * those who come later to it hear the same at once. So no rank is ever out of step: its n-th call
 * is answered by the n-th job. A process that took a rank's place and does not know how far it was
 * says rejoin: it goes on with the oldest job that still waits. Sends and receives are counted for
 * each ordered pair of ranks, apart from the others.
 */
#ifndef TUTTI_SERVER_CALL_H
#define TUTTI_SERVER_CALL_H

#include "schema/error.h"
#include "server/job.h"

struct gather; /* the calls of one job: call.c's */

/* One rank's call, checked by the api layer as far as one rank can be. */
struct call {
    struct job_record *record; /* as if this rank's input were everybody's; taken */
    bool shaped;               /* the record has dtype and shapes: this rank gives an input */
    bool pair;                 /* between params.src and params.dst only */
    bool rejoin;
    uint32_t rank;          /* group rank */
    struct tensor *input;   /* NULL: it gives nothing; a reference is taken */
    bool missing;           /* a gradient that did not come: input is zeros */
    struct tensor **inputs; /* of a gradient: record_needs(record), its mask in place; else NULL */
    char key[LIMIT_CALL_KEY_BYTES + 1]; /* scoped Idempotency-Key; "" when none */
    uint8_t digest[16];
    uint64_t endings; /* call_endings() before the database was asked for the key */
    struct job_wait *wait;
    struct core_msg msg; /* call.c's */
};

/* Any thread. Takes c (malloc'd) and what it holds. Answers the wait as job_submit does: when the
 * job has ended, or at the deadline with its present state; or -1 with ERR_mismatch,
 * ERR_ranks_missing, ERR_cancelled of a job that ended before this rank came to it,
 * ERR_idempotency_key_reused, ERR_call_key_stale (c is the caller's again: ask the database for the
 * key, and post it once more), or what job_submit refuses with. */
void call_post(struct call *c);

/* A call that was not posted, and what it holds; NULL is ignored. Any thread. */
void call_free(struct call *c);

/* Any thread: jobs of calls that have ended so far. */
uint64_t call_endings(void);

/* A waiting job is cancelled. */
void call_cancel(struct job *j, const struct err *why);

/* The job has ended, and its end is recorded. */
void call_job_gone(struct job *j);

/* The service drains: what still waits for ranks fails with ERR_draining. */
void call_drain(void);

/* The group was deleted: what still waits for its ranks is cancelled. */
void call_group_gone(const char *name);

void call_fini(void);

#endif
