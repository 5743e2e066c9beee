/* layout.h - a C-contiguous tensor seen from one axis: outer rows of (axis x inner) elements.
 *
 * Every axis variant of a collective is a strided copy in these terms. Pure; any thread.
 */
#ifndef TUTTI_SCHEMA_LAYOUT_H
#define TUTTI_SCHEMA_LAYOUT_H

#include "schema/shape.h"

struct layout {
    uint64_t outer; /* product of the dims before the axis */
    uint64_t axis;  /* the dim itself */
    uint64_t inner; /* product of the dims after it, in elements */
};

/* axis in [0, ndim); s accepted by shape_measure. A zero elsewhere makes outer or inner 0. */
struct layout layout_of(const struct shape *s, uint32_t axis);

#endif
