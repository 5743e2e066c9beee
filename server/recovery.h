/* recovery.h - from the database and the arena to tables in memory, at start. Main thread, before
 * the core, the store's writer and http start. */
#ifndef TUTTI_SERVER_RECOVERY_H
#define TUTTI_SERVER_RECOVERY_H

#include "schema/error.h"

#include <stdbool.h>

/* arena_kept: are old extents valid? If not every stored tensor is marked lost, and unfinished jobs
 * whose inputs were bytes end failed: inputs_lost. Logs one line with the counts. Returns 0 or -1.
 */
int recover(bool arena_kept, struct err *e);

#endif
