/* reduce_stream.c - sums of large tensors from memory to memory: a line of every input at a time,
 * stored past the caches, so that no line of the result is read before it is written. Compiled for
 * AVX2 and F16C; nothing here runs before reduce_init has looked.
 *
 * Measured against a block that is summed in the first-level cache and copied from there
 * (reduces.c, what other reductions do): tests/bench/README.md.
 */
#include "worker/reduce.h"
#include "worker/reduce_bf16.h"

#include <immintrin.h>

#define HALF (REDUCE_LINE / 2)

/* name(out, in, n, count) of name_lines; n is a constant where that is inlined for the usual few.
 */
#define STREAM(name, size)                                                                       \
    static void name##_stream(uint8_t *out, const uint8_t *const in[], uint32_t n, size_t count) \
    {                                                                                            \
        size_t bytes = count * (size);                                                           \
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

/* Lanes are added in rank order, as everywhere; integers wrap around, so their sign does not
 * matter. */
#define STREAM_SUM(name, lane)                                                           \
    typedef lane name##_lanes __attribute__((vector_size(HALF), aligned(1), may_alias)); \
    static inline __attribute__((always_inline)) void name##_lines(                      \
        uint8_t *out, const uint8_t *const in[], uint32_t n, size_t bytes)               \
    {                                                                                    \
        for (size_t at = 0; at < bytes; at += REDUCE_LINE) {                             \
            name##_lanes a = *(const name##_lanes *)(const void *)(in[0] + at);          \
            name##_lanes b = *(const name##_lanes *)(const void *)(in[0] + at + HALF);   \
            for (uint32_t i = 1; i < n; i++) {                                           \
                a += *(const name##_lanes *)(const void *)(in[i] + at);                  \
                b += *(const name##_lanes *)(const void *)(in[i] + at + HALF);           \
            }                                                                            \
            _mm256_stream_si256((__m256i *)(void *)(out + at), (__m256i)a);              \
            _mm256_stream_si256((__m256i *)(void *)(out + at + HALF), (__m256i)b);       \
        }                                                                                \
    }                                                                                    \
    STREAM(name, sizeof(lane))

STREAM_SUM(f32, float)
STREAM_SUM(f64, double)
STREAM_SUM(u8, uint8_t)
STREAM_SUM(u16, uint16_t)
STREAM_SUM(u32, uint32_t)
STREAM_SUM(u64, uint64_t)

/* The 16 elements of half a line, as float32 in two registers, in whatever order is the cheapest;
 * narrow is the way back. */
struct wide {
    __m256 a, b;
};

static inline __attribute__((always_inline)) struct wide f16_widen(__m256i half)
{
    return (struct wide){_mm256_cvtph_ps(_mm256_castsi256_si128(half)),
                         _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1))};
}

static inline __attribute__((always_inline)) __m256i f16_narrow(struct wide x)
{
    return _mm256_set_m128i(_mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT),
                            _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
}

/* The elements at even places are the low halves of 32-bit lanes, those at odd places the high
 * ones: so neither is moved across lanes. */
static inline __attribute__((always_inline)) struct wide bf16_widen(__m256i half)
{
    __m256i odd = _mm256_and_si256(half, _mm256_set1_epi32((int)0xffff0000));

    return (struct wide){_mm256_castsi256_ps(_mm256_slli_epi32(half, 16)),
                         _mm256_castsi256_ps(odd)};
}

static inline __attribute__((always_inline)) __m256i bf16_narrow(struct wide x)
{
    return _mm256_blend_epi16(_mm256_srli_epi32(bf16_round(x.a), 16), bf16_round(x.b), 0xaa);
}

/* A line takes these kernels so long that the processor by itself does not look far enough ahead;
 * for those above it does, and this makes them slower. A prefetch past a mapping's end is no fault
 * (Intel SDM, volume 2B, PREFETCHh). */
#define AHEAD 8192

/* 16-bit floats: added as float32, rounded once. */
#define STREAM_SHORT(name)                                                                  \
    static inline __attribute__((always_inline)) struct wide name##_at(const uint8_t *from) \
    {                                                                                       \
        return name##_widen(_mm256_loadu_si256((const __m256i_u *)(const void *)from));     \
    }                                                                                       \
    static inline __attribute__((always_inline)) void name##_lines(                         \
        uint8_t *out, const uint8_t *const in[], uint32_t n, size_t bytes)                  \
    {                                                                                       \
        for (size_t at = 0; at < bytes; at += REDUCE_LINE) {                                \
            struct wide a = name##_at(in[0] + at), b = name##_at(in[0] + at + HALF);        \
            _mm_prefetch(in[0] + at + AHEAD, _MM_HINT_NTA);                                 \
            for (uint32_t i = 1; i < n; i++) {                                              \
                struct wide x = name##_at(in[i] + at), y = name##_at(in[i] + at + HALF);    \
                _mm_prefetch(in[i] + at + AHEAD, _MM_HINT_NTA);                             \
                a.a = _mm256_add_ps(a.a, x.a);                                              \
                a.b = _mm256_add_ps(a.b, x.b);                                              \
                b.a = _mm256_add_ps(b.a, y.a);                                              \
                b.b = _mm256_add_ps(b.b, y.b);                                              \
            }                                                                               \
            _mm256_stream_si256((__m256i *)(void *)(out + at), name##_narrow(a));           \
            _mm256_stream_si256((__m256i *)(void *)(out + at + HALF), name##_narrow(b));    \
        }                                                                                   \
    }                                                                                       \
    STREAM(name, sizeof(uint16_t))

STREAM_SHORT(f16)
STREAM_SHORT(bf16)

reduce_fn *const reduce_stream_sums[DTYPE_COUNT] = {
    [DTYPE_float32] = f32_stream, [DTYPE_float64] = f64_stream, [DTYPE_int8] = u8_stream,
    [DTYPE_uint8] = u8_stream,    [DTYPE_int16] = u16_stream,   [DTYPE_uint16] = u16_stream,
    [DTYPE_int32] = u32_stream,   [DTYPE_uint32] = u32_stream,  [DTYPE_int64] = u64_stream,
    [DTYPE_uint64] = u64_stream,  [DTYPE_float16] = f16_stream, [DTYPE_bfloat16] = bf16_stream};
