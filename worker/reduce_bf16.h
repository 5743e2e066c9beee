/* reduce_bf16.h - how the AVX2 kernels round to bfloat16: one rule for the files that need it. */
#ifndef TUTTI_WORKER_REDUCE_BF16_H
#define TUTTI_WORKER_REDUCE_BF16_H

#include <immintrin.h>

/* To nearest even, on the bits; a NaN keeps its sign and stays a (quiet) NaN. The result is the
 * high half of each lane; the low half is anything. */
static inline __attribute__((always_inline)) __m256i bf16_round(__m256 x)
{
    __m256i bits = _mm256_castps_si256(x);
    __m256i last = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(last, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));

    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(rounded),
                                                _mm256_castsi256_ps(quiet),
                                                _mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}

#endif
