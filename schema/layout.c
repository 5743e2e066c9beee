/* layout.c - the products before and after an axis. */
#include "schema/layout.h"

struct layout layout_of(const struct shape *s, uint32_t axis)
{
    struct layout l = {.outer = 1, .axis = s->dim[axis], .inner = 1};

    for (uint32_t i = 0; i < axis; i++)
        l.outer *= s->dim[i];
    for (uint32_t i = axis + 1; i < s->ndim; i++)
        l.inner *= s->dim[i];
    return l;
}
