/* codecs_json.h - reads JSON tensors for tests, as the first input of a job. */
#ifndef TUTTI_TESTS_CODECS_JSON_H
#define TUTTI_TESTS_CODECS_JSON_H

#include "tests/unit/codecs.h"

#define IN "/inputs/0"

static inline int read_as(const char *text, enum dtype d, struct tensor **out, bool *named,
                          struct err *e)
{
    char *copy = malloc(strlen(text)); /* no NUL: a sanitizer sees a read past the end */
    struct json_span doc;
    int rc;

    assert_non_null(copy);
    memcpy(copy, text, strlen(text));
    *e = (struct err){0};
    *out = NULL;
    if (json_check(copy, strlen(text), &doc, e) != 0)
        fail_msg("%.80s: %s", text, e->detail);
    rc = json_tensor_read(&doc, d, "/inputs/0", NULL, out, named, e);
    free(copy);
    return rc;
}

static inline struct tensor *must(const char *text, enum dtype d)
{
    struct tensor *t;
    struct err e;
    bool named;

    if (read_as(text, d, &t, &named, &e) != 0)
        fail_msg("%.80s: %s: %s", text, err_name(e.code), e.detail);
    assert_false(named);
    return t;
}

static inline void refuse(const char *text, enum dtype d, enum err_code code, const char *pointer)
{
    uint64_t before = live_extents();
    struct tensor *t;
    struct err e;
    bool named;

    if (read_as(text, d, &t, &named, &e) == 0)
        fail_msg("%.80s was taken", text);
    if (e.code != code || strcmp(e.pointer, pointer) != 0)
        fail_msg("%.80s: %s at %s: %s", text, err_name(e.code), e.pointer, e.detail);
    assert_null(t);
    assert_int_equal(live_extents(), before);
}

static inline void expect_shape(const struct tensor *t, const char *want)
{
    char got[SHAPE_TEXT];

    assert_string_equal(shape_format(&t->shape, got, sizeof got), want);
}

#endif
