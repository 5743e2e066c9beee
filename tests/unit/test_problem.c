/* test_problem.c - rules of problem documents: every code makes a whole one. */
#include "tests/unit/unit.h"

#include "server/problem.h"

#include <jansson.h>
#include <string.h>

static json_t *document_at(const struct err *e, const char *job, unsigned up)
{
    struct text out;
    json_error_t error;
    json_t *doc;

    text_init(&out);
    out.up = up;
    problem_write(&out, e, job);
    assert_false(out.failed);
    doc = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, &error);
    if (!doc)
        fail_msg("%s: %s", error.text, out.data);
    text_fini(&out);
    return doc;
}

static json_t *document(const struct err *e, const char *job)
{
    return document_at(e, job, 0);
}

static const char *text_of(const json_t *doc, const char *name)
{
    const char *value = json_string_value(json_object_get(doc, name));

    return value ? value : "";
}

static void every_code_has_a_whole_document(void **state)
{
    (void)state;
    for (int code = ERR_none + 1; code < ERR_COUNT; code++) {
        struct err e;
        json_t *doc;

        err_set(&e, (enum err_code)code, "what to change");
        doc = document(&e, NULL);
        assert_string_equal(text_of(doc, "code"), err_name(e.code));
        assert_string_equal(text_of(doc, "title"), err_title(e.code));
        assert_string_equal(text_of(doc, "detail"), "what to change");
        assert_int_equal(json_integer_value(json_object_get(doc, "status")), err_status(e.code));
        assert_true(err_status(e.code) >= 400 && err_status(e.code) < 600);
        assert_int_equal(json_object_size(doc), 5); /* the four, and type */
        json_decref(doc);
    }
}

/* RFC 9457: the type is what programs compare. */
static void equal_codes_have_equal_types_and_others_other_ones(void **state)
{
    (void)state;
    for (int a = ERR_none + 1; a < ERR_COUNT; a++) {
        struct err e;
        json_t *doc;

        err_set(&e, (enum err_code)a, "x");
        doc = document(&e, NULL);
        assert_non_null(strstr(text_of(doc, "type"), err_name(e.code)));
        assert_string_equal(strstr(text_of(doc, "type"), err_name(e.code)), err_name(e.code));
        json_decref(doc);
    }
}

/* It leads to the error's page from wherever the problem is read. */
static void the_type_goes_up_to_the_root(void **state)
{
    static const char *const types[] = {"docs/errors/not_found", "../docs/errors/not_found",
                                        "../../docs/errors/not_found"};
    struct err e;
    json_t *doc;

    (void)state;
    err_set(&e, ERR_not_found, "x");
    for (unsigned up = 0; up < 3; up++) {
        doc = document_at(&e, NULL, up);
        assert_string_equal(text_of(doc, "type"), types[up]);
        json_decref(doc);
    }
    doc = document_at(&e, NULL, 8000);
    assert_string_equal(text_of(doc, "type"), "about:blank");
    json_decref(doc);
}

static void what_is_set_is_said(void **state)
{
    struct err e;
    json_t *doc, *ranks;

    (void)state;
    err_set(&e, ERR_arena_full, "no room");
    err_pointer(&e, "/inputs/%d", 3);
    err_rank(&e, 2);
    err_rank(&e, 0);
    e.asked_bytes = 1ull << 40;
    e.free_bytes = 0;
    doc = document(&e, "j_01JDDB5T0Z6R3V8QX1M4KCNE7H");
    ranks = json_object_get(doc, "ranks");
    assert_string_equal(text_of(doc, "pointer"), "/inputs/3");
    assert_int_equal(json_array_size(ranks), 2);
    assert_int_equal(json_integer_value(json_array_get(ranks, 0)), 2);
    assert_int_equal(json_integer_value(json_object_get(doc, "asked_bytes")), 1ll << 40);
    assert_true(json_is_integer(json_object_get(doc, "free_bytes")));
    assert_string_equal(text_of(doc, "job"), "j_01JDDB5T0Z6R3V8QX1M4KCNE7H");
    json_decref(doc);
}

static void details_stay_json_whatever_they_quote(void **state)
{
    struct err e;
    json_t *doc;

    (void)state;
    err_set(&e, ERR_bad_parameter, "label is \"a\\b\"\r\n\x1b[31m <script> \xe2\x80\xae \xff");
    doc = document(&e, NULL);
    assert_non_null(strstr(text_of(doc, "detail"), "\"a\\b\"??"));
    assert_null(strchr(text_of(doc, "detail"), '\x1b'));
    json_decref(doc);
}

static void what_may_succeed_later_says_when(void **state)
{
    (void)state;
    for (int code = ERR_none + 1; code < ERR_COUNT; code++) {
        struct err e;
        int status = err_status((enum err_code)code);

        err_set(&e, (enum err_code)code, "x");
        assert_int_equal(problem_retry_after(&e) > 0, status == 429 || status == 503);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_whole_document),
        cmocka_unit_test(equal_codes_have_equal_types_and_others_other_ones),
        cmocka_unit_test(the_type_goes_up_to_the_root),
        cmocka_unit_test(what_is_set_is_said),
        cmocka_unit_test(details_stay_json_whatever_they_quote),
        cmocka_unit_test(what_may_succeed_later_says_when),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
