/* state.h - job and worker states and the moves between them, read from states.def.
 * Pure; safe from any thread. */
#ifndef TUTTI_SCHEMA_STATE_H
#define TUTTI_SCHEMA_STATE_H

#include <stdbool.h>
#include <stddef.h>

enum job_state {
#define JOB_STATE(name, to) JOB_##name,
#include "schema/states.def"
#undef JOB_STATE
    JOB_STATE_COUNT
};

enum worker_state {
#define WORKER_STATE(name, to) WORKER_##name,
#include "schema/states.def"
#undef WORKER_STATE
    WORKER_STATE_COUNT
};

const char *job_state_name(enum job_state s);
const char *worker_state_name(enum worker_state s);

/* The job state called name[0..len). Returns 0 or -1. */
int job_state_find(const char *name, size_t len, enum job_state *out);

/* May this move happen? */
bool job_state_may(enum job_state from, enum job_state to);
bool worker_state_may(enum worker_state from, enum worker_state to);

/* No successor: succeeded, failed, cancelled. */
bool job_state_terminal(enum job_state s);

#endif
