/* core_timers.h - the core thread's timers by due time. Core thread only; core.h has the rest. */
#ifndef TUTTI_SERVER_CORE_TIMERS_H
#define TUTTI_SERVER_CORE_TIMERS_H

#include "server/core.h"

/* When the first is due, in clock_us(); UINT64_MAX when none is set. */
uint64_t core_timers_next(void);

/* Fires everything that is due at now_us, in order. */
void core_timers_fire(uint64_t now_us);

void core_timers_fini(void);

#endif
