/* mask.c - gradients of maxima and minima, block by block. */
#include "worker/mask.h"
#include "schema/clock.h"
#include "schema/layout.h"
#include "worker/arena_map.h"
#include "worker/reduce.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 4096u /* bytes of a tensor done at once: with all inputs' it stays in cache */
#define QUANTUM (256u << 10) /* bytes of inputs that one poll goes through */

/* The elements of the masks' tensors, in order, of which this rank does those in [at, end). */
struct masking {
    const struct task *t;
    uint32_t size;            /* bytes of an element */
    uint64_t begin, at, end;  /* bytes */
    uint64_t part;            /* bytes of one rank's row of the split or joined axis; 0: no axis */
    reduce_fn *extreme, *sum; /* sum: NULL when one rank gives */
    uint64_t start_ns;
    uint8_t *best;       /* BLOCK: the largest of the masks */
    uint8_t *value;      /* BLOCK: of the linear part; for BEFORE, n of them: the masked inputs */
    const uint8_t *in[]; /* n, of the block at hand */
};

/* ---- out = mask == best ? value : 0 ---- */

#define UNALIGNED(type, name) typedef type name __attribute__((aligned(1), may_alias))
UNALIGNED(uint8_t, u8_t);
UNALIGNED(uint16_t, u16_t);
UNALIGNED(uint32_t, u32_t);
UNALIGNED(uint64_t, u64_t);
UNALIGNED(float, f32_t);
UNALIGNED(double, f64_t);

typedef void select_fn(uint8_t *out, const uint8_t *mask, const uint8_t *best, const uint8_t *value,
                       size_t count);

#define SAME(a, b) ((a) == (b))
/* Of 16-bit floats by their bits: zeros of both signs are equal, NaN is not. */
#define SAME16(infinity, a, b) \
    (((a) == (b) && ((a)&0x7fff) <= (infinity)) || (((a) | (b)) & 0x7fff) == 0)
#define SAME_F16(a, b) SAME16(0x7c00, a, b)
#define SAME_BF16(a, b) SAME16(0x7f80, a, b)

#define SELECT(name, type, moved, same)                                               \
    static void select_##name(uint8_t *out, const uint8_t *mask, const uint8_t *best, \
                              const uint8_t *value, size_t count)                     \
    {                                                                                 \
        const type *m = (const type *)mask, *b = (const type *)best;                  \
        const moved *v = (const moved *)value;                                        \
        moved *o = (moved *)out;                                                      \
        for (size_t k = 0; k < count; k++)                                            \
            o[k] = same(m[k], b[k]) ? v[k] : 0;                                       \
    }
SELECT(1, u8_t, u8_t, SAME)
SELECT(2, u16_t, u16_t, SAME)
SELECT(4, u32_t, u32_t, SAME)
SELECT(8, u64_t, u64_t, SAME)
SELECT(f16, u16_t, u16_t, SAME_F16)
SELECT(bf16, u16_t, u16_t, SAME_BF16)
SELECT(f32, f32_t, u32_t, SAME)
SELECT(f64, f64_t, u64_t, SAME)

static select_fn *select_of(enum dtype d)
{
    static select_fn *const by_size[] = {
        [1] = select_1, [2] = select_2, [4] = select_4, [8] = select_8};

    switch (d) {
    case DTYPE_float16:
        return select_f16;
    case DTYPE_bfloat16:
        return select_bf16;
    case DTYPE_float32:
        return select_f32;
    case DTYPE_float64:
        return select_f64;
    default:
        return by_size[dtypes[d].size_bytes];
    }
}

void mask_select(enum dtype d, uint8_t *out, const uint8_t *mask, const uint8_t *best,
                 const uint8_t *value, size_t count)
{
    select_of(d)(out, mask, best, value, count);
}

/* ---- a block ---- */

/* Where byte `at` of the whole lies in the part of *rank. */
static uint64_t in_part(const struct masking *m, uint64_t at, uint32_t *rank)
{
    uint64_t row = at / m->part;

    *rank = (uint32_t)(row % m->t->n);
    return row / m->t->n * m->part + at % m->part;
}

/* The linear part's elements [at, at + bytes), computed to value or where they lie. */
static const uint8_t *linear(struct masking *m, uint64_t at, uint64_t bytes)
{
    const struct task *t = m->t;
    uint32_t rank = 0;

    if (m->part) {
        uint64_t place = in_part(m, at, &rank);

        return t->inputs[rank] + place;
    }
    if (!m->sum) {
        while (!t->inputs[rank])
            rank++;
        return t->inputs[rank] + at;
    }
    for (uint32_t r = 0; r < t->n; r++)
        m->in[r] = t->inputs[r] + at;
    m->sum(m->value, m->in, t->n, bytes / m->size);
    return m->value;
}

