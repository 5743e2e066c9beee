/* masked.h - gradients of maxima and minima (mask.h) whose ranks are on several hosts. The
 * communicator's thread. */
#ifndef TUTTI_WORKER_GLOO_MASKED_H
#define TUTTI_WORKER_GLOO_MASKED_H

#include "worker/gloo/flow.h"

/* apart: the group with every rank by itself. As flow_run. */
int masked_run(struct flow *f, const struct map *apart, const struct task *t, struct err *e);

#endif
