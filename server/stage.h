/* stage.h - a job whose ranks are on other hosts: its inputs go there before it runs, its outputs
 * come back before it has succeeded. Core thread.
 *
 * A job takes all the room that it needs on every host before anything moves, or none: jobs never
 * wait for each other in a circle. Where the ranks are all on the server's machine there is no
 * stage, and nothing here costs them more than a look at a pointer.
 */
#ifndef TUTTI_SERVER_STAGE_H
#define TUTTI_SERVER_STAGE_H

#include "server/host.h"
#include "server/job.h"

struct stage; /* of a job that runs; opaque */

/* It waits for its turn: what it needs may go ahead of it. */
void stage_ahead(const struct job *j);

/* Is this a job on other hosts of which no rank has to do anything? Its outputs are its input's own
 * bytes, or it has none: the server alone ends it. */
bool stage_skips(const struct job_record *r);

/* j->stage, and the room, for a job with outputs; NULL where none is needed. Returns 0; 1: no room
 * yet, scheduler_freed tells; or -1 with ERR_arena_full, ERR_no_memory. */
int stage_make(struct job *j, struct err *e);

/* Would this job's tensors never fit into the arena of one of its hosts? */
bool stage_too_large(const struct job *j);

/* Sends what is not there yet. job_staged tells; perhaps before this returns. */
void stage_send(struct job *j);

/* Every rank is done: begins to fetch what is not here. false: nothing is. job_staged tells. */
bool stage_fetch(struct job *j);

/* Are bytes on their way, for which the job waits? And has no rank been told of it? */
bool stage_waits(const struct job *j);
bool stage_sends(const struct job *j);

/* The name of a host that is waited for. */
const char *stage_waits_for(const struct job *j);

/* Ends it; what is on its way and wanted by nobody else stops. Nobody writes to its outputs. NULL
 * is fine. */
void stage_drop(struct job *j);

/* Offsets in the arena of that host (NULL: the server's) of what group rank i needs (i in
 * 0..record_needs) and gets; FRAME_NO_OFFSET: it is on another, or nothing. */
uint64_t stage_need(const struct job *j, uint32_t i, const struct host *h);
uint64_t stage_output(const struct job *j, uint32_t i, const struct host *h);

#endif
