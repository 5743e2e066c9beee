/* text.h - a JSON document (or other text) under construction, in growing memory.
 *
 * Appends never fail one by one: running out of memory sets `failed`, which the end looks at.
 * Commas come by themselves. Owned by one thread.
 */
#ifndef TUTTI_SERVER_TEXT_H
#define TUTTI_SERVER_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *data; /* malloc'd, NUL-terminated when not NULL */
    size_t len, cap;
    bool failed;
    bool comma;  /* a value stands before */
    unsigned up; /* for relative links: how many ../ lead from where it is read to the root of the
                    service; text_fini keeps it */
};

void text_init(struct text *t);
void text_fini(struct text *t);

/* Room for n more bytes; NULL when out of memory. Advance len yourself. */
char *text_room(struct text *t, size_t n);

void text_raw(struct text *t, const char *bytes, size_t n); /* as it is, no comma */
void text_format(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* JSON. A name of NULL is an element of an array. */
void text_object(struct text *t, const char *name);
void text_end_object(struct text *t);
void text_array(struct text *t, const char *name);
void text_end_array(struct text *t);
/* Escaped; a value of NULL is null. */
void text_string(struct text *t, const char *name, const char *value);
void text_uint(struct text *t, const char *name, uint64_t value);
void text_int(struct text *t, const char *name, int64_t value);
void text_double(struct text *t, const char *name, double value); /* shortest; non-finite: null */
void text_bool(struct text *t, const char *name, bool value);
void text_null(struct text *t, const char *name);
/* `"name":`; a value of the caller's follows, then text_value_end. */
void text_name(struct text *t, const char *name);
void text_value_end(struct text *t);

/* Microseconds of wall time as RFC 3339; 0: null. */
void text_time(struct text *t, const char *name, uint64_t wall_us);

#endif
