/* reduce_part.c - reductions in parts, from the kernels for whole ones. */
#include "worker/reduce_part.h"
#include "schema/limits.h"

#include <string.h>

#define BLOCK 1024 /* elements widened at once: they stay in the first-level cache */

static bool is_float(enum dtype d)
{
    return d == DTYPE_float16 || d == DTYPE_bfloat16 || d == DTYPE_float32 || d == DTYPE_float64;
}

bool reduce_any_order(enum dtype d, enum reduction r)
{
    return !is_float(d) || r == REDUCE_MAX || r == REDUCE_MIN;
}

enum dtype reduce_part_dtype(enum dtype d, enum reduction r)
{
    return reduce_short_find(d) && !reduce_any_order(d, r) ? DTYPE_float32 : d;
}

/* A mean is a sum until its end. */
static reduce_fn *kernel_of(enum dtype d, enum reduction r)
{
    return reduce_find(d, r == REDUCE_AVG ? REDUCE_SUM : r);
}

static void add_short(const struct reduce_short *way, reduce_fn *kernel, uint8_t *acc,
                      const uint8_t *before, const uint8_t *const in[], uint32_t n, size_t count)
{
    float wide[BLOCK];

    for (size_t at = 0; at < count; at += BLOCK) {
        size_t m = count - at < BLOCK ? count - at : BLOCK;
        uint8_t *sum = acc + at * sizeof wide[0];
        const uint8_t *pair[2] = {sum, (const uint8_t *)wide};

        if (before)
            memmove(sum, before + at * sizeof wide[0], m * sizeof wide[0]);
        for (uint32_t i = 0; i < n; i++) {
            way->widen(wide, in[i] + at * sizeof(uint16_t), m);
            if (i == 0 && !before)
                memcpy(sum, wide, m * sizeof wide[0]);
            else
                kernel(sum, pair, 2, m);
        }
    }
}

void reduce_part_add(enum dtype d, enum reduction r, uint8_t *acc, const uint8_t *before,
                     const uint8_t *const in[], uint32_t n, size_t count)
{
    enum dtype wide = reduce_part_dtype(d, r);
    const uint8_t *all[LIMIT_RANKS + 1];
    uint32_t n_all = 0;

    if (wide != d) {
        add_short(reduce_short_find(d), kernel_of(wide, r), acc, before, in, n, count);
        return;
    }
    if (before)
        all[n_all++] = before;
    for (uint32_t i = 0; i < n; i++)
        all[n_all++] = in[i];
    kernel_of(d, r)(acc, all, n_all, count);
}

#define DIVIDE(name, type)                                                                 \
    static void divide_##name(uint8_t *to, const uint8_t *from, uint32_t by, size_t count) \
    {                                                                                      \
        type x[BLOCK];                                                                     \
        for (size_t at = 0; at < count; at += BLOCK) {                                     \
            size_t m = count - at < BLOCK ? count - at : BLOCK;                            \
            memcpy(x, from + at * sizeof x[0], m * sizeof x[0]);                           \
            for (size_t k = 0; k < m; k++)                                                 \
                x[k] /= (type)by;                                                          \
            memcpy(to + at * sizeof x[0], x, m * sizeof x[0]);                             \
        }                                                                                  \
    }
DIVIDE(float32, float)
DIVIDE(float64, double)

static void end_short(const struct reduce_short *way, enum reduction r, uint8_t *out,
                      const uint8_t *acc, uint32_t ranks, size_t count)
{
    float wide[BLOCK];

    for (size_t at = 0; at < count; at += BLOCK) {
        size_t m = count - at < BLOCK ? count - at : BLOCK;

        memcpy(wide, acc + at * sizeof wide[0], m * sizeof wide[0]);
        if (r == REDUCE_AVG)
            divide_float32((uint8_t *)wide, (const uint8_t *)wide, ranks, m);
        way->narrow(out + at * sizeof(uint16_t), wide, m);
    }
}

void reduce_part_end(enum dtype d, enum reduction r, uint8_t *out, const uint8_t *acc,
                     uint32_t ranks, size_t count)
{
    if (reduce_part_dtype(d, r) != d)
        end_short(reduce_short_find(d), r, out, acc, ranks, count);
    else if (r == REDUCE_AVG)
        (d == DTYPE_float32 ? divide_float32 : divide_float64)(out, acc, ranks, count);
    else if (out != acc)
        memcpy(out, acc, count * dtypes[d].size_bytes);
}
