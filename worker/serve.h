/* serve.h - the frame loop: JOIN, RUN, CANCEL, LEAVE, FETCH, DROP, STOP; work a quantum, report.
 * Main thread. */
#ifndef TUTTI_WORKER_SERVE_H
#define TUTTI_WORKER_SERVE_H

#include "schema/error.h"
#include "worker/backend.h"

#include <signal.h>
#include <stdint.h>

/* Set by SIGTERM: finish what runs, then leave. */
extern volatile sig_atomic_t serve_stopping;

/* Serves until STOP or SIGTERM (returns 0) or until the link breaks (-1 with ERR_link). */
int serve(const struct backend *backend, struct device *device, uint64_t epoch, struct err *e);

/* Bytes written of the task at hand. Any thread: for heartbeats. */
uint64_t serve_progress(void);

#endif
