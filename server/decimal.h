/* decimal.h - a number literal as exact decimal digits, where no binary float will do.
 * Pure; any thread; linear in the text; allocates nothing. */
#ifndef TUTTI_SERVER_DECIMAL_H
#define TUTTI_SERVER_DECIMAL_H

#ifdef __cplusplus
extern "C" {
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* digits x 10^exponent, a view of the text; the digits have no zeros around them. */
struct decimal {
    const char *at; /* the first digit; a point may stand among them */
    int64_t count;  /* 0: zero */
    int64_t exponent;
    bool negative;
};

/* Returns 0, or -1 when the text is no JSON number but for leading zeros. */
int decimal_read(const char *text, size_t len, struct decimal *out);

/* The magnitude is below 10^this, and not below a tenth of it. */
int64_t decimal_top(const struct decimal *d);

/* Magnitudes: below 0, 0 or above 0 as a is smaller, equal or larger. Neither may be zero. */
int decimal_compare(const struct decimal *a, const struct decimal *b);

/* An integer (exponent >= 0) in plain digits, with its sign. Returns the bytes, or 0 when cap is
 * too small. No NUL. */
size_t decimal_write(const struct decimal *d, char *out, size_t cap);

#ifdef __cplusplus
}
#endif

#endif
