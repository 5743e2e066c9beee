/* cost.h - which way a reduction goes, by what the ways were measured to cost. Pure; every rank
 * comes to the same. */
#ifndef TUTTI_WORKER_GLOO_COST_H
#define TUTTI_WORKER_GLOO_COST_H

#include "worker/backend.h"
#include "worker/gloo/map.h"

/* reduces.c says what they are. */
enum way { WAY_MEET, WAY_SLICES, WAY_CHAIN };

enum way cost_all_reduce(const struct map *m, const struct task *t);
enum way cost_reduce(const struct map *m, const struct task *t); /* never in slices */
enum way cost_reduce_scatter(const struct map *m, const struct task *t);

#endif
