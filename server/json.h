/* json.h - JSON text split into spans without building a tree, so that hostile or huge text
 * costs no memory. Pure; any thread.
 */
#ifndef TUTTI_SERVER_JSON_H
#define TUTTI_SERVER_JSON_H

#include "schema/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A piece of a document; base is the whole document, for line and column. */
struct json_span {
    const char *base;
    const char *at;
    size_t len;
};

enum json_kind {
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL
};

struct json_member {
    char name[64]; /* unescaped; longer ones end in "..." and are unknown to everyone */
    struct json_span value;
};

/* Checks the whole text once, in linear time and constant memory: RFC 8259 grammar, UTF-8 (no
 * overlong, no surrogates), no \u0000, no lone \uD800, depth <= LIMIT_JSON_DEPTH, nothing after.
 * Everything below may then assume valid text. Sets *doc to the document without surrounding space.
 * Returns 0, or -1 with ERR_empty_body, ERR_bad_json (line and column in the detail; names a BOM, a
 * bare NaN or Infinity, comments, single quotes and trailing commas for what they are) or
 * ERR_too_deep. */
int json_check(const char *text, size_t len, struct json_span *doc, struct err *e);

enum json_kind json_kind(const struct json_span *s);

/* Behind the string, number or word that begins at p, in checked text that ends at end. */
const char *json_end_of_leaf(const char *p, const char *end);

/* Members of an object, in order. Returns 0, or -1 with ERR_duplicate_member or (more than max)
 * ERR_bad_json. */
int json_members(const struct json_span *object, struct json_member *out, uint32_t max, uint32_t *n,
                 struct err *e);

/* Walks an array: *pos starts as 0. Returns true with the next element, false at the end. */
bool json_next(const struct json_span *array, size_t *pos, struct json_span *element);

/* How many bytes of a span, at most max, a message shows: not half a character. */
int json_shown(const struct json_span *s, size_t max);

/* Unescapes a string into out (NUL-terminated). Returns its length, or -1 when it does not fit. */
long json_string(const struct json_span *string, char *out, size_t cap);

#endif