static void block_after(struct masking *m, uint64_t at, uint64_t bytes)
{
    const struct task *t = m->t;
    const uint8_t *value = linear(m, at, bytes);

    for (uint32_t r = 0; r < t->n; r++) {
        if (t->outputs[r])
            select_of(t->dtype)(t->outputs[r] + at, t->masks[r] + at, m->best, value,
                                bytes / m->size);
    }
}

static void block_before(struct masking *m, uint64_t at, uint64_t bytes)
{
    const struct task *t = m->t;
    uint32_t rank = 0;

    for (uint32_t r = 0; r < t->n; r++) {
        m->in[r] = m->value + (size_t)r * BLOCK;
        select_of(t->dtype)(m->value + (size_t)r * BLOCK, t->masks[r] + at, m->best,
                            t->inputs[r] + at, bytes / m->size);
    }
    if (m->part)
        at = in_part(m, at, &rank);
    else
        while (!t->outputs[rank])
            rank++;
    m->sum(t->outputs[rank] + at, m->in, t->n, bytes / m->size);
}

static void block(struct masking *m, uint64_t at, uint64_t bytes)
{
    const struct task *t = m->t;

    for (uint32_t r = 0; r < t->n; r++)
        m->in[r] = t->masks[r] + at;
    m->extreme(m->best, m->in, t->n, bytes / m->size);
    if (t->mask == MASK_AFTER)
        block_after(m, at, bytes);
    else
        block_before(m, at, bytes);
}

/* ---- the whole ---- */

/* Bytes of one rank's rows where an axis is joined (AFTER) or split (BEFORE). */
static uint64_t part_bytes(const struct task *t, const struct shape *whole)
{
    int64_t axis = t->mask == MASK_AFTER ? t->params.concat_axis : t->params.split_axis;
    struct layout l;

    if (t->op->dim == DIM_SAME || whole->ndim == 0)
        return 0;
    l = layout_of(whole, op_axis(axis, whole->ndim));
    return l.axis / t->n * l.inner * dtypes[t->dtype].size_bytes;
}

struct masking *mask_begin(const struct task *t)
{
    size_t values = t->mask == MASK_BEFORE ? t->n : 1;
    struct masking *m = calloc(1, sizeof *m + t->n * sizeof m->in[0]);
    uint64_t bytes = t->mask == MASK_AFTER ? t->out_bytes : t->in_bytes, share;

    if (!m)
        return NULL;
    m->best = malloc(BLOCK * (1 + values));
    if (!m->best) {
        free(m);
        return NULL;
    }
    reduce_init(); /* a backend for GPUs has no need of it */
    m->t = t;
    m->size = dtypes[t->dtype].size_bytes;
    m->value = m->best + BLOCK;
    m->part = part_bytes(t, t->mask == MASK_AFTER ? &t->out : &t->in);
    m->extreme = reduce_find(t->dtype, t->mask_reduce);
    m->sum = t->op->reduce == REDUCE_SUM ? reduce_find(t->dtype, REDUCE_SUM) : NULL;
    share = (bytes / t->n + BLOCK) / BLOCK * BLOCK;
    m->begin = m->at = share * t->rank < bytes ? share * t->rank : bytes;
    m->end = m->begin + share < bytes ? m->begin + share : bytes;
    m->start_ns = clock_ns();
    return m;
}

int mask_poll(struct masking *m, struct done *out)
{
    uint64_t done = 0;

    while (m->at < m->end && done < QUANTUM) {
        uint64_t bytes = m->end - m->at < BLOCK ? m->end - m->at : BLOCK;

        if (m->part && bytes > m->part - m->at % m->part)
            bytes = m->part - m->at % m->part;
        block(m, m->at, bytes);
        m->at += bytes;
        done += bytes * m->t->n;
    }
    if (m->at < m->end)
        return 0;
    *out = (struct done){.job = m->t->job, .start_ns = m->start_ns, .end_ns = clock_ns()};
    return 1;
}

uint64_t mask_progress(const struct masking *m)
{
    return m->at - m->begin;
}

void mask_end(struct masking *m)
{
    if (m)
        free(m->best);
    free(m);
}
