/* across.h - groups that span hosts: the backend that carries them, beside the worker's own, and
 * what its ranks tell each other through the server. Main thread. */
#ifndef TUTTI_WORKER_ACROSS_H
#define TUTTI_WORKER_ACROSS_H

#include "worker/backend.h"

/* Opens b, beside the worker's own. Returns 0 or -1. */
int across_open(const struct backend *b, const struct place *at, struct err *e);
void across_close(void);

const struct backend *across_backend(void); /* NULL: there is none */

/* The backend called name: own, on device, or this one; sets both. Returns 0, or -1 with ERR_link.
 */
int across_choose(const char *name, const struct backend **own, struct device **device,
                  struct err *e);

/* For struct place. */
store_put_fn across_put;

#endif
