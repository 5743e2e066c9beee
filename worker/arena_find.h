/* arena_find.h - the arena and the fence by their names, for a worker that got no descriptors. */
#ifndef TUTTI_WORKER_ARENA_FIND_H
#define TUTTI_WORKER_ARENA_FIND_H

#include "schema/error.h"
#include "schema/frame.h"

#include <stdbool.h>

/* Opens both and takes the fence's locks, first; what is found is the server's, of this boot of
 * this machine, or nothing is. dir: where to look instead of where WELCOME says, as in a container
 * that has the server's volume elsewhere; "": there. The fence's descriptor has to stay open, and
 * no other may be closed that is of the same file: the kernel would drop the lock. Returns 0, or -1
 * with ERR_refused, a sentence about this machine. */
int arena_find(const struct frame_welcome *w, const char *dir, int *arena_fd, int *fence_fd,
               struct err *e);

/* Is this the machine, and the boot of it, that the server runs on? */
bool arena_find_same_boot(const char *boot_id);

/* Takes the fence's locks through a descriptor that we got; the same holds of it. Returns 0, or -1
 * with ERR_refused. */
int fence_take(int fd, uint64_t epoch, struct err *e);

#endif
