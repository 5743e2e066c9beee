/* reduce.c - the plain kernels, and the choice between them and the processor's own. */
#define LOOP(name) generic_##name
#define generic_table reduce_generic
#define generic_shorts reduce_generic_shorts

#include <cpuid.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* float16 to float32 by shifts (clang 14 has no _Float16): subnormals are scaled by the float unit,
 * which is exact. */
static float half_to_float(uint16_t half)
{
    uint32_t magnitude = half & 0x7fff, sign = (uint32_t)(half & 0x8000) << 16, bits;
    float x;

    if (magnitude >= 0x7c00) { /* infinity and NaN: all ones in the exponent; NaN made quiet */
        bits = sign | 0x7f800000 | (magnitude & 0x3ff) << 13;
        bits |= magnitude > 0x7c00 ? 0x400000 : 0;
    } else if (magnitude >= 0x400) {
        bits = sign | ((magnitude << 13) + ((127u - 15u) << 23));
    } else {
        x = (float)magnitude * 0x1p-24f;
        memcpy(&bits, &x, sizeof bits);
        bits |= sign;
    }
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Round to nearest even; past 65519.99 is infinity; below half the least subnormal is zero. */
static uint16_t float_to_half(float x)
{
    uint32_t bits, sign, magnitude;

    memcpy(&bits, &x, sizeof bits);
    sign = bits >> 16 & 0x8000;
    magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) /* 65520 */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: the float unit rounds to a multiple of 2^-24 */
        float scaled;

        memcpy(&scaled, &magnitude, sizeof scaled);
        scaled = scaled * 0x1p24f + 0x1p23f; /* the low bits of the sum are the subnormal's */
        memcpy(&magnitude, &scaled, sizeof magnitude);
        return (uint16_t)(sign | (magnitude & 0x7fffff));
    }
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | ((magnitude - ((127u - 15u) << 23)) >> 13));
}

typedef uint16_t half_t __attribute__((aligned(1), may_alias)); /* of either kind */

static void f16_load(float *to, const half_t *from, size_t m)
{
    for (size_t k = 0; k < m; k++)
        to[k] = half_to_float(from[k]);
}

static void f16_store(half_t *to, const float *from, size_t m)
{
    for (size_t k = 0; k < m; k++)
        to[k] = float_to_half(from[k]);
}

static void bf16_load(float *to, const half_t *from, size_t m)
{
    for (size_t k = 0; k < m; k++) {
        uint32_t bits = (uint32_t)from[k] << 16;

        memcpy(&to[k], &bits, sizeof bits);
    }
}

/* Round to nearest even on the bits; a NaN keeps its sign and stays a (quiet) NaN. */
static void bf16_store(half_t *to, const float *from, size_t m)
{
    for (size_t k = 0; k < m; k++) {
        uint32_t bits, rounded;

        memcpy(&bits, &from[k], sizeof bits);
        rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        to[k] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16 | 0x40) : rounded);
    }
}

#define F16_LOAD f16_load
#define F16_STORE f16_store
#define BF16_LOAD bf16_load
#define BF16_STORE bf16_store
#include "worker/reduce_loops.h"

/* F16C is bit 29 of ECX of CPUID leaf 1 (Intel SDM, volume 2A); clang 14 has no name for it in
 * __builtin_cpu_supports, which also asks the system for the registers that AVX2 needs. */
bool reduce_has_avx2(void)
{
    unsigned a, b, c, d;

    return __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && c >> 29 & 1;
}

static const reduce_table *chosen = &reduce_generic;
static const struct reduce_short *chosen_shorts = reduce_generic_shorts;

void reduce_init(void)
{
    const char *wish = getenv("TUTTI_REDUCE");

    chosen = &reduce_generic;
    chosen_shorts = reduce_generic_shorts;
    if (wish && strcmp(wish, "generic") == 0)
        return;
    if (reduce_has_avx2()) {
        chosen = &reduce_avx2;
        chosen_shorts = reduce_avx2_shorts;
    }
}

reduce_fn *reduce_find(enum dtype d, enum reduction r)
{
    return (*chosen)[d][r];
}

reduce_fn *reduce_find_stream(enum dtype d, enum reduction r)
{
    return chosen == &reduce_avx2 && r == REDUCE_SUM ? reduce_stream_sums[d] : NULL;
}

const struct reduce_short *reduce_short_find(enum dtype d)
{
    return chosen_shorts[d].widen ? &chosen_shorts[d] : NULL;
}
