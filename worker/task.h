/* task.h - one RUN frame to checked pointers and shapes. Main thread. */
#ifndef TUTTI_WORKER_TASK_H
#define TUTTI_WORKER_TASK_H

#include "schema/frame.h"
#include "worker/backend.h"

/* Checks everything again on this side of the wire: op, dtype, ranks, shapes, and that every offset
 * spans its whole tensor inside the arena. n and rank are the seat's.
 * Returns 0, or -1 with ERR_worker_failed; task is then not to be used. */
int task_prepare(const struct frame_run *run, uint32_t n, uint32_t rank, struct task *task,
                 struct err *e);

#endif
