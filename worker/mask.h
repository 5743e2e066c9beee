/* mask.h - gradients of maxima and minima: a linear collective whose elements count only where a
 * rank's tensor has the largest (smallest) of all ranks' tensors.
 *
 * AFTER: output of rank r = linear(inputs) where masks[r] equals the largest of all masks, else 0.
 * BEFORE: outputs = linear(x), x of rank r = its input where masks[r] equals it, else 0.
 * Equal is what == says of numbers: zeros of both signs are, NaN is not; every rank that ties
 * keeps.
 *
 * On the CPU and in the arena for every backend (but for groups that span hosts, see backend.h): it
 * reads all ranks' inputs in place, as the shared-memory backend does, and every rank writes its
 * share of all outputs. Main thread. Source: the derivative of a maximum is that of the argument
 * that is it.
 */
#ifndef TUTTI_WORKER_MASK_H
#define TUTTI_WORKER_MASK_H

#include "worker/backend.h"

struct masking;

/* out = value where mask equals best, else 0; count elements. No alignment is needed. Any thread.
 */
void mask_select(enum dtype d, uint8_t *out, const uint8_t *mask, const uint8_t *best,
                 const uint8_t *value, size_t count);

/* t, whose mask is not MASK_NONE, stays the caller's and as it is until mask_end. NULL: out of
 * memory. */
struct masking *mask_begin(const struct task *t);

/* Works for a short while. Returns 1 when it is complete: *out is set; else 0. */
int mask_poll(struct masking *m, struct done *out);

uint64_t mask_progress(const struct masking *m); /* bytes of one tensor that it has been through */

void mask_end(struct masking *m); /* at any time; nothing is written after. NULL is ignored */

#endif
