/* sandbox.h - what a worker may still ask of the system once it serves. */
#ifndef TUTTI_WORKER_SANDBOX_H
#define TUTTI_WORKER_SANDBOX_H

#include "worker/backend.h"

/* After the link, the arena and the device are open, and the threads started. A backend of memory
 * alone keeps what reading frames and computing needs: it opens no file, makes no socket, starts
 * nothing, and makes no memory executable. family: of the socket that its host's data channel is
 * made anew with, 0: it has none. Any other loses what is in schema/denied.def. Best effort: a
 * kernel that cannot is said in the log. Main thread. */
void sandbox_worker(const struct backend *backend, int family);

#endif
