/* backward.h - the job that carries a job's gradient back: the adjoint of its operation's row, its
 * mask, and what stands for gradients that did not come. Any thread; nothing is shared.
 *
 * The gradients of J's outputs are the inputs of a new job, whose outputs are the gradients of J's
 * inputs. That one is a job like others, and has a gradient in turn.
 */
#ifndef TUTTI_SERVER_BACKWARD_H
#define TUTTI_SERVER_BACKWARD_H

#include "schema/error.h"
#include "server/record.h"
#include "server/tensor.h"

/* A record of the gradient of j: operation, parameters, ranks, dtype, shapes and mask; the rest is
 * the caller's to set. NULL with ERR_job_running, ERR_no_output (it failed), ERR_no_gradient (its
 * operation has none), ERR_dtype_op (bool has none) or ERR_no_memory. */
struct job_record *backward_record(const struct job_record *j, struct err *e);

/* The tensors of b's mask, which j kept, to their places in inputs (record_needs(b)): references.
 * Returns 0, or -1 with ERR_tensor_lost when they are gone. */
int backward_masks(const struct job_record *b, const struct job_record *j, struct tensor **inputs,
                   struct err *e);

/* Stands for a gradient of b that did not come: zeros, a new reference. NULL with ERR_arena_full or
 * ERR_no_memory. */
struct tensor *backward_zeros(const struct job_record *b, struct err *e);

/* Not one gradient came: b is a job of nothing, and all its outputs are null. */
void backward_nothing(struct job_record *b, struct tensor **inputs);

/* Zeros for those that did not come; nothing when none did. Returns 0 or -1. */
int backward_complete(struct job_record *b, struct tensor **inputs, struct err *e);

#endif
