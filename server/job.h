/* job.h - the life of a job: admit, move (the only writer of a state), run, finish.
 *
 * Jobs live on the core thread. The api layer posts requests with job_submit, job_watch, ...;
 * each answers by calling the request's wake exactly once, on the core thread.
 *
 * Nobody outside sees a terminal state before the database has it: a job whose end is being
 * recorded still looks as it did before.
 *
 * This file is long because one struct and its rules are read together.
 */
#ifndef TUTTI_SERVER_JOB_H
#define TUTTI_SERVER_JOB_H

#include "schema/error.h"
#include "server/core.h"
#include "server/given.h"
#include "server/record.h"
#include "server/tensor.h"

#include <bsd/sys/tree.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One HTTP request that waits for a job. Owned by the request; zero-initialise, then fill in
 * wake and deadline_us. Not to be touched from job_submit/job_watch/... until wake. */
struct job_wait {
    void (*wake)(struct job_wait *w); /* core thread; exactly once */
    const struct account *scope; /* whose job it may be; NULL: anybody's. Others' are unknown */
    uint64_t deadline_us;        /* clock_us(); 0: answer as soon as the request is acknowledged */

    /* The answer, valid in and after wake. */
    int rc; /* 0, or -1 with err */
    struct err err;
    struct job_record *job; /* a copy, the waiter's to free; NULL when rc is -1 */
    bool wants_given;    /* set by the waiter: then given is what the job was given, its to free */
    struct given *given; /* NULL: not all of it is there */
    bool gone;           /* job_wait_drop came first */
    bool calls;          /* it is the call of `rank`, and not somebody who looks at the job */
    uint32_t rank;
    bool replayed; /* an Idempotency-Key found the earlier job, which `id` names */
    struct id id;  /* the job that was asked for; of a submission, the job it became */

    /* job.c's. */
    atomic_int phase; /* who answers: job_wait.c */
    bool held, late;
    int what;
    uint64_t told_number; /* call_record.c's: it is due when the database has this message */
    struct core_msg msg, drop;
    struct core_timer timer;
    struct job_wait *next, **prev;
    struct job_submission *submission;
    struct job *on;
};

/* A job to be. The api layer has checked everything that needs no present state. */
struct job_submission {
    struct job_record *record; /* id, received_us, validated_us set; taken by job_submit */
    struct tensor **inputs;    /* record_needs(record), NULL where a rank gives nothing; references
                                  are taken */
    struct extent **results;   /* n, where its outputs are written, a reference each, equal where
                                  they are shared; NULL: in the arena. Taken too */
    char key[LIMIT_FULL_KEY_BYTES + 1]; /* Idempotency-Key, the owner's; "" when none */
    uint8_t digest[16]; /* of the request, when there is a key: XXH3-128 of its meaning */
    uint8_t text[16];   /* and of how it was written, when has_text */
    bool has_text;
    struct job_wait *wait;
    uint64_t posted_us; /* clock_us(); job_submit's */

    /* Of several that are submitted together. */
    struct job_submission *next;
    struct promise *promised; /* its outputs that later ones take: job_promise.h */
    bool batch;               /* key is the batch's, the digest of all of it */
    uint32_t line;            /* which of the batch, from 0 */
};

/* Any thread. The references, and the array; NULL is ignored. */
void job_results_drop(struct extent **results, uint32_t n);

/* Any thread. Takes s (malloc'd) and what it holds. Answers with the job's record when it is
 * terminal, or at wait->deadline_us with its present state, or at once after it was recorded when
 * the deadline is 0; or -1 with ERR_draining, ERR_too_many_jobs, ERR_idempotency_key_reused,
 * ERR_storage_full, ERR_outcome_unknown, ERR_no_memory: then there is no such job (or, with
 * ERR_outcome_unknown, the next start decides).
 *
 * A key that names an earlier job turns the submission into a watch on that job: replayed is true
 * and id is the earlier job's. While that job is unfinished everything else is as above; when it is
 * finished the answer is -1 with ERR_job_unknown, and the caller reads `id` from the store.
 *
 * While the service drains, waits for jobs that will not run any more are answered with the job's
 * present state, as if their deadline had come: an accepted job is never called refused. */
