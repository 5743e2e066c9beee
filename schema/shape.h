/* shape.h - the extents of a tensor, counted without overflow. Pure; safe from any thread. */
#ifndef TUTTI_SCHEMA_SHAPE_H
#define TUTTI_SCHEMA_SHAPE_H

#include "schema/dtype.h"
#include "schema/error.h"
#include "schema/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shape {
    uint32_t ndim;            /* 0: a scalar */
    uint64_t dim[LIMIT_NDIM]; /* elements; [ndim, LIMIT_NDIM) is not looked at */
};

/* The one checked size function, used by every codec: elements and bytes of a tensor.
 *
 * Refuses ndim > LIMIT_NDIM (ERR_shape_invalid) and any product, zeros left out, that passes
 * PTRDIFF_MAX bytes (ERR_shape_too_large); so (0, 2^62) is refused as NumPy refuses it.
 * count and bytes may be NULL; set only on success. Returns 0 or -1. */
int shape_measure(const struct shape *s, enum dtype d, uint64_t *count, uint64_t *bytes,
                  struct err *e);

/* Elements of a shape that shape_measure has accepted. */
uint64_t shape_count(const struct shape *s);

bool shape_equal(const struct shape *a, const struct shape *b);

/* "(2, 3)" as Python writes it, cut to fit; returns buf. */
const char *shape_format(const struct shape *s, char *buf, size_t size);
#define SHAPE_TEXT 128 /* a comfortable buffer for it */

#endif
