/* fuzz_json.c - JSON text as spans, and its numbers: what jansson takes is taken, and means the
 * same. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/theirs.h"

#include "server/number.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As any dtype: refused with a reason, or taken, and then written and read again the same. */
static void check_number(const struct json_span *s)
{
    uint8_t value[8], again[8];
    char text[NUMBER_TEXT + 2];
    struct err e;

    for (int d = 0; d < DTYPE_COUNT; d++) {
        bool quoted;
        size_t n;

        memset(value, 0, sizeof value);
        memset(again, 0, sizeof again);
        if (number_read(s->at, s->len, (enum dtype)d, value, &e) != 0) {
            fuzz_check_err(&e);
            continue;
        }
        n = number_write((enum dtype)d, value, text);
        FUZZ_CHECK(n > 0 && n <= NUMBER_TEXT, "a number of %zu bytes", n);
        quoted = text[0] == '"';
        FUZZ_CHECK((quoted ? number_read_string(text + 1, n - 2, (enum dtype)d, again, &e)
                           : number_read(text, n, (enum dtype)d, again, &e)) == 0,
                   "%.*s as %s: %s", (int)n, text, dtypes[d].name, e.detail);
        FUZZ_CHECK(memcmp(value, again, sizeof value) == 0, "%.*s is %.*s as %s", (int)s->len,
                   s->at, (int)n, text, dtypes[d].name);
    }
}

static void check_string(const struct json_span *s)
{
    char text[64], *all = malloc(s->len + 1);
    long whole = json_string(s, all, s->len + 1), cut = json_string(s, text, sizeof text);

    FUZZ_CHECK(whole >= 0 && (size_t)whole < s->len, "a string of %zu bytes is %ld", s->len, whole);
    FUZZ_CHECK(memchr(all, 0, (size_t)whole) == NULL && all[whole] == 0, "a string has a NUL");
    FUZZ_CHECK(whole < (long)sizeof text ? cut == whole && memcmp(text, all, (size_t)cut) == 0
                                         : cut < 0,
               "a string of %ld bytes in room for 64: %ld", whole, cut);
    for (int d = 0; d < DTYPE_COUNT; d++) {
        uint8_t value[8];
        struct err e;

        if (number_read_string(all, (size_t)whole, (enum dtype)d, value, &e) != 0)
            fuzz_check_err(&e);
    }
    free(all);
}

static void check_inside(const struct json_span *outer, const struct json_span *inner)
{
    FUZZ_CHECK(inner->at > outer->at && inner->len > 0 &&
                   inner->at + inner->len < outer->at + outer->len,
               "a part leaves its whole");
    FUZZ_CHECK(json_shown(inner, 40) >= 0 && json_shown(inner, 40) <= 40,
               "more is shown than asked");
}

static void walk(const struct json_span *s, unsigned depth);

static void walk_object(const struct json_span *s, unsigned depth)
{
    struct json_member *m = malloc(LIMIT_JSON_MEMBERS * sizeof *m);
    uint32_t n = 0;
    struct err e;

    FUZZ_CHECK(m, "no memory for members");
    if (json_members(s, m, LIMIT_JSON_MEMBERS, &n, &e) != 0) {
        FUZZ_CHECK(e.code == ERR_duplicate_member || e.code == ERR_bad_json, "%s",
                   err_name(e.code));
        fuzz_check_err(&e);
        n = 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        FUZZ_CHECK(memchr(m[i].name, 0, sizeof m[i].name), "a name does not end");
        check_inside(s, &m[i].value);
        walk(&m[i].value, depth + 1);
    }
    free(m);
}

static void walk(const struct json_span *s, unsigned depth)
{
    struct json_span element;
    size_t pos = 0;

    FUZZ_CHECK(depth <= LIMIT_JSON_DEPTH || json_kind(s) > JSON_ARRAY, "depth %u", depth);
    switch (json_kind(s)) {
    case JSON_OBJECT:
        walk_object(s, depth);
        break;
    case JSON_ARRAY:
        while (json_next(s, &pos, &element)) {
            check_inside(s, &element);
            walk(&element, depth + 1);
        }
        break;
    case JSON_STRING:
        check_string(s);
        break;
    case JSON_NUMBER:
        check_number(s);
        break;
    default:
        break;
    }
}

/* The document alone, as both understand it. */
static void compare(const struct json_span *s, const struct theirs *theirs)
{
    static const char kinds[] = {
        [JSON_OBJECT] = 'o', [JSON_ARRAY] = 'a', [JSON_STRING] = 's', [JSON_NUMBER] = 'r',
        [JSON_TRUE] = 't',   [JSON_FALSE] = 'f', [JSON_NULL] = 'n'};
    char kind = kinds[json_kind(s)], *text;
    double ours = 0;
    struct err e;
    long len;

    FUZZ_CHECK(kind == theirs->kind || (kind == 'r' && theirs->kind == 'i'), "%c is %c", kind,
               theirs->kind);
    if (theirs->kind == 's') {
        text = malloc(s->len + 1);
        len = json_string(s, text, s->len + 1);
        FUZZ_CHECK(theirs->text && len == (long)theirs->len &&
                       memcmp(text, theirs->text, theirs->len) == 0,
                   "another string");
        free(text);
    } else if (theirs->kind == 'r') {
        FUZZ_CHECK(number_read(s->at, s->len, DTYPE_float64, &ours, &e) == 0 &&
                       memcmp(&ours, &theirs->real, sizeof ours) == 0,
                   "%.*s is %a, and %a here", (int)s->len, s->at, theirs->real, ours);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = fuzz_copy(data, len);
    struct theirs theirs;
    struct json_span doc;
    struct err e;
    int rc = json_check(text, len, &doc, &e);

    theirs_read(text, len, &theirs);
    if (rc == 0) {
        FUZZ_CHECK(theirs.taken || theirs.overflows, "jansson: %s", theirs.why);
        FUZZ_CHECK(doc.at >= text && doc.at + doc.len <= text + len,
                   "the document leaves its text");
        walk(&doc, 1);
        if (theirs.taken)
            compare(&doc, &theirs);
    } else {
        fuzz_check_err(&e);
        /* It ends a number at a NUL, and takes what follows. */
        FUZZ_CHECK(!theirs.taken || e.code == ERR_too_deep || memchr(text, 0, len),
                   "jansson takes it: %s", e.detail);
    }
    theirs_fini(&theirs);
    free(text);
    return 0;
}
