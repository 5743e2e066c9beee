/* plan.c - how a task is cut into chunks: which rows of the host's tensors each block is made of.
 *
 * A block is what one rank has for one other. Split and joined axes are rows of the host tensors,
 * so the copies in and out do them, and the collective between is always that of axis 0.
 */
#include "worker/nccl/nccl_parts.h"
#include "schema/layout.h"

#define GRAIN 64 /* chunks are cut at multiples of this: whole elements, aligned */

static struct rows whole(uint64_t bytes)
{
    return (struct rows){.len = bytes, .stride = bytes};
}

/* Block 0 of n along the axis of a tensor whose part there is part_axis long. */
static struct rows part(const struct task *t, const struct layout *l, uint64_t part_axis)
{
    uint64_t len = part_axis * l->inner * dtypes[t->dtype].size_bytes;

    return (struct rows){.len = len, .stride = len * t->n};
}

static bool splits(const struct op *op)
{
    return op->dim == DIM_SHRINK || op->dim == DIM_SHUFFLE;
}

static bool joins(const struct op *op)
{
    return op->dim == DIM_GROW || op->dim == DIM_SHUFFLE;
}

static void plan_rows(const struct task *t, struct plan *p)
{
    struct shape block = t->in;

    p->from = p->to = whole(p->bytes);
    if (splits(t->op)) {
        uint32_t axis = op_axis(t->params.split_axis, t->in.ndim);
        struct layout l = layout_of(&t->in, axis);

        p->from = part(t, &l, l.axis / t->n);
        p->from_step = p->from.len;
        block.dim[axis] /= t->n;
    }
    if (joins(t->op)) {
        uint32_t axis = op_axis(t->params.concat_axis, t->in.ndim);
        struct layout l = layout_of(&block, axis);

        p->to = part(t, &l, l.axis);
        p->to_step = p->to.len;
    }
}

void nccl_plan(struct comm *c)
{
    const struct task *t = &c->task;
    struct plan *p = &c->plan;
    uint32_t blocks = splits(t->op) || joins(t->op) ? t->n : 1;

    *p = (struct plan){.bytes = splits(t->op) ? t->in_bytes / t->n : t->in_bytes,
                       .src = t->inputs[c->rank],
                       .dst = t->outputs[c->rank],
                       .shared = op_shares_output(t->op)};
    p->in_blocks = !p->src ? 0 : splits(t->op) ? t->n : 1;
    p->out_blocks = !p->dst ? 0 : joins(t->op) ? t->n : 1;
    p->chunk_bytes = SLOT_BYTES / blocks / GRAIN * GRAIN;
    plan_rows(t, p);
    c->begun = c->ended = 0;
    c->chunks = (p->bytes + p->chunk_bytes - 1) / p->chunk_bytes;
    /* A view of an input is there already; a rank that neither gives nor gets has nothing to do. */
    if (op_is_view(t->op, &t->params, t->n, &t->in) || (!p->in_blocks && !p->out_blocks))
        c->chunks = 0;
}
