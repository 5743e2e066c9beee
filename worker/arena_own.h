/* arena_own.h - the arena of a host where the server's is not to be seen: a file that the workers
 * of one directory share, made by the first of them.
 *
 * What is in it is the server's to say. While a worker lives it holds a lock on the byte whose
 * offset is its epoch, so that another can tell the server whether it may still write.
 */
#ifndef TUTTI_WORKER_ARENA_OWN_H
#define TUTTI_WORKER_ARENA_OWN_H

#include "schema/error.h"

#include <stdbool.h>
#include <stdint.h>

#define ARENA_OWN_DIR_BYTES 256

/* /dev/shm/tutti-worker-UID. */
void arena_own_default_dir(char out[ARENA_OWN_DIR_BYTES]);

struct arena_own {
    uint64_t nonce, size_bytes;
    int map_fd; /* the caller's */
};

/* Joins the file of this session of the server when a worker that holds it lives, else makes it
 * size_bytes long; dir is made (0700) when it is missing. Main thread, once. Returns 0, or -1 with
 * ERR_refused, a sentence about this machine. */
int arena_own_open(const char *dir, uint64_t size_bytes, uint64_t session, uint64_t epoch,
                   struct arena_own *out, struct err *e);

/* Does a worker hold the lock of this epoch? When that cannot be found out, one does. */
bool arena_own_held(uint64_t epoch);

/* Pages for the range, by whole chunks, once each. The data channel's thread. Returns 0, or -1: the
 * filesystem is full, or the range leaves the arena. */
int arena_own_reserve(uint64_t offset, uint64_t size_bytes);

/* The server does not want this file any more: the next worker makes another. */
void arena_own_condemn(void);

/* Our end: the last of its workers gives the memory back. One that is killed leaves that to the
 * next which starts in the directory. */
void arena_own_close(void);

#endif
