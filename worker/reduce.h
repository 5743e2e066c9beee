/* reduce.h - element-wise reductions of n arrays, in rank order.
 *
 * Pure but for reduce_init; safe from any thread after it. Bit for bit the same on every processor:
 * ((x0 + x1) + x2) + ..., no contraction, no reassociation; but which of several NaNs comes out is
 * not promised (IEEE 754-2008 6.2.3 leaves it open). Integers wrap around. float16 and
 * bfloat16 accumulate in float32 and round once, to nearest even. A mean is the sum / n. max and
 * min follow IEEE 754-2008 maxNum: a number beats NaN; the sign of a zero is not promised. bool:
 * max is or, min is and; any nonzero byte counts as true, results are 0 or 1.
 */
#ifndef TUTTI_WORKER_REDUCE_H
#define TUTTI_WORKER_REDUCE_H

#include "schema/dtype.h"
#include "schema/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* out[0..count) from in[0..n)[0..count), n >= 1. No alignment is needed. out may be one of the
 * inputs or overlap none. */
typedef void reduce_fn(uint8_t *out, const uint8_t *const in[], uint32_t n, size_t count);

/* Chooses the kernels for this processor. Main thread, once; TUTTI_REDUCE=generic keeps to the
 * plain ones (for tests). */
void reduce_init(void);

/* The kernel, or NULL where there is none: what op_check_dtype refuses, and REDUCE_NONE. */
reduce_fn *reduce_find(enum dtype d, enum reduction r);

/* One for large results, which goes past the caches: out begins at a multiple of REDUCE_LINE bytes
 * and overlaps no input, and count elements are whole lines; afterwards copy_fence(). The same
 * bits. NULL where there is none. */
#define REDUCE_LINE 64u
reduce_fn *reduce_find_stream(enum dtype d, enum reduction r);

/* A 16-bit float's way to float32, which is exact, and back: to nearest even. No alignment is
 * needed. */
struct reduce_short {
    void (*widen)(float *to, const uint8_t *from, size_t count);
    void (*narrow)(uint8_t *to, const float *from, size_t count);
};
const struct reduce_short *reduce_short_find(enum dtype d); /* NULL: d is no 16-bit float */

/* May the AVX2 and F16C kernels run here? Any thread. */
bool reduce_has_avx2(void);

/* The two tables, for tests that compare them. */
typedef reduce_fn *reduce_table[DTYPE_COUNT][REDUCTION_COUNT];
extern const reduce_table reduce_generic, reduce_avx2;
extern const struct reduce_short reduce_generic_shorts[DTYPE_COUNT],
    reduce_avx2_shorts[DTYPE_COUNT];
extern reduce_fn *const reduce_stream_sums[DTYPE_COUNT]; /* AVX2 */

#endif
