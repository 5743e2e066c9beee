/* reduce_loops.h - the kernels, written once and compiled for each instruction set.
 *
 * The includer defines LOOP(name) (the function's full name), F16_LOAD, F16_STORE, BF16_LOAD and
 * BF16_STORE, and gets one function a dtype and reduction and a table of them. Plain loops that the
 * compiler vectorises; loads are unaligned on purpose, since a tensor may be a view of any byte.
 *
 * This file is long because the kernels and their table are one template.
 */
#include "schema/limits.h"
#include "worker/reduce.h"

#include <string.h>

#define BLOCK 1024 /* elements accumulated at once: stays in the first-level cache */

#define UNALIGNED(type, name) typedef type name __attribute__((aligned(1), may_alias))
UNALIGNED(float, f32_t);
UNALIGNED(double, f64_t);
UNALIGNED(uint8_t, u8_t);
UNALIGNED(int8_t, i8_t);
UNALIGNED(uint16_t, u16_t);
UNALIGNED(int16_t, i16_t);
UNALIGNED(uint32_t, u32_t);
UNALIGNED(int32_t, i32_t);
UNALIGNED(uint64_t, u64_t);
UNALIGNED(int64_t, i64_t);

#define SUM(a, b) ((a) + (b))
/* Small integers would be multiplied as int, which must not overflow; unsigned wraps. */
#define PROD(a, b) ((a) * (b))
#define IPROD(a, b) (1u * (a) * (b))
#define AND(a, b) ((a) & (b))
#define OR(a, b) ((a) | (b))
#define XOR(a, b) ((a) ^ (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
/* A number beats NaN: when b is NaN, a; when a is NaN the comparison fails and b is taken. */
#define FMAX(a, b) ((a) > (b) || (b) != (b) ? (a) : (b))
#define FMIN(a, b) ((a) < (b) || (b) != (b) ? (a) : (b))

/* The first passes join up to four inputs, so that memory sees n reads and one write; the result of
 * a block stays in cache for the inputs beyond. */
#define KERNEL(name, type, op)                                                                 \
    static void LOOP(name)(uint8_t * out, const uint8_t *const in[], uint32_t n, size_t count) \
    {                                                                                          \
        for (size_t at = 0; at < count; at += BLOCK) {                                         \
            size_t m = count - at < BLOCK ? count - at : BLOCK;                                \
            type *o = (type *)out + at;                                                        \
            const type *a = (const type *)in[0] + at;                                          \
            uint32_t i = 1;                                                                    \
            if (n == 1) {                                                                      \
                memmove(o, a, m * sizeof *o);                                                  \
            } else if (n >= 4) {                                                               \
                const type *b = (const type *)in[1] + at, *c = (const type *)in[2] + at,       \
                           *d = (const type *)in[3] + at;                                      \
                for (size_t k = 0; k < m; k++) {                                               \
                    type x = (type)op(a[k], b[k]);                                             \
                    x = (type)op(x, c[k]);                                                     \
                    o[k] = (type)op(x, d[k]);                                                  \
                }                                                                              \
                i = 4;                                                                         \
            } else if (n == 3) {                                                               \
                const type *b = (const type *)in[1] + at, *c = (const type *)in[2] + at;       \
                for (size_t k = 0; k < m; k++) {                                               \
                    type x = (type)op(a[k], b[k]);                                             \
                    o[k] = (type)op(x, c[k]);                                                  \
                }                                                                              \
                i = 3;                                                                         \
            } else {                                                                           \
                const type *b = (const type *)in[1] + at;                                      \
                for (size_t k = 0; k < m; k++)                                                 \
                    o[k] = (type)op(a[k], b[k]);                                               \
                i = 2;                                                                         \
            }                                                                                  \
            for (; i < n; i++) {                                                               \
                const type *b = (const type *)in[i] + at;                                      \
                for (size_t k = 0; k < m; k++)                                                 \
                    o[k] = (type)op(o[k], b[k]);                                               \
            }                                                                                  \
        }                                                                                      \
    }

