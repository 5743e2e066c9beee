/* promise.h - the output of a job that has not ended, in the place of a tensor.
 *
 * A tensor with a promise has dtype and shape, and no bytes: it stands for the output of a group
 * rank of a job, until that job has ended and the output takes its place (job_promise.c). So
 * whatever looks at inputs before they are there sees a tensor like others.
 *
 * Its maker's until it is shared; from then on the core thread's, but for `job` and `rank`, which
 * never change.
 */
#ifndef TUTTI_SERVER_PROMISE_H
#define TUTTI_SERVER_PROMISE_H

#include "schema/error.h"
#include "server/core.h"
#include "server/tensor.h"

struct job;

struct promise {
    struct id job;
    uint32_t rank;
    bool shared;
    bool over;                    /* the job has ended: kept is there, or never will be */
    struct tensor *kept;          /* the output, a reference */
    struct err *broken;           /* why there is none; NULL: memory was short for that, too */
    struct job *by;               /* whose input it is, while that waits for it */
    struct promise *next, **prev; /* in a list; prev NULL: in none */
    struct core_msg msg;
};

/* A tensor that stands for this output; one reference. NULL only when out of memory. */
struct tensor *promise_new(const struct id *job, uint32_t rank, enum dtype d,
                           const struct shape *s);

/* Into a list of those that wait for a job; out of it. By whoever owns it now. */
void promise_enter(struct promise **list, struct promise *p);
void promise_leave(struct promise *p); /* one that is in no list is ignored */

/* It is over: the output is there (a reference is taken), or never will be (why is copied). Leaves
 * its list. */
void promise_keep(struct promise *p, struct tensor *output);
void promise_break(struct promise *p, const struct err *why);

/* From tensor_unref, any thread: nobody has the tensor any more. Takes p. */
void promise_gone(struct promise *p);

#endif
