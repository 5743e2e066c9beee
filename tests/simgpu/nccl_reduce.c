/* nccl_reduce.c - elements combined, in every type NCCL has, rounded to the type at each step. */
#include "tests/simgpu/sim_nccl.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

uint32_t sim_dtype_bytes(uint32_t dtype)
{
    switch (dtype) {
    case ncclInt8:
    case ncclUint8:
        return 1;
    case ncclFloat16:
    case ncclBfloat16:
        return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
        return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
        return 8;
    default:
        simgpu_misuse("NCCL", "type %u is not known to the double", dtype);
        return 1;
    }
}

#define REDUCE(name, type, sum, max, min, prod, part)                                          \
    static void name(void *into, const void *from, uint64_t count, uint32_t redop, uint32_t n) \
    {                                                                                          \
        for (uint64_t i = 0; i < count; i++) {                                                 \
            type a, b;                                                                         \
            memcpy(&a, (uint8_t *)into + i * sizeof a, sizeof a);                              \
            memcpy(&b, (const uint8_t *)from + i * sizeof b, sizeof b);                        \
            if (redop == ncclAvg)                                                              \
                b = part;                                                                      \
            a = redop == ncclSum || redop == ncclAvg ? (sum)                                   \
                : redop == ncclMax                   ? (max)                                   \
                : redop == ncclMin                   ? (min)                                   \
                                                     : (prod);                                                   \
            memcpy((uint8_t *)into + i * sizeof a, &a, sizeof a);                              \
        }                                                                                      \
    }
/* Sums wrap around: unsigned is what wraps in C. */
#define INTEGERS(name, type, wide)                                              \
    REDUCE(name, type, (type)((wide)a + (wide)b), a > b ? a : b, a < b ? a : b, \
           (type)(1u * (wide)a * (wide)b), (type)(b / (type)n))
INTEGERS(reduce_int8, int8_t, uint8_t)
INTEGERS(reduce_uint8, uint8_t, uint8_t)
INTEGERS(reduce_int32, int32_t, uint32_t)
INTEGERS(reduce_uint32, uint32_t, uint32_t)
INTEGERS(reduce_int64, int64_t, uint64_t)
INTEGERS(reduce_uint64, uint64_t, uint64_t)
#undef INTEGERS
/* NCCL scales every rank's floats by 1 / n before it adds them. */
REDUCE(reduce_float32, float, a + b, fmaxf(a, b), fminf(a, b), a *b, b *(1.0f / (float)n))
REDUCE(reduce_float64, double, a + b, fmax(a, b), fmin(a, b), a *b, b *(1.0 / (double)n))
#undef REDUCE

__attribute__((target("f16c"))) static float from_half(uint16_t h)
{
    return _cvtsh_ss(h);
}

__attribute__((target("f16c"))) static uint16_t to_half(float f)
{
    return _cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT);
}

static float from_bfloat(uint16_t b)
{
    uint32_t bits = (uint32_t)b << 16;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint16_t to_bfloat(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    if (f != f)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void reduce_short(void *into, const void *from, uint64_t count, uint32_t redop, bool half,
                         uint32_t n)
{
    for (uint64_t i = 0; i < count; i++) {
        uint16_t a, b;
        float x, y;

        memcpy(&a, (uint8_t *)into + i * 2, 2);
        memcpy(&b, (const uint8_t *)from + i * 2, 2);
        x = half ? from_half(a) : from_bfloat(a);
        y = half ? from_half(b) : from_bfloat(b);
        if (redop == ncclAvg) {
            y *= 1.0f / (float)n;
            y = half ? from_half(to_half(y)) : from_bfloat(to_bfloat(y));
        }
        x = redop == ncclSum || redop == ncclAvg ? x + y
            : redop == ncclMax                   ? fmaxf(x, y)
            : redop == ncclMin                   ? fminf(x, y)
                                                 : x * y;
        a = half ? to_half(x) : to_bfloat(x);
        memcpy((uint8_t *)into + i * 2, &a, 2);
    }
}

void sim_reduce(uint8_t *into, const uint8_t *from, uint64_t count, uint32_t dtype, uint32_t redop,
                uint32_t n)
{
    static void (*const plain[])(void *, const void *, uint64_t, uint32_t, uint32_t) = {
        [ncclInt8] = reduce_int8,       [ncclUint8] = reduce_uint8,
        [ncclInt32] = reduce_int32,     [ncclUint32] = reduce_uint32,
        [ncclInt64] = reduce_int64,     [ncclUint64] = reduce_uint64,
        [ncclFloat32] = reduce_float32, [ncclFloat64] = reduce_float64,
    };

    if (redop > ncclAvg)
        simgpu_misuse("NCCL", "reduction %u is not known to the double", redop);
    else if (dtype == ncclFloat16 || dtype == ncclBfloat16)
        reduce_short(into, from, count, redop, dtype == ncclFloat16, n);
    else if (plain[dtype])
        plain[dtype](into, from, count, redop, n);
}