void job_submit(struct job_submission *s);

/* Any thread. Several at once, linked by next, each as by job_submit; recorded in one transaction
 * and in this order. One may take the outputs of those before it. With a key: the first of them
 * finds out whether the batch came before; then every one is a watch on the job of its own line, or
 * is refused with ERR_idempotency_key_reused when that line was refused then. */
void job_submit_batch(struct job_submission *first);

/* Any thread. Waits for an unfinished job. -1 with ERR_job_unknown when no unfinished job has this
 * id (the caller then asks the store). */
void job_watch(const struct id *id, struct job_wait *w);

/* Any thread. Cancels an unfinished job; answers when it is terminal (or at the deadline).
 * -1 with ERR_job_unknown as above. A job that finished first keeps its end: the answer shows it.
 */
void job_cancel(const struct id *id, struct job_wait *w);

/* Any thread; at most once a wait. Wakes w soon with gone = true, if it is still waiting. May come
 * before job_submit/job_watch/job_cancel, which must then follow. Must not run while the owner
 * frees w: whoever calls it holds off the owner until it returns (http.c's watch does). */
void job_wait_drop(struct job_wait *w);

/* ---- below: core thread only ---- */

struct comm;
struct gather;

/* One rank's part: its place in the queue of one world rank, and whether it has reported. */
struct job_rank_link {
    struct job *job;
    RB_ENTRY(job_rank_link) queued;            /* scheduler.c's */
    struct job_rank_link *next_run, *prev_run; /* workers.c's: of what the rank's worker runs */
    uint64_t cancel_us;                        /* workers.c's: CANCEL was sent then; 0: not */
    bool answered;                             /* in this attempt: DONE, FAILED or lost */
    uint64_t start_ns, end_ns;                 /* of its DONE, on our clock; 0: none came */
};

/* What scheduler.c keeps in a job. */
struct job_place {
    bool queued;    /* in the ranks' queues */
    uint64_t turn;  /* which of its owner's turns it is, among those of its priority; 0: none yet */
    uint64_t order; /* among those of a turn: when it was queued first */
    uint32_t offers; /* ranks that are ready and have this job at their head */
    int list;        /* of jobs that could start, or that wait for space */
    struct job *next, *prev;
};

struct job {
    struct job_record *record;
    uint64_t seq; /* global order, and the job's name on the worker link */
    enum job_state
        shown; /* what outsiders see: differs from the record's while its end is recorded */
    struct tensor **inputs;  /* record_needs(record) */
    struct tensor **outputs; /* n, from dispatch on; equal pointers where shared; NULL otherwise */
    struct extent **results; /* n, for outputs; NULL: they are made in the arena */
    struct tensor **kept;    /* n, once it succeeded: what its gradient needs; NULL: nothing */
    struct job_place place;
    struct job_wait *waits;
    struct core_timer timer; /* of the run, then of a record that has to be tried again */
    uint64_t event_us;       /* clock_us() of the last timeline event */
    uint64_t
        received_at_us; /* clock_us() at which it was received; may be "before 0" after a restart */
    uint32_t pending;   /* ranks whose DONE, FAILED or death is still to come */
    uint32_t done;      /* ranks whose DONE has come */
    uint64_t first_start_ns, last_end_ns;
    struct gather *gather; /* call.c's: the calls that make it; NULL: one request did */
    struct promise
        *promised;   /* job_promise.c's, as are the next four: its outputs that others wait for */
    uint32_t awaits; /* its inputs that are promises, as the database knows it */
    bool held;       /* recorded, and waiting for them */
    struct job *next_unsettled;
    struct job *next_walk; /* promises_circle's, as is the next one */
    uint64_t walk;
    struct comm *comm;       /* workers.c's: the group as the workers know it */
    struct stage *stage;     /* stage.c's: of this attempt, on other hosts; NULL: on none */
    uint64_t reserved_bytes; /* of its owner's quota, for outputs that are not made yet */
    bool attempt_stored;     /* the database counts the next run already */
    bool batched;            /* this attempt runs together with other jobs */
    bool alone;              /* no attempt does any more: one that did went wrong */
    bool again;              /* this attempt has failed for no fault of the job's: run again */
    bool crashed;            /* in this attempt a rank's worker died */
    uint32_t spared;         /* attempts that do not count: another's fault, or another server's */
    bool cancelling;         /* CANCEL was sent; end and why hold how it will end */
    enum job_state end;
    struct err *why;                 /* owned; NULL unless something went wrong in this attempt */
    struct job *next_id, *next_seq;  /* in the tables' buckets */
    struct job *next_all, *prev_all; /* unfinished jobs, by id */
    struct job_rank_link links[];    /* n */
};

