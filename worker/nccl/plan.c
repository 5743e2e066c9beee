/* plan.c - how a task is cut into chunks: which rows of the host's tensors each block is made of.
 *
 * A block is what one rank has for one other. Split and joined axes are rows of the host tensors,
 * so the copies in and out do them, and the collective between is always that of axis 0.
 */
#include "worker/nccl/nccl_parts.h"
#include "schema/layout.h"

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

static void plan_rows(const struct task *t, struct part *p)
{
    struct shape block = t->in;

    p->in.rows = p->out.rows = whole(p->bytes);
    if (splits(t->op)) {
        uint32_t axis = op_axis(t->params.split_axis, t->in.ndim);
        struct layout l = layout_of(&t->in, axis);

        p->in.rows = part(t, &l, l.axis / t->n);
        p->in.step = p->in.rows.len;
        block.dim[axis] /= t->n;
    }
    if (joins(t->op)) {
        uint32_t axis = op_axis(t->params.concat_axis, t->in.ndim);
        struct layout l = layout_of(&block, axis);

        p->out.rows = part(t, &l, l.axis);
        p->out.step = p->out.rows.len;
    }
}

/* Each block is one run of bytes, as NCCL wants it. */
static bool is_plain(const struct end *end, uint64_t bytes)
{
    return end->rows.len >= bytes || end->rows.len == end->rows.stride;
}

static bool goes_direct(const struct part *p, const struct end *end)
{
    return end->device && is_plain(end, p->bytes) &&
           (end->blocks == 1 || p->chunk_bytes >= p->bytes);
}

/* What goes through slots goes in chunks that fit them; where nothing of any rank does, all is one
 * piece. Every rank must cut alike: only what all of them know decides. */
static void plan_chunks(const struct task *t, struct part *p)
{
    uint32_t blocks = splits(t->op) || joins(t->op) ? t->n : 1;

    p->chunk_bytes = SLOT_BYTES / blocks / GRAIN * GRAIN;
    if (t->all_held && t->resident && is_plain(&p->in, p->bytes) && is_plain(&p->out, p->bytes) &&
        p->bytes > p->chunk_bytes)
        p->chunk_bytes = p->bytes;
    p->in.direct = goes_direct(p, &p->in);
    p->out.direct = goes_direct(p, &p->out);
    p->chunks = (p->bytes + p->chunk_bytes - 1) / p->chunk_bytes;
}

void nccl_plan(struct part *p, const struct task *t, uint8_t *held, uint8_t *kept)
{
    *p = (struct part){.task = t,
                       .bytes = splits(t->op) ? t->in_bytes / t->n : t->in_bytes,
                       .shared = op_shares_output(t->op) && !t->resident};
    /* Casts away const: an input is only read from. */
    p->in.at = held ? held : (uint8_t *)(uintptr_t)t->inputs[t->rank];
    p->in.device = held != NULL;
    p->in.blocks = splits(t->op) ? t->n : 1;
    p->out.at = kept ? kept : t->outputs[t->rank];
    p->out.device = kept != NULL;
    p->out.blocks = joins(t->op) ? t->n : 1;
    plan_rows(t, p);
    plan_chunks(t, p);
    /* A view of an input is there already; a rank that neither gives nor gets has nothing to do. */
    if ((!p->in.at && !p->out.at) || (!t->resident && op_is_view(t->op, &t->params, t->n, &t->in)))
        p->chunks = 0;
}
