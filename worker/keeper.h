/* keeper.h - a worker that stays: a process behind it that starts it again. */
#ifndef TUTTI_WORKER_KEEPER_H
#define TUTTI_WORKER_KEEPER_H

#include "schema/error.h"

#include <stdint.h>

/* Forks, and returns 0 in the child, which is the worker; or -1. The process that called stays
 * behind it as long as there is one: it hands on SIGTERM and SIGINT, takes away the dead (it may be
 * the first of a container), and rest_s seconds after the worker's end begins the next, a process
 * anew, so that nothing of the old one can still write to the arena. It leaves with the worker's
 * status once it was told to stop, or when that is final: what no second try can mend. */
int keeper_start(uint32_t rest_s, int final, struct err *e);

#endif
