/* job_promise.h - jobs that take outputs of jobs that have not ended.
 *
 * Such an input is a promise (promise.h) when the job is admitted. The job is recorded with it, and
 * waits; when the other job has ended its output takes the promise's place, or this job fails with
 * ERR_input_failed.
 */
#ifndef TUTTI_SERVER_JOB_PROMISE_H
#define TUTTI_SERVER_JOB_PROMISE_H

#include "schema/error.h"
#include "server/job.h"
#include "server/promise.h"

/* One output that is asked for. */
struct promise_question {
    struct tensor *t; /* of promise_new; the answer sets its dtype and shape */
    int rc; /* 0: it is promised; 1: no unfinished job has the id, so ask the store; -1: err */
    struct err err; /* ERR_input_unknown (no output of that rank), ERR_input_failed, ERR_job_running
                       (its calls have not said a shape yet) */
};

struct promise_ask {
    void (*done)(struct promise_ask *a); /* core thread, exactly once */
    const struct account *scope;         /* whose jobs may be named; NULL: anybody's */
    struct promise_question *q;
    uint32_t n;
    struct core_msg msg;
};

/* Any thread. Looks for the jobs, and has what is promised kept when they end. The questions are
 * the core's until done; the tensors must be kept until then. */
void promise_ask(struct promise_ask *a);

/* The answer of the record of a job that has ended, for a promise that nobody else knows yet. Any
 * thread. Returns 0, or -1 with an error of those above or ERR_tensor_lost. */
int promise_answer(struct tensor *t, const struct job_record *r, struct err *e);

/* The same of a job that is about to be submitted, in a list with one that takes its output: it
 * waits in s->promised. Any thread. */
int promise_of(struct tensor *t, struct job_submission *s, struct err *e);

#endif
