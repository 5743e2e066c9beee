/* fence.h - no worker of a dead server may write into the arena once its extents are given out
 * again.
 *
 * DATA_DIR/fence is a file that nobody reads. Each worker is handed a descriptor of an open file
 * description of its own that holds a shared flock on it, and the server keeps none: the kernel
 * holds the lock exactly as long as some worker process lives, whatever became of the server. A
 * server that starts waits until it can have the lock for itself. DATA_DIR/workers.pids says whom
 * to kill meanwhile.
 *
 * Core thread, or main thread before it starts.
 */
#ifndef TUTTI_SERVER_FENCE_H
#define TUTTI_SERVER_FENCE_H

#include "schema/error.h"

#include <stdint.h>
#include <sys/types.h>

/* Waits until no worker of an earlier server is left, killing those that workers.pids names and
 * that are still the same tutti-worker processes. Returns 0, or -1 with ERR_link naming the pids
 * that stayed. */
int fence_open(const char *data_dir, struct err *e);

void fence_close(void);

/* A descriptor that holds the fence, to be sent to a worker and then closed here. */
int fence_pass(int *fd, struct err *e);

/* Writes down who holds a rank from now on; before it is sent anything that lets it write. */
int fence_record(uint32_t rank, pid_t pid, struct err *e);

#endif
