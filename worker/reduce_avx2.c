/* reduce_avx2.c - the kernels for processors with AVX2 and F16C. Compiled with those instructions
 * allowed, so nothing here runs before reduce_init has looked. */
#define LOOP(name) avx2_##name
#define avx2_table reduce_avx2
#define avx2_shorts reduce_avx2_shorts

#include "worker/reduce_bf16.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t half_t __attribute__((aligned(1), may_alias)); /* of either kind */

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

static void bf16_load(float *to, const half_t *from, size_t m)
{
    size_t k = 0;

    for (; k + 8 <= m; k += 8) {
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i_u *)(from + k)));

        _mm256_storeu_ps(to + k, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
    for (; k < m; k++) {
        uint32_t bits = (uint32_t)from[k] << 16;

        memcpy(&to[k], &bits, sizeof bits);
    }
}

/* Eight, each in the low half of a lane whose high half is 0. */
static __m256i bf16_low(const float *from)
{
    return _mm256_srli_epi32(bf16_round(_mm256_loadu_ps(from)), 16);
}

static void bf16_store16(half_t *to, const float *from)
{
    __m256i both = _mm256_packus_epi32(bf16_low(from), bf16_low(from + 8));

    _mm256_storeu_si256((__m256i_u *)to, _mm256_permute4x64_epi64(both, 0xd8));
}

static void bf16_store(half_t *to, const float *from, size_t m)
{
    float last[16] = {0};
    uint16_t rounded[16];
    size_t k = 0;

    for (; k + 16 <= m; k += 16)
        bf16_store16(to + k, from + k);
    if (k == m)
        return;
    memcpy(last, from + k, (m - k) * sizeof last[0]);
    bf16_store16(rounded, last);
    memcpy(to + k, rounded, (m - k) * sizeof rounded[0]);
}

#define F16_LOAD f16_load
#define F16_STORE f16_store
#define BF16_LOAD bf16_load
#define BF16_STORE bf16_store
#include "worker/reduce_loops.h"
