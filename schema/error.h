/* error.h - what went wrong, for a person and for a program.
 *
 * A struct err is plain memory owned by the caller; functions that may fail take one as their last
 * argument, write it only when they fail, and return -1. Safe from any thread.
 */
#ifndef TUTTI_SCHEMA_ERROR_H
#define TUTTI_SCHEMA_ERROR_H

#include <stdint.h>

enum err_code {
    ERR_none,
#define ERR(code, status, title) ERR_##code,
#include "schema/errors.def"
#undef ERR
    ERR_COUNT
};

#define ERR_RANKS 64 /* ranks named in one error; more are counted in the detail */

struct err {
    enum err_code code;
    char detail[512];  /* a sentence that says what to change; UTF-8, no control characters */
    char pointer[192]; /* JSON Pointer to the bad field, or "" */
    uint32_t n_ranks;  /* of ranks[] */
    uint32_t ranks[ERR_RANKS];
    uint64_t asked_bytes, free_bytes; /* arena_full; both 0 otherwise */
};

/* Sets code and detail (printf format, cut to fit, control characters replaced by '?') and clears
 * the rest. Returns -1, so that a caller can say `return err_set(...)`. e may be NULL. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with ": strerror(errno_value)" appended. */
int err_sys(struct err *e, enum err_code code, int errno_value, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "context: " before the detail, as the error travels up. Returns -1. */
int err_context(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Sets the JSON Pointer. Returns -1. */
int err_pointer(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds a rank to the list (ignored when full). Returns -1. */
int err_rank(struct err *e, uint32_t rank);

/* The columns of a code. Never NULL. */
const char *err_name(enum err_code code);
int err_status(enum err_code code); /* HTTP */
const char *err_title(enum err_code code);

/* The code called name, or ERR_internal when there is none (a database of a newer build). */
enum err_code err_find(const char *name);

#endif
