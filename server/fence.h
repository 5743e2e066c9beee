/* fence.h - no worker of a dead server may write into the arena once its extents are given out
 * again.
 *
 * ARENA_DIR/fence is a file that nobody reads. Each worker is handed a descriptor of an open file
 * description of its own that holds a shared flock on it, and the server keeps none: the kernel
 * holds the lock exactly as long as some worker process lives, whatever became of the server. A
 * server that starts waits until it can have the lock for itself. ARENA_DIR/workers.pids says whom
 * to kill meanwhile.
 *
 * Over TCP no descriptor can be handed on. Such a worker, which is on this machine too, opens the
 * file by its name and takes a shared flock as the others. It, and a worker on the Unix socket
 * whose process we do not see, takes a POSIX record lock on the byte whose offset is its epoch. So
 * the kernel knows for each of them whether it lives, and mostly who it is.
 *
 * Core thread, or main thread before it starts.
 */
#ifndef TUTTI_SERVER_FENCE_H
#define TUTTI_SERVER_FENCE_H

#include "schema/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Waits until no worker of an earlier server is left, killing those that workers.pids names and
 * that are still the same tutti-worker processes. Returns 0, or -1 with ERR_link naming the pids
 * that stayed. */
int fence_open(const char *data_dir, struct err *e);

void fence_close(void);

/* A descriptor that holds the fence, to be sent to a worker and then closed here. */
int fence_pass(int *fd, struct err *e);

/* The file's name; "" before fence_open. */
const char *fence_path(void);

/* Does somebody hold the lock of this epoch? pid is then who, 0 when it is outside our process
 * namespace. When that cannot be found out, somebody does. */
bool fence_held(uint64_t epoch, pid_t *pid);

/* Writes down who holds a rank from now on; before it is sent anything that lets it write. */
int fence_record(uint32_t rank, pid_t pid, struct err *e);

#endif
