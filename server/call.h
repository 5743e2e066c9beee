/* call.h - ranks that call by themselves: the n-th calls of a group's ranks make one job. Core
 * thread only, but for call_post.
 *
 * Every rank of a group has a count of its calls. The n-th of each belong together, whatever
 * becomes of them: when they disagree, or some never come, the job fails for all who came, and
 * those who come later to it hear the same. So no rank is ever out of step: its n-th call is
 * answered by the n-th job, over restarts, too. A process that took a rank's place and does not
 * know how far it was says rejoin: calls that were made in its place before, and those of clients
 * that hung up, end with that, and it goes on with the oldest job that still waits. Sends and
 * receives are counted for each ordered pair of ranks, apart from the others.
 *
 * As long as callers only wait, the database knows nothing of their job. Before one is told that
 * its call stands, it does: then a restart, which ends what waits, says so to those who come late.
 */
#ifndef TUTTI_SERVER_CALL_H
#define TUTTI_SERVER_CALL_H

#include "schema/error.h"
#include "server/job.h"
#include "server/store.h"

struct gather; /* the calls of one job: call_parts.h */

/* One rank's call, checked by the api layer as far as one rank can be. */
struct call {
    struct job_record *record; /* as if this rank's input were everybody's; taken */
    bool shaped;               /* the record has dtype and shapes: this rank gives an input */
    bool rejoin;
    uint32_t rank;          /* group rank */
    struct tensor *input;   /* NULL: it gives nothing; a reference is taken */
    bool missing;           /* a gradient that did not come: input is zeros */
    struct tensor **inputs; /* of a gradient: record_needs(record), its mask in place; else NULL */
    char key[LIMIT_CALL_KEY_BYTES + 1]; /* scoped Idempotency-Key; "" when none */
    uint8_t digest[16];
    struct job_wait *wait;
    struct core_msg msg; /* call.c's, as is look */
    struct store_key_find look;
};

/* Any thread. Takes c (malloc'd) and what it holds. Answers the wait as job_submit does: when the
 * job has ended, or at the deadline with its present state, once the database knows of it; -1 with
 * ERR_job_unknown and `id` when the job ended before this call came to it, or when the key of an
 * earlier call says so (then the caller reads `id` from the store); or -1 with
 * ERR_idempotency_key_reused, or what job_submit refuses with. */
void call_post(struct call *c);

/* A call that was not posted, and what it holds; NULL is ignored. Any thread. */
void call_free(struct call *c);

/* The client of this rank's call has hung up before it was answered. The call stands, unless a
 * process that says rejoin takes the rank's place, or another's. */
void call_abandoned(struct job *j, uint32_t rank);
void call_claimed(struct job *j, uint32_t rank); /* it is back, and waits again */

/* A waiting job is cancelled. */
void call_cancel(struct job *j, const struct err *why);

/* The job has ended, and its end is recorded. */
void call_job_gone(struct job *j);

/* Must w, whose time has come, wait until the database knows of the call? Then it is answered by
 * job_waits_told. */
bool call_ack(struct job *j, struct job_wait *w);

/* What the record of a job's end says of the calls that it never ran for; freed when it is stored.
 */
void call_end_fill(const struct job *j, struct store_job_finish *m);
void call_end_free(struct store_job_finish *m);

/* Recovery: a job to which not all ranks had come, r its record and came[n] who had; and when all
 * of them are there. Returns 0 or -1. */
int call_restore(const struct job_record *r, const uint8_t *came, struct err *e);
void call_restored(void);

/* The service drains: what still waits for ranks fails with ERR_draining. */
void call_drain(void);

/* The group was deleted: what still waits for its ranks is cancelled. */
void call_group_gone(const char *name);

void call_fini(void);

#endif
