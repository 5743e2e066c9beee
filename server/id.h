/* id.h - ULIDs: sortable names of jobs and tensors. Any thread (one mutex, id_lock).
 * Source: github.com/ulid/spec: 48 bits of milliseconds, 80 random bits, Crockford base 32. */
#ifndef TUTTI_SERVER_ID_H
#define TUTTI_SERVER_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct id {
    uint8_t b[16]; /* big endian, so that memcmp sorts by time */
};

#define ID_TEXT 29 /* "j_" + 26 + NUL */

/* A fresh id, greater than every one made before by this process (also when the wall clock steps
 * back; random bits are incremented within a millisecond). */
struct id id_new(void);

/* Every later id_new() is greater than it. At start: the ids of earlier processes, whose clock may
 * have been ahead. */
void id_pass(const struct id *id);

/* prefix 'j' or 't': "j_01ARZ3NDEKTSV4RRFFQ69G5FAV"; returns buf. */
const char *id_format(char prefix, const struct id *id, char buf[ID_TEXT]);

/* Upper or lower case. Returns 0, or -1 when text[0..len) is not of that form. */
int id_parse(char prefix, const char *text, size_t len, struct id *out);

bool id_equal(const struct id *a, const struct id *b);
bool id_is_zero(const struct id *id);

#endif
