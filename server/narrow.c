/* narrow.c - float16 and bfloat16 by the bits of a double. */
#include "server/narrow.h"

#include <math.h>
#include <string.h>

#define DOUBLE_MANTISSA 52
#define DOUBLE_BIAS 1023

const struct narrow narrow_half = {10, -14, 0x7c00};
const struct narrow narrow_brain = {7, -126, 0x7f80};

const struct narrow *narrow_of(enum dtype d)
{
    return d == DTYPE_float16 ? &narrow_half : &narrow_brain;
}

uint16_t narrow_from_double(double v, const struct narrow *f, bool *tie)
{
    const uint64_t one = 1ull << DOUBLE_MANTISSA;
    uint64_t bits, kept, rest, middle, scale;
    int exponent, below, drop;
    uint16_t sign;

    if (tie)
        *tie = false;
    memcpy(&bits, &v, sizeof bits);
    sign = (uint16_t)(bits >> 48 & 0x8000);
    if (isnan(v))
        return (uint16_t)(sign | f->infinity | 1u << (f->mantissa - 1));
    exponent = (int)(bits >> DOUBLE_MANTISSA & 0x7ff) - DOUBLE_BIAS;
    if (exponent > 1 - f->least) /* past the largest exponent */
        return sign | f->infinity;
    below = exponent < f->least ? f->least - exponent : 0; /* bits that a subnormal lacks */
    drop = DOUBLE_MANTISSA - f->mantissa + below;
    if (drop > DOUBLE_MANTISSA + 1) /* under half of the smallest */
        return sign;
    bits = (bits & (one - 1)) | one;
    kept = bits >> drop;
    rest = bits & ((1ull << drop) - 1);
    middle = 1ull << (drop - 1);
    if (tie)
        *tie = rest == middle;
    kept += rest > middle || (rest == middle && (kept & 1));
    /* A normal number's leading bit adds one to the exponent, and so does a carry. */
    scale = below ? 0 : (uint64_t)(exponent - f->least);
    return (uint16_t)(sign | ((scale << f->mantissa) + kept));
}

double narrow_to_double(uint16_t bits, const struct narrow *f)
{
    uint64_t sign = (uint64_t)(bits & 0x8000) << 48, out;
    uint64_t scale = (bits & 0x7fffu) >> f->mantissa, rest = bits & ((1u << f->mantissa) - 1);
    double v;

    if (scale == 0) {
        v = ldexp((double)rest, f->least - f->mantissa);
        return sign ? -v : v;
    }
    if ((bits & f->infinity) == f->infinity)
        scale = 0x7ff;
    else
        scale += (uint64_t)(DOUBLE_BIAS + f->least - 1);
    out = sign | scale << DOUBLE_MANTISSA | rest << (DOUBLE_MANTISSA - f->mantissa);
    memcpy(&v, &out, sizeof v);
    return v;
}
