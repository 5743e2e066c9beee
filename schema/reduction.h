/* reduction.h - how elements of several ranks become one. */
#ifndef TUTTI_SCHEMA_REDUCTION_H
#define TUTTI_SCHEMA_REDUCTION_H

/* X(REDUCTION, the word for it): how elements meet. */
#define REDUCTIONS(X)      \
    X(NONE, "none")        \
    X(SUM, "sums")         \
    X(MAX, "maxima")       \
    X(MIN, "minima")       \
    X(PROD, "products")    \
    X(AVG, "means")        \
    X(AND, "bitwise ands") \
    X(OR, "bitwise ors")   \
    X(XOR, "bitwise exclusive ors")

enum reduction {
#define X(REDUCTION, plural) REDUCE_##REDUCTION,
    REDUCTIONS(X)
#undef X
        REDUCTION_COUNT
};

extern const char *const reduction_plural[REDUCTION_COUNT]; /* "sums": for an error's detail */

#endif
