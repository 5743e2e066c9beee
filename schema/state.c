/* state.c - the rows of states.def. */
#include "schema/state.h"

#include <string.h>

#define TO(name) (1u << JOB_##name)
static const struct {
    const char *name;
    unsigned to;
} jobs[JOB_STATE_COUNT] = {
#define JOB_STATE(name, to) [JOB_##name] = {#name, to},
#include "schema/states.def"
#undef JOB_STATE
};
#undef TO

#define TO(name) (1u << WORKER_##name)
static const struct {
    const char *name;
    unsigned to;
} workers[WORKER_STATE_COUNT] = {
#define WORKER_STATE(name, to) [WORKER_##name] = {#name, to},
#include "schema/states.def"
#undef WORKER_STATE
};
#undef TO

const char *job_state_name(enum job_state s)
{
    return jobs[s].name;
}

const char *worker_state_name(enum worker_state s)
{
    return workers[s].name;
}

int job_state_find(const char *name, size_t len, enum job_state *out)
{
    for (int i = 0; i < JOB_STATE_COUNT; i++) {
        if (strlen(jobs[i].name) == len && memcmp(jobs[i].name, name, len) == 0) {
            *out = (enum job_state)i;
            return 0;
        }
    }
    return -1;
}

bool job_state_may(enum job_state from, enum job_state to)
{
    return jobs[from].to >> to & 1;
}

bool worker_state_may(enum worker_state from, enum worker_state to)
{
    return workers[from].to >> to & 1;
}

bool job_state_terminal(enum job_state s)
{
    return jobs[s].to == 0;
}
