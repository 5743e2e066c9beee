/* reduces.c - collectives that combine elements: every rank reads all inputs in place and writes
 * its own share of the result. */
#include "schema/layout.h"
#include "worker/arena_map.h"
#include "worker/shm/shm.h"

#define LINE 64u    /* ranks never write to one cache line */
#define BLOCK 8192u /* of a result on its way: beside n inputs it fits the first-level cache */
#define PAGE 4096u  /* and large shares not to one page */

static uint64_t round_up(uint64_t x, uint64_t to)
{
    return (x + to - 1) / to * to;
}

/* A large result by a kernel that goes past the caches; by the plain one what is no whole line. */
static void sum_lines(const struct task *t, reduce_fn *lines, uint8_t *out, const uint8_t *in[],
                      uint64_t bytes)
{
    reduce_fn *plain = reduce_find(t->dtype, t->op->reduce);
    uint32_t size = dtypes[t->dtype].size_bytes;
    uint64_t head = (uint64_t) - (intptr_t)out % REDUCE_LINE;
    const uint64_t parts[] = {head, (bytes - head) / REDUCE_LINE * REDUCE_LINE,
                              (bytes - head) % REDUCE_LINE};

    for (int i = 0; i < 3; i++) {
        if (parts[i] > 0)
            (i == 1 ? lines : plain)(out, in, t->n, parts[i] / size);
        out += parts[i];
        for (uint32_t r = 0; r < t->n; r++)
            in[r] += parts[i];
    }
}

/* Through a block that stays in the first-level cache and from there past the caches: n reads and
 * one write, and no line of the result is read before it is written. */
static void reduce_blocks(const struct task *t, uint8_t *out, const uint8_t *in[], uint64_t bytes)
{
    static _Alignas(64) uint8_t block[BLOCK];
    reduce_fn *kernel = reduce_find(t->dtype, t->op->reduce);
    uint32_t size = dtypes[t->dtype].size_bytes;

    for (uint64_t done = 0; done < bytes; done += BLOCK) {
        uint64_t part = bytes - done < BLOCK ? bytes - done : BLOCK;

        kernel(block, in, t->n, part / size);
        copy_stream(out + done, block, part);
        for (uint32_t r = 0; r < t->n; r++)
            in[r] += part;
    }
}

/* The kernel on bytes at the same place of every input. */
static void reduce_at(const struct task *t, uint8_t *out, uint64_t at, uint64_t bytes)
{
    uint32_t size = dtypes[t->dtype].size_bytes;
    const uint8_t *in[LIMIT_RANKS];
    reduce_fn *lines = reduce_find_stream(t->dtype, t->op->reduce);

    for (uint32_t r = 0; r < t->n; r++) {
        in[r] = t->inputs[r] + at;
        arena_map_touch(in[r], bytes);
    }
    arena_map_touch(out, bytes);
    if (t->out_bytes < COPY_STREAM_BYTES || bytes < BLOCK)
        reduce_find(t->dtype, t->op->reduce)(out, in, t->n, bytes / size);
    else if (lines && (uintptr_t)out % size == 0)
        sum_lines(t, lines, out, in, bytes);
    else
        reduce_blocks(t, out, in, bytes);
}

/* ---- the whole result, a slice a rank ---- */

static void begin_slice(struct work *w, uint32_t piece)
{
    (void)w;
    (void)piece;
}

static void run_slice(struct work *w, uint64_t lo, uint64_t hi)
{
    uint64_t at = w->from_bytes + lo;

    reduce_at(&w->task, w->task.outputs[0] + at, at, hi - lo);
}

static void plan_slice(struct work *w)
{
    const struct task *t = &w->task;
    uint64_t share = round_up((t->out_bytes + t->n - 1) / t->n,
                              t->out_bytes / t->n >= 16 * PAGE ? PAGE : LINE);
    uint64_t from = share * t->rank, to = from + share;

    from = from < t->out_bytes ? from : t->out_bytes;
    to = to < t->out_bytes ? to : t->out_bytes;
    w->pieces = to > from;
    w->piece_bytes = to - from;
    w->from_bytes = from;
    w->grain = LINE;
    w->begin = begin_slice;
    w->run = run_slice;
}

void shm_all_reduce(struct work *w)
{
    plan_slice(w);
}

/* Only the root gets it, but all share the work. */
void shm_reduce(struct work *w)
{
    plan_slice(w);
}

/* ---- this rank's part of the result: rows of it lie apart in the inputs ---- */

static void begin_rows(struct work *w, uint32_t piece)
{
    const struct task *t = &w->task;
    struct layout l = layout_of(&t->in, op_axis(t->params.split_axis, t->in.ndim));
    uint64_t len = l.axis / t->n * l.inner * dtypes[t->dtype].size_bytes;

    (void)piece;
    w->move.from = (struct rows){.len = len, .stride = len * t->n, .offset = len * t->rank};
}

static void run_rows(struct work *w, uint64_t lo, uint64_t hi)
{
    const struct rows *rows = &w->move.from;

    while (lo < hi) {
        uint64_t in_row = lo % rows->len, left = rows->len - in_row;
        uint64_t bytes = left < hi - lo ? left : hi - lo;

        reduce_at(&w->task, w->task.outputs[w->task.rank] + lo,
                  rows->offset + lo / rows->len * rows->stride + in_row, bytes);
        lo += bytes;
    }
}

void shm_reduce_scatter(struct work *w)
{
    w->pieces = w->task.out_bytes > 0;
    w->piece_bytes = w->task.out_bytes;
    w->grain = LINE;
    w->begin = begin_rows;
    w->run = run_rows;
}
