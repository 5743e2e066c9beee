/* number.h - the one place that reads and writes numbers. Pure; any thread; locale-free.
 * Implemented over C++17 <charconv> (correctly rounded, shortest round trip). */
#ifndef TUTTI_SERVER_NUMBER_H
#define TUTTI_SERVER_NUMBER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "schema/dtype.h"
#include "schema/error.h"

/* A JSON number literal text[0..len) (checked by the caller's scanner) as one element at out.
 *
 * Integers: digits with an optional '-'; 1.0 and 1e2 are taken when they are exactly integers; 1.5
 * is ERR_value_invalid; outside the dtype ERR_number_out_of_range. Floats: correctly rounded to the
 * dtype itself (no double rounding); overflow to infinity is ERR_number_out_of_range, underflow
 * gives the nearest subnormal or zero with its sign. bool: ERR_value_invalid. Linear in len.
 * Returns 0 or -1. */
int number_read(const char *text, size_t len, enum dtype d, void *out, struct err *e);

/* What a JSON string may say for a number: "NaN", "Infinity", "-Infinity" for floats, a decimal
 * integer for int64 and uint64. Else ERR_value_invalid. */
int number_read_string(const char *text, size_t len, enum dtype d, void *out, struct err *e);

/* One element as JSON: the shortest decimal that reads back to the same bits (of its own dtype),
 * without ".0" but for -0.0; non-finite as quoted strings; a
 * uint64 above 2^63-1 quoted; true and false. Returns bytes written, at most NUMBER_TEXT. No NUL.
 */
size_t number_write(enum dtype d, const void *element, char *out);
#define NUMBER_TEXT 40

size_t number_write_double(double v, char *out); /* shortest; finite */

/* float16 and bfloat16 bits, round to nearest even. */
uint16_t number_f16_from_double(double v);
double number_f16_to_double(uint16_t bits);

#ifdef __cplusplus
}
#endif

#endif
