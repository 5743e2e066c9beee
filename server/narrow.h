/* narrow.h - float16 and bfloat16: their bits from a double and back. Pure; any thread. */
#ifndef TUTTI_SERVER_NARROW_H
#define TUTTI_SERVER_NARROW_H

#ifdef __cplusplus
extern "C" {
#endif

#include "schema/dtype.h"

#include <stdbool.h>
#include <stdint.h>

struct narrow {
    int mantissa;      /* stored bits */
    int least;         /* exponent of the smallest normal number */
    uint16_t infinity; /* its bits */
};

extern const struct narrow narrow_half, narrow_brain;

/* Of float16, or else of bfloat16. */
const struct narrow *narrow_of(enum dtype d);

/* v rounded to nearest even; infinity when it is too large. tie: set when v lies in the middle of
 * two neighbours; may be NULL. */
uint16_t narrow_from_double(double v, const struct narrow *f, bool *tie);

double narrow_to_double(uint16_t bits, const struct narrow *f); /* exact */

#ifdef __cplusplus
}
#endif

#endif
