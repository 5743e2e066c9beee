/* reduce_avx2.c - the kernels for processors with AVX2 and F16C. Compiled with those instructions
 * allowed, so nothing here runs before reduce_init has looked. */
#define LOOP(name) avx2_##name
#define avx2_table reduce_avx2
#define avx2_shorts reduce_avx2_shorts

#include <immintrin.h>
#include <stdint.h>

typedef uint16_t half_t __attribute__((aligned(1), may_alias));

static void f16_load(float *to, const half_t *from, size_t m)
{
    size_t k = 0;

    for (; k + 8 <= m; k += 8)
        _mm256_storeu_ps(to + k, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(from + k))));
    for (; k < m; k++)
        to[k] = _cvtsh_ss(from[k]);
}

static void f16_store(half_t *to, const float *from, size_t m)
{
    size_t k = 0;

    for (; k + 8 <= m; k += 8)
        _mm_storeu_si128((__m128i_u *)(to + k),
                         _mm256_cvtps_ph(_mm256_loadu_ps(from + k), _MM_FROUND_TO_NEAREST_INT));
    for (; k < m; k++)
        to[k] = _cvtss_sh(from[k], _MM_FROUND_TO_NEAREST_INT);
}

#define F16_LOAD f16_load
#define F16_STORE f16_store
#include "worker/reduce_loops.h"
