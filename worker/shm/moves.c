/* moves.c - collectives that only move bytes: each is a few strided copies. */
#include "schema/layout.h"
#include "worker/arena_map.h"
#include "worker/shm/shm.h"

static uint64_t row_bytes(const struct task *t, const struct layout *l, uint64_t axis)
{
    return axis * l->inner * dtypes[t->dtype].size_bytes;
}

/* All of a tensor as one row. */
static struct rows whole(uint64_t bytes)
{
    return (struct rows){.len = bytes, .stride = bytes};
}

/* The part of rank r, of n, along an axis of a tensor n times as long there. */
static struct rows part_rows(const struct task *t, const struct layout *l, uint64_t part_axis,
                             uint32_t r)
{
    uint64_t len = row_bytes(t, l, part_axis);

    return (struct rows){.len = len, .stride = len * t->n, .offset = len * r};
}

/* From the first to the last of bytes [lo, hi) of a piece, and what lies between them. */
static void touch(const struct rows *r, const uint8_t *base, uint64_t lo, uint64_t hi)
{
    uint64_t first = r->offset + lo / r->len * r->stride + lo % r->len;
    uint64_t last = r->offset + (hi - 1) / r->len * r->stride + (hi - 1) % r->len;

    arena_map_touch(base + first, last - first + 1);
}

static void run_move(struct work *w, uint64_t lo, uint64_t hi)
{
    w->move.stream = w->task.out_bytes >= COPY_STREAM_BYTES;
    touch(&w->move.from, w->move.src, lo, hi);
    touch(&w->move.to, w->move.dst, lo, hi);
    copy_range(&w->move, lo, hi);
}

/* One piece that is a view is none: a large one would otherwise be gone through for nothing. */
static void plan(struct work *w, uint32_t pieces, uint64_t piece_bytes,
                 void (*begin)(struct work *, uint32_t))
{
    w->pieces = piece_bytes ? pieces : 0;
    w->piece_bytes = piece_bytes;
    w->grain = 64;
    w->begin = begin;
    w->run = run_move;
    if (w->pieces == 1) {
        begin(w, 0);
        w->pieces = !copy_is_there(&w->move);
    }
}

/* ---- the one input to every output, as it is ---- */

static void begin_copy(struct work *w, uint32_t piece)
{
    const struct task *t = &w->task;
    uint32_t giver = 0;

    (void)piece;
    while (!t->inputs[giver])
        giver++;
    w->move = (struct move){.src = t->inputs[giver],
                            .dst = t->outputs[t->rank],
                            .from = whole(t->in_bytes),
                            .to = whole(t->in_bytes),
                            .total_bytes = t->in_bytes};
}

/* One output serves all ranks; it is usually a view of the input. Otherwise the first rank copies.
 */
void shm_broadcast(struct work *w)
{
    plan(w, w->task.rank == 0, w->task.in_bytes, begin_copy);
}

void shm_send_recv(struct work *w)
{
    plan(w, w->task.rank == w->task.params.dst, w->task.in_bytes, begin_copy);
}

/* The server's count of DONEs is all that ranks meet at. */
void shm_barrier(struct work *w)
{
    plan(w, 0, 0, begin_copy);
}

/* ---- joined: every rank carries its own input to where the result is ---- */

static void begin_join(struct work *w, uint32_t piece)
{
    const struct task *t = &w->task;
    uint32_t axis = op_axis(t->params.concat_axis, t->in.ndim);
    struct layout l = layout_of(&t->in, axis);

    (void)piece;
    w->move = (struct move){.src = t->inputs[t->rank],
                            .dst = t->outputs[0],
                            .from = whole(t->in_bytes),
                            .to = part_rows(t, &l, l.axis, t->rank),
                            .total_bytes = t->in_bytes};
}

void shm_all_gather(struct work *w)
{
    plan(w, 1, w->task.in_bytes, begin_join);
}

void shm_gather(struct work *w)
{
    plan(w, 1, w->task.in_bytes, begin_join);
}

/* ---- split: every rank fetches its part ---- */

static void begin_split(struct work *w, uint32_t piece)
{
    const struct task *t = &w->task;
    uint32_t axis = op_axis(t->params.split_axis, t->in.ndim);
    struct layout l = layout_of(&t->in, axis);

    (void)piece;
    w->move = (struct move){.src = t->inputs[0],
                            .dst = t->outputs[t->rank],
                            .from = part_rows(t, &l, l.axis / t->n, t->rank),
                            .to = whole(t->out_bytes),
                            .total_bytes = t->out_bytes};
}

void shm_scatter(struct work *w)
{
    plan(w, 1, w->task.out_bytes, begin_split);
}

/* ---- both: every rank fetches its part of every input and joins them ---- */

static void begin_shuffle(struct work *w, uint32_t piece)
{
    const struct task *t = &w->task;
    uint32_t split = op_axis(t->params.split_axis, t->in.ndim);
    uint32_t concat = op_axis(t->params.concat_axis, t->in.ndim);
    struct layout from = layout_of(&t->in, split), to;
    struct shape part = t->in;

    part.dim[split] /= t->n;
    to = layout_of(&part, concat);
    w->move = (struct move){.src = t->inputs[piece],
                            .dst = t->outputs[t->rank],
                            .from = part_rows(t, &from, part.dim[split], t->rank),
                            .to = part_rows(t, &to, to.axis, piece),
                            .total_bytes = t->in_bytes / t->n};
}

void shm_all_to_all(struct work *w)
{
    plan(w, w->task.n, w->task.in_bytes / w->task.n, begin_shuffle);
}
