/* job.h - the life of a job: admit, move (the only writer of a state), finish.
 *
 * Jobs live on the core thread. The api layer posts requests with job_submit, job_watch, ...;
 * each answers by calling the request's wake exactly once, on the core thread.
 */
#ifndef TUTTI_SERVER_JOB_H
#define TUTTI_SERVER_JOB_H

#include "schema/error.h"
#include "server/core.h"
#include "server/record.h"
#include "server/tensor.h"

#include <stdbool.h>
#include <stdint.h>

/* One HTTP request that waits for a job. Owned by the request; zero-initialise, then fill in
 * wake and deadline_us. Not to be touched from job_submit/job_watch/... until wake. */
struct job_wait {
    void (*wake)(struct job_wait *w); /* core thread; exactly once */
    uint64_t deadline_us; /* clock_us(); 0: answer as soon as the request is acknowledged */

    /* The answer, valid in and after wake. */
    int rc;                 /* 0, or -1 with err */
    struct err err;
    struct job_record *job; /* a copy, the waiter's to free; NULL when rc is -1 */
    bool gone;              /* job_wait_drop came first */
    bool replayed;          /* an Idempotency-Key found the earlier job */

    /* job.c's. */
    struct core_msg msg;
    struct core_msg drop;
    atomic_bool dropping;
    struct core_timer timer;
    struct job_wait *next, **prev;
    struct job *on;
    struct job_submission *submission;
    struct id id;
    int what;
};

/* A job to be. The api layer has checked everything that needs no present state. */
struct job_submission {
    struct job_record *record;  /* id, received_us, validated_us set; taken by job_submit */
    struct tensor **inputs;     /* record->n, NULL where a rank gives nothing; references are taken */
    char key[LIMIT_KEY_BYTES + 1]; /* Idempotency-Key; "" when none */
    uint8_t digest[16];            /* of the request, when there is a key: XXH3-128 of its meaning */
    struct job_wait *wait;
};

/* Any thread. Takes s (malloc'd) and what it holds. Answers with the job's record when it is
 * terminal, or at wait->deadline_us with its present state, or at once after it was recorded when the
 * deadline is 0; or -1 with ERR_draining, ERR_too_many_jobs, ERR_idempotency_key_reused,
 * ERR_storage_full, ERR_outcome_unknown. */
void job_submit(struct job_submission *s);

/* Any thread. Waits for an unfinished job. -1 with ERR_job_unknown when no unfinished job has this id
 * (the caller then asks the store). */
void job_watch(const struct id *id, struct job_wait *w);

/* Any thread. Cancels an unfinished job; answers when it is terminal (or at the deadline).
 * -1 with ERR_job_unknown as above. */
void job_cancel(const struct id *id, struct job_wait *w);

/* Any thread; at most once a wait. Wakes w soon with gone = true, if it is still waiting. */
void job_wait_drop(struct job_wait *w);

/* ---- below: core thread only ---- */

struct job_rank_link {
    struct job *job;
    struct job_rank_link *next, *prev; /* in the queue of one world rank */
};

struct job {
    struct job_record *record;
    uint64_t seq;            /* global order, and the job's name on the worker link */
    struct tensor **inputs;  /* n */
    struct tensor **outputs; /* n, while running; equal pointers where shared */
    struct job_rank_link *links; /* n: its place in each rank's queue; scheduler.c's */
    struct job_wait *waits;
    struct core_timer timer; /* of the run, then of the cancel */
    uint64_t event_us;       /* clock_us() of the last timeline event */
    uint64_t received_at_us; /* clock_us() at which it was received */
    uint32_t pending;        /* ranks whose DONE, FAILED or death is still to come */
    uint64_t first_start_ns, last_end_ns;
    bool queued_links;       /* is it in the ranks' queues? */
    bool rank_lost;          /* of this attempt: run again */
    bool cancelling;         /* CANCEL was sent; `why` holds the end */
    enum job_state end;      /* where a cancelling job goes */
    struct err why;
    struct job *next_hash;
    struct job *next_all, *prev_all; /* unfinished jobs, oldest first */
};

int job_table_init(uint64_t retain_us, struct err *e);
void job_table_fini(void);

/* The one writer of a state: asserts that the move is in states.def, stamps the timeline, logs one line,
 * hands a terminal job to the store and wakes its waiters once that has committed. why is kept as the
 * record's error for failed and cancelled; NULL otherwise. */
void job_move(struct job *j, enum job_state to, const struct err *why);

/* From workers.c: what became of one rank's part. attempt guards against late frames. */
void job_rank_done(uint64_t seq, uint32_t attempt, uint32_t world_rank, uint64_t start_ns,
                   uint64_t end_ns);
void job_rank_failed(uint64_t seq, uint32_t attempt, uint32_t world_rank, const struct err *why);
void job_rank_lost(uint64_t seq, uint32_t attempt, uint32_t world_rank, const char *how);

/* Recovery: an unfinished job from the store, queued again. Takes record and inputs. */
int job_restore(struct job_record *record, struct tensor **inputs, struct err *e);

/* A finished job's record as failed without running (inputs lost at recovery). Takes record. */
int job_restore_failed(struct job_record *record, const struct err *why, struct err *e);

struct job *job_find_seq(uint64_t seq);

/* Copies of unfinished jobs' records, newest first, older than `before` (zero: from the newest) that
 * keep() accepts; up to max. Any thread may ask through job_list_post in api_jobs. */
uint32_t job_list(const struct id *before, bool (*keep)(const struct job_record *, void *),
                  void *arg, struct job_record **out, uint32_t max);

/* No new jobs (ERR_draining). job_idle: nothing is running. */
void job_drain(void);
bool job_idle(void);

struct job_counts {
    uint64_t waiting, queued, running;                /* now */
    uint64_t succeeded, failed, cancelled, retried;   /* since start */
};
void job_counts(struct job_counts *out); /* any thread: relaxed atomics */

/* Every unfinished job is in a legal place: for tests and the invariant checker. Returns 0 or -1. */
int job_check(struct err *e);

#endif
