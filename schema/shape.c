/* shape.c - elements and bytes of a tensor, without overflow. */
#include "schema/shape.h"

#include <inttypes.h>
#include <stdio.h>

int shape_measure(const struct shape *s, enum dtype d, uint64_t *count, uint64_t *bytes,
                  struct err *e)
{
    uint64_t product = dtypes[d].size_bytes; /* zeros left out, as NumPy does */
    bool empty = false;

    if (s->ndim > LIMIT_NDIM)
        return err_set(e, ERR_shape_invalid, "the shape has %" PRIu32 " dimensions; at most %d",
                       s->ndim, LIMIT_NDIM);
    for (uint32_t i = 0; i < s->ndim; i++) {
        if (s->dim[i] == 0)
            empty = true;
        else if (__builtin_mul_overflow(product, s->dim[i], &product) || product > PTRDIFF_MAX)
            return err_set(
                e, ERR_shape_too_large,
                "the shape's elements take more than 2^63-1 bytes as %s; make it smaller",
                dtypes[d].name);
    }
    if (empty)
        product = 0;
    if (count)
        *count = product / dtypes[d].size_bytes;
    if (bytes)
        *bytes = product;
    return 0;
}

uint64_t shape_count(const struct shape *s)
{
    uint64_t count = 1;

    for (uint32_t i = 0; i < s->ndim; i++)
        count *= s->dim[i];
    return count;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    if (a->ndim != b->ndim)
        return false;
    for (uint32_t i = 0; i < a->ndim; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

const char *shape_format(const struct shape *s, char *buf, size_t size)
{
    size_t at = (size_t)snprintf(buf, size, "(");

    for (uint32_t i = 0; i < s->ndim && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%" PRIu64, i ? ", " : "", s->dim[i]);
    if (at < size)
        snprintf(buf + at, size - at, s->ndim == 1 ? ",)" : ")");
    return buf;
}