int job_table_init(uint64_t retain_us, struct err *e);

/* Forgets every job, as a crash would: the database keeps the unfinished ones. After core_stop and
 * store_stop. */
void job_table_fini(void);

/* The one writer of a state: asserts that the move is in states.def, stamps the timeline, logs one
 * line, takes it into or out of the ranks' queues, and hands a terminal job to the store, whose
 * answer wakes the waiters and forgets the job. why is kept as the record's error for failed and
 * cancelled; NULL otherwise. */
void job_move(struct job *j, enum job_state to, const struct err *why);

/* What became of an attempt to start a job; scheduler.c asks. */
enum job_begun {
    JOB_BEGUN,   /* it runs, or it ended: it is in no queue any more */
    JOB_BLOCKED, /* no room in the arena until another job ends: ask again then */
};

/* Allocates the outputs and runs it, and with a small job the small ones that follow it on the same
 * ranks; or fails it with ERR_arena_full when no room can come. */
enum job_begun job_begin(struct job *j);

/* From stage.c: bytes that the job waited for are where they belong, or (why) will not be. */
void job_staged(struct job *j, const struct err *why);

/* From workers.c: what became of one rank's part. What does not match the running attempt, or comes
 * twice, is dropped and counted. Times are on the worker's CLOCK_MONOTONIC, which is ours unless it
 * lives in another time namespace or on another machine. */
void job_rank_done(uint64_t seq, uint32_t attempt, uint32_t world_rank, uint64_t start_ns,
                   uint64_t end_ns);
void job_rank_failed(uint64_t seq, uint32_t attempt, uint32_t world_rank, const struct err *why);
void job_rank_lost(uint64_t seq, uint32_t attempt, uint32_t world_rank, const char *how);

/* A rank's worker was given up, and its end is not known yet: the attempt comes to nothing, and its
 * other ranks are stopped meanwhile. It is over when they have answered and that worker has ended.
 * May be said again. */
void job_rank_away(struct job *j);

/* A frame that names no live attempt was dropped. */
void job_count_late(void);

/* Recovery: an unfinished job from the store, queued again. Takes record and inputs, also on
 * failure. */
int job_restore(struct job_record *record, struct tensor **inputs, struct err *e);

/* Recovery, when all unfinished jobs are there: those that take outputs of others wait for them, or
 * are queued. */
void job_restore_waiting(void);

/* A finished job's record as failed without running (inputs lost at recovery). Takes record. */
int job_restore_failed(struct job_record *record, const struct err *why, struct err *e);

struct job *job_find_seq(uint64_t seq);

/* A copy of an unfinished job's record; NULL when there is none, or no memory. */
struct job_record *job_copy(const struct id *id);

/* Copies of unfinished jobs' records, newest first, older than `before` (zero: from the newest)
 * that keep() accepts; up to max. Any thread may ask through job_list_post in api_jobs. */
uint32_t job_list(const struct id *before, bool (*keep)(const struct job_record *, void *),
                  void *arg, struct job_record **out, uint32_t max);

/* No new jobs (ERR_draining), and queued ones stay queued; their waits are answered. */
void job_drain(void);

/* Answers every wait that is left: running jobs had their time. */
void job_drain_waits(void);

/* Any thread. Is nothing running, and nothing being recorded? */
bool job_idle(void);

struct job_counts {
    uint64_t waiting, queued, running;              /* now */
    uint64_t succeeded, failed, cancelled, retried; /* since start */
    uint64_t late;                                  /* answers of workers that came too late */
};
void job_counts(struct job_counts *out); /* any thread: relaxed atomics */

/* Every unfinished job is in a legal place: for tests and the invariant checker. Returns 0 or -1.
 */
int job_check(struct err *e);

#endif
