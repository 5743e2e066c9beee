/* durable.h - must what was acknowledged survive a loss of power? Then where, and the directories.
 *
 * Without --durable nothing here is called. With it tensors are on a disk (arena.c, extent.c), and
 * their bytes before the rows that name them (store_flush.c).
 */
#ifndef TUTTI_SERVER_DURABLE_H
#define TUTTI_SERVER_DURABLE_H

#include "schema/error.h"

#include <stdbool.h>

extern bool durable; /* set once, before anything is opened */

/* A directory in memory (tmpfs, ramfs) keeps nothing: -1 with code, and an option that says where
 * to go. */
int durable_check_dir(const char *dir, const char *option, enum err_code code, struct err *e);

/* The names in dir, and its own above it, are on the disk from here on. Returns 0, or -1 with code.
 */
int durable_sync_dir(const char *dir, enum err_code code, struct err *e);

#endif
