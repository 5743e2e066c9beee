/* api_refs.h - outputs of jobs that a body names as inputs: {"job": "j_...", "rank": 0}.
 *
 * Whether a job has ended the core knows, and the record of one that has is in the database. So a
 * body is read twice where it names jobs: the first time says which, they are looked up, and the
 * second time finds them. One request, one thread at a time.
 */
#ifndef TUTTI_SERVER_API_REFS_H
#define TUTTI_SERVER_API_REFS_H

#include "server/api.h"
#include "server/job_promise.h"

/* Before the body is read, each time: rq->jobs finds outputs from now on. Returns 0 or -1. */
int refs_begin(struct request *rq, struct err *e);

/* A line of a body of lines: what it became, or whether its own jobs are to be looked up first;
 * neither when it was refused. */
struct ref_line {
    struct job_submission *s;
    bool wanted;
};

/* In such a body: which line is read next. Those before it are in lines[]. */
void refs_line(struct request *rq, uint32_t line, const struct ref_line *lines);

/* Reading failed with e. If that is because outputs have to be looked up first, suspends, and then
 * calls again, from the start. Returns SUSPENDED, or -1. */
int refs_find(struct request *rq, int (*again)(struct request *, struct err *), struct err *e);

/* The body has been read. */
void refs_end(struct request *rq);

#endif
