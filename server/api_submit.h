/* api_submit.h - from a request's parameters and body to a job that can be submitted. One request,
 * one thread. */
#ifndef TUTTI_SERVER_API_SUBMIT_H
#define TUTTI_SERVER_API_SUBMIT_H

#include "server/api.h"
#include "server/region.h"

/* Reads the JSON body's members into rq->params, those of `where`, and finds its `inputs`, or what
 * `name` calls it. Does nothing for other bodies. Returns 0 or -1. */
int submit_read_members(struct request *rq, unsigned where, const char *name,
                        struct json_span *inputs, bool *has_inputs, struct err *e);

/* Everything but the inputs: op, group, parameters. The record is the caller's. Returns 0 or -1. */
int submit_read_record(const struct request *rq, struct job_record **out, struct err *e);

/* The same for a call of rank `rank` of the group g: a pair's other end is named, and this one is
 * itself. */
int submit_read_call(const struct request *rq, const struct group *g, uint32_t rank,
                     struct job_record **out, struct err *e);

/* Idempotency-Key as it came into key[LIMIT_KEY_BYTES + 1], "" when there is none. Returns 0, or -1
 * with ERR_bad_header. */
int submit_read_key(const struct request *rq, char *key, struct err *e);

/* The same, as a key of the account's own: into key[LIMIT_FULL_KEY_BYTES + 1]. */
int submit_read_own_key(const struct request *rq, char *key, struct err *e);

/* One tensor per rank (NULL where none is given), checked against each other and the op; sets the
 * record's dtype and shapes. tensors has room for r->n. */
int submit_read_inputs(struct request *rq, const struct json_span *inputs, bool has_inputs,
                       struct job_record *r, struct tensor **tensors, struct err *e);

/* In place of `*t`, when it lies where a client may write and the job would keep it past its end,
 * or pass it on as an output: a copy, in `into` (NULL: the arena). Returns 0, or -1. api_lane.c. */
int lane_settle(const struct request *rq, const struct job_record *r, struct region *into,
                struct tensor **t, struct err *e);

/* The same of all n inputs, and where the outputs go that a job wants in a results region. */
int lane_settle_all(const struct request *rq, const struct job_record *r, struct tensor **t,
                    struct err *e);
int lane_results(const struct request *rq, struct job_submission *s, struct err *e);

/* The dtype of JSON lists that do not name theirs. */
enum dtype submit_json_dtype(const struct request *rq, const struct job_record *r);

/* The record of the gradient of `of`, and what the request says of how it runs. g: the group of a
 * call, else NULL. Returns 0, or -1 as backward_record does. */
int submit_read_gradient(const struct request *rq, const struct job_record *of,
                         const struct group *g, struct job_record **out, struct err *e);

/* The gradients that came, one a rank that has an output; NULL where none did. tensors has room for
 * r->n. Returns 0, or -1 with ERR_grads_invalid and a pointer. */
int submit_read_grads(struct request *rq, const struct json_span *grads, bool has_grads,
                      const struct job_record *r, struct tensor **tensors, struct err *e);

/* Has this gradient the shape and dtype of the output of group rank `rank`? NULL has. Returns 0, or
 * -1 with ERR_grads_invalid. */
int submit_check_grad(const struct job_record *r, const struct tensor *t, uint32_t rank,
                      struct err *e);

/* Checks that the answer can be said, suspends the request and submits. Takes s, all of it made by
 * malloc. Returns SUSPENDED or -1. api_jobs.c. */
int submission_post(struct request *rq, struct job_submission *s, struct err *e);
void submission_free(struct job_submission *s); /* NULL is ignored */

/* What the request's parameters, and its body's members of `where`, ask for; NULL with e. Two of a
 * batch that one links are freed the later one first. api_jobs.c. */
struct job_submission *submission_read(struct request *rq, unsigned where, struct err *e);

/* Suspends until the job is looked up; then `then` runs, and parent_found gives the record, the
 * caller's, or -1 with ERR_job_unknown. api_backward.c. */
int parent_find(struct request *rq, const struct id *id,
                int (*then)(struct request *, struct err *), struct err *e);
int parent_found(struct request *rq, struct job_record **out, struct err *e);

/* Does a tensor of the body have the dtype, and if `shaped` the shape, that the query states?
 * Returns 0, or -1 with ERR_conflicting_parameter. */
int submit_check_stated(const struct params *p, const struct tensor *t, bool shaped, struct err *e);

/* XXH3-128 of how a request in JSON is written: its body, and what the query says of the job. */
void submit_text_digest(const struct request *rq, uint8_t digest[16]);

/* XXH3-128 of what the request means: op, parameters, group, inputs. */
int submit_digest(const struct job_record *r, struct tensor *const *tensors, uint8_t digest[16],
                  struct err *e);

#endif
