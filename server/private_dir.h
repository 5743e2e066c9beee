/* private_dir.h - a directory that only we may enter, for the database and for the arena. Any
 * thread. */
#ifndef TUTTI_SERVER_PRIVATE_DIR_H
#define TUTTI_SERVER_PRIVATE_DIR_H

#include "schema/error.h"

/* Makes path, and what is missing above it, 0700. One that is there must be a directory of ours
 * that nobody else may enter; the detail says how to make it so. Returns 0, or -1 with code. */
int private_dir_make(const char *path, enum err_code code, struct err *e);

/* Takes the lock of an open file in it (flock), which ends with the process, or shortly after: a
 * child that was just being started when its server was killed has it until it is another program.
 * So one that is held is tried for LIMIT_LOCK_MS. Returns 0, or -1 with errno. */
int private_dir_lock(int fd);

#endif
