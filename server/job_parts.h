/* job_parts.h - what job.c, job_table.c, job_run.c, job_output.c and job_wait.c share; nobody else
 * includes it. Core thread. */
#ifndef TUTTI_SERVER_JOB_PARTS_H
#define TUTTI_SERVER_JOB_PARTS_H

#include "server/job.h"

/* ---- job_table.c ---- */

/* A job that is in no table yet. Takes record and inputs; on failure (no memory) it does not. */
struct job *job_new(struct job_record *record, struct tensor **inputs, struct err *e);
void job_free(struct job *j); /* and all it holds; in no table */

void job_enter(struct job *j); /* into the tables; gives it its place in the global order */
void job_leave(struct job *j);
struct job *job_find(const struct id *id);

/* Room for one more unfinished job, of this owner? Counts it. Returns 0, or -1 with ERR_draining,
 * ERR_too_many_jobs or ERR_quota. */
int job_count_in(struct account *owner, struct err *e);
void job_count_out(struct account *owner);

void job_show(struct job *j, enum job_state s); /* what outsiders see, and the counters */
void job_tell(const struct job *j); /* those who follow: its state, or who has come, is another */
void job_count_retry(void);
void job_count_ending(int change); /* jobs whose end is being recorded */

/* A copy of the record as outsiders may see it; NULL when out of memory. */
struct job_record *job_snapshot(const struct job *j);

/* The service drains, and nothing more will happen to this job. */
bool job_stuck(const struct job *j);

uint64_t job_retain_us(void);

/* ---- job.c ---- */

/* A submission reached the core. Takes s. */
void job_admit(struct job_submission *s);

/* ---- job_promise.c ---- */

/* Puts outputs that are there by now in the place of their promises. Returns how many are still
 * promised, or -1 with ERR_input_failed and the rank. */
int promises_take(struct job *j, struct err *e);

/* j is recorded: it is queued, or waits for its inputs, or fails because one will never be. */
void promises_wait(struct job *j);

/* Says in r, a copy of its record, whose outputs j waits for; nothing when memory is short. */
void promises_name(const struct job *j, struct job_record *r);

/* Does j, whose inputs came one by one, wait for itself in the end? No other job can. */
bool promises_circle(struct job *j);

/* j waits no more. */
void promises_drop(struct job *j);

/* j has come to its end, or will not be: those that wait for its outputs have them, or fail. */
void promises_over(struct job *j);
void promises_refused(struct promise **list, const struct err *why);

/* What waits for the submission waits for the job that it became. */
void promises_share(struct job *j, struct job_submission *s);

/* Recovery: finds what its inputs were promised; then as promises_wait. */
void promises_restore(struct job *j);

/* ---- job_run.c ---- */

/* Ends a running attempt early, as `end` with why, once every rank has answered. */
void job_stop_run(struct job *j, enum job_state end, const struct err *why);

/* ---- job_output.c ---- */

/* Has the pages made that its outputs will most likely lie on, so that the core need not wait for
 * them. Any thread. */
void job_outputs_warm(const struct job_record *r);

/* Tensors for the outputs, their extents allocated. Returns 0, or -1 with nothing made. */
int job_outputs_make(struct job *j, struct err *e);

/* The owner pays for the outputs from the moment that the job is accepted, so that none fails for
 * want of quota once it was: what they will take is set aside until they are made. Returns 0, or -1
 * with ERR_quota. */
int job_reserve(struct job *j, struct err *e);
void job_reserve_again(struct job *j); /* of a job that was accepted before */
void job_unreserve(struct job *j);     /* nothing set aside is fine */

void job_outputs_name(struct job *j);    /* ids into the record; when they may expire */
void job_outputs_publish(struct job *j); /* into the tensor table */
void job_outputs_drop(struct job *j);
void job_inputs_drop(struct job *j);

/* What its gradient needs gets ids and names of its own, so that it lives as long as the outputs,
 * whatever becomes of the inputs. Out of memory, nothing is kept. */
void job_kept_make(struct job *j);
void job_kept_drop(struct job *j);

/* Can the arena never hold this job's outputs, however empty it is? */
bool job_outputs_too_large(const struct job *j);

/* ---- job_wait.c ---- */

/* Puts w on j, or answers it at once when it does not want to wait or nothing will happen. */
void job_wait_attach(struct job *j, struct job_wait *w);
void job_wait_refuse(struct job_wait *w, const struct err *e);
void job_wait_refuse_unknown(struct job_wait *w); /* w->id has ended: the store knows it */
void job_waits_told(struct job *j, uint64_t number, const struct err *failed); /* up to number */
void job_cancel_now(struct job *j);
void job_waits_answer(struct job *j); /* every wait on it, with its present state */
void job_waits_refuse(struct job *j); /* with ERR_job_unknown: the store knows it */

#endif
