/* reduce_stream.c - sums of large tensors from memory to memory: a line of every input at a time,
 * stored past the caches, so that no line of the result is read before it is written. Compiled for
 * AVX2; nothing here runs before reduce_init has looked.
 *
 * Measured against a block that is summed in the first-level cache and copied from there
 * (reduces.c, what other reductions do): tests/bench/README.md.
 */
#include "worker/reduce.h"

#include <immintrin.h>

#define HALF (REDUCE_LINE / 2)

/* Lanes are added in rank order, as everywhere; integers wrap around, so their sign does not
 * matter. n is a constant where this is inlined for the usual few. */
#define STREAM_SUM(name, lane)                                                                   \
    typedef lane name##_lanes __attribute__((vector_size(HALF), aligned(1), may_alias));         \
    static inline __attribute__((always_inline)) void name##_lines(                              \
        uint8_t *out, const uint8_t *const in[], uint32_t n, size_t bytes)                       \
    {                                                                                            \
        for (size_t at = 0; at < bytes; at += REDUCE_LINE) {                                     \
            name##_lanes a = *(const name##_lanes *)(const void *)(in[0] + at);                  \
            name##_lanes b = *(const name##_lanes *)(const void *)(in[0] + at + HALF);           \
            for (uint32_t i = 1; i < n; i++) {                                                   \
                a += *(const name##_lanes *)(const void *)(in[i] + at);                          \
                b += *(const name##_lanes *)(const void *)(in[i] + at + HALF);                   \
            }                                                                                    \
            _mm256_stream_si256((__m256i *)(void *)(out + at), (__m256i)a);                      \
            _mm256_stream_si256((__m256i *)(void *)(out + at + HALF), (__m256i)b);               \
        }                                                                                        \
    }                                                                                            \
    static void name##_stream(uint8_t *out, const uint8_t *const in[], uint32_t n, size_t count) \
    {                                                                                            \
        size_t bytes = count * sizeof(lane);                                                     \
                                                                                                 \
        if (n == 2)                                                                              \
            name##_lines(out, in, 2, bytes);                                                     \
        else if (n == 3)                                                                         \
            name##_lines(out, in, 3, bytes);                                                     \
        else if (n == 4)                                                                         \
            name##_lines(out, in, 4, bytes);                                                     \
        else                                                                                     \
            name##_lines(out, in, n, bytes);                                                     \
    }

STREAM_SUM(f32, float)
STREAM_SUM(f64, double)
STREAM_SUM(u8, uint8_t)
STREAM_SUM(u16, uint16_t)
STREAM_SUM(u32, uint32_t)
STREAM_SUM(u64, uint64_t)

reduce_fn *const reduce_stream_sums[DTYPE_COUNT] = {
    [DTYPE_float32] = f32_stream, [DTYPE_float64] = f64_stream, [DTYPE_int8] = u8_stream,
    [DTYPE_uint8] = u8_stream,    [DTYPE_int16] = u16_stream,   [DTYPE_uint16] = u16_stream,
    [DTYPE_int32] = u32_stream,   [DTYPE_uint32] = u32_stream,  [DTYPE_int64] = u64_stream,
    [DTYPE_uint64] = u64_stream};