/* The sum of a block, and then its n-th part. */
#define MEAN(name, type)                                                               \
    static void LOOP(name##_avg)(uint8_t * out, const uint8_t *const in[], uint32_t n, \
                                 size_t count)                                         \
    {                                                                                  \
        for (size_t at = 0; at < count; at += BLOCK) {                                 \
            size_t m = count - at < BLOCK ? count - at : BLOCK;                        \
            type *o = (type *)out + at;                                                \
            const uint8_t *part[LIMIT_RANKS];                                          \
            for (uint32_t i = 0; i < n; i++)                                           \
                part[i] = in[i] + at * sizeof *o;                                      \
            LOOP(name##_sum)((uint8_t *)o, part, n, m);                                \
            for (size_t k = 0; k < m; k++)                                             \
                o[k] /= (type)n;                                                       \
        }                                                                              \
    }

/* 16-bit floats: float32 accumulators that stay in registers, filled by the first input, brought to
 * their end, rounded once. m is a constant where there are as many as that. */
#define SHORTS 32
#define AS_IT_IS(x) (x)
#define PER_RANK(x) ((x) / (float)n)
#define KERNEL16(name, load, store, op, end)                                                   \
    static inline __attribute__((always_inline)) void LOOP(name##_some)(                       \
        u16_t * out, const uint8_t *const in[], uint32_t n, size_t at, size_t m)               \
    {                                                                                          \
        float sum[SHORTS], x[SHORTS];                                                          \
        load(sum, (const u16_t *)in[0] + at, m);                                               \
        for (uint32_t i = 1; i < n; i++) {                                                     \
            load(x, (const u16_t *)in[i] + at, m);                                             \
            for (size_t k = 0; k < m; k++)                                                     \
                sum[k] = op(sum[k], x[k]);                                                     \
        }                                                                                      \
        for (size_t k = 0; k < m; k++)                                                         \
            sum[k] = end(sum[k]);                                                              \
        store(out + at, sum, m);                                                               \
    }                                                                                          \
    static void LOOP(name)(uint8_t * out, const uint8_t *const in[], uint32_t n, size_t count) \
    {                                                                                          \
        size_t at = 0;                                                                         \
        for (; count - at >= SHORTS; at += SHORTS)                                             \
            LOOP(name##_some)((u16_t *)out, in, n, at, SHORTS);                                \
        LOOP(name##_some)((u16_t *)out, in, n, at, count - at);                                \
    }

#define NUMBERS(X)                     \
    X(float32, f32_t, SUM, FMAX, FMIN) \
    X(float64, f64_t, SUM, FMAX, FMIN)

/* Sums go through the unsigned type: wrapping is defined there, and the bits are the same. */
#define INTEGERS(X)         \
    X(int8, u8_t, i8_t)     \
    X(uint8, u8_t, u8_t)    \
    X(int16, u16_t, i16_t)  \
    X(uint16, u16_t, u16_t) \
    X(int32, u32_t, i32_t)  \
    X(uint32, u32_t, u32_t) \
    X(int64, u64_t, i64_t)  \
    X(uint64, u64_t, u64_t)

#define FLOAT_KERNELS(name, type, sum, max, min) \
    KERNEL(name##_sum, type, sum)                \
    KERNEL(name##_max, type, max)                \
    KERNEL(name##_min, type, min)                \
    KERNEL(name##_prod, type, PROD)              \
    MEAN(name, type)
#define INTEGER_KERNELS(name, wrapping, type) \
    KERNEL(name##_sum, wrapping, SUM)         \
    KERNEL(name##_max, type, MAX)             \
    KERNEL(name##_min, type, MIN)             \
    KERNEL(name##_prod, wrapping, IPROD)      \
    KERNEL(name##_and, wrapping, AND)         \
    KERNEL(name##_or, wrapping, OR)           \
    KERNEL(name##_xor, wrapping, XOR)
#define SHORT_KERNELS(name, load, store)               \
    KERNEL16(name##_sum, load, store, SUM, AS_IT_IS)   \
    KERNEL16(name##_max, load, store, FMAX, AS_IT_IS)  \
    KERNEL16(name##_min, load, store, FMIN, AS_IT_IS)  \
    KERNEL16(name##_prod, load, store, PROD, AS_IT_IS) \
    KERNEL16(name##_avg, load, store, SUM, PER_RANK)

NUMBERS(FLOAT_KERNELS)
INTEGERS(INTEGER_KERNELS)
SHORT_KERNELS(float16, F16_LOAD, F16_STORE)
SHORT_KERNELS(bfloat16, BF16_LOAD, BF16_STORE)

/* Unlike the others these must also normalise a single input. */
#define BOOL_KERNEL(name, op)                                                                  \
    static void LOOP(name)(uint8_t * out, const uint8_t *const in[], uint32_t n, size_t count) \
    {                                                                                          \
        for (size_t at = 0; at < count; at += BLOCK) {                                         \
            size_t m = count - at < BLOCK ? count - at : BLOCK;                                \
            uint8_t block[BLOCK];                                                              \
            for (size_t k = 0; k < m; k++)                                                     \
                block[k] = in[0][at + k] != 0;                                                 \
            for (uint32_t i = 1; i < n; i++)                                                   \
                for (size_t k = 0; k < m; k++)                                                 \
                    block[k] = (uint8_t)(block[k] op(in[i][at + k] != 0));                     \
            memcpy(out + at, block, m);                                                        \
        }                                                                                      \
    }
BOOL_KERNEL(bool_max, |)
BOOL_KERNEL(bool_min, &)
BOOL_KERNEL(bool_xor, ^)

#define ROW(name)                                                     \
    [REDUCE_SUM] = LOOP(name##_sum), [REDUCE_MAX] = LOOP(name##_max), \
    [REDUCE_MIN] = LOOP(name##_min), [REDUCE_PROD] = LOOP(name##_prod)
#define FLOAT_ROW(name, ...) [DTYPE_##name] = {ROW(name), [REDUCE_AVG] = LOOP(name##_avg)},
#define INTEGER_ROW(name, ...)                                                                   \
    [DTYPE_##name] = {ROW(name), [REDUCE_AND] = LOOP(name##_and), [REDUCE_OR] = LOOP(name##_or), \
                      [REDUCE_XOR] = LOOP(name##_xor)},

const reduce_table LOOP(table) = {
    NUMBERS(FLOAT_ROW) INTEGERS(INTEGER_ROW) FLOAT_ROW(float16)
        FLOAT_ROW(bfloat16)[DTYPE_bool] = {[REDUCE_MAX] = LOOP(bool_max),
                                           [REDUCE_MIN] = LOOP(bool_min),
                                           [REDUCE_AND] = LOOP(bool_min),
                                           [REDUCE_OR] = LOOP(bool_max),
                                           [REDUCE_XOR] = LOOP(bool_xor)},
};

/* The 16-bit floats on their way to and from float32. */
#define SHORT_WAYS(name, load, store)                                          \
    static void LOOP(name##_widen)(float *to, const uint8_t *from, size_t m)   \
    {                                                                          \
        load(to, (const u16_t *)from, m);                                      \
    }                                                                          \
    static void LOOP(name##_narrow)(uint8_t * to, const float *from, size_t m) \
    {                                                                          \
        store((u16_t *)to, from, m);                                           \
    }
SHORT_WAYS(float16, F16_LOAD, F16_STORE)
SHORT_WAYS(bfloat16, BF16_LOAD, BF16_STORE)

#define SHORT_WAY(name) [DTYPE_##name] = {LOOP(name##_widen), LOOP(name##_narrow)}
const struct reduce_short LOOP(shorts)[DTYPE_COUNT] = {SHORT_WAY(float16), SHORT_WAY(bfloat16)};
