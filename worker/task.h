/* task.h - one RUN frame to checked pointers and shapes. Main thread. */
#ifndef TUTTI_WORKER_TASK_H
#define TUTTI_WORKER_TASK_H

#include "schema/frame.h"
#include "worker/backend.h"

/* Checks everything again on this side of the wire: op, dtype, ranks, shapes, and that every offset
 * spans its whole tensor inside the arena; of ranks on other hosts there is none. n, rank and hosts
 * are the seat's.
 * Returns a task to be freed by free(), or NULL with ERR_worker_failed or ERR_no_memory. */
struct task *task_new(const struct frame_run *run, uint32_t n, uint32_t rank, const uint32_t *hosts,
                      struct err *e);

#endif
