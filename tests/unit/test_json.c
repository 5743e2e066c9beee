/* test_json.c - only JSON passes the check; spans give back what stands in the text. */
#include "tests/unit/unit.h"

#include "schema/limits.h"
#include "server/json.h"

#include <stdlib.h>
#include <string.h>

static int check(const char *text, struct json_span *doc, struct err *e)
{
    return json_check(text, strlen(text), doc, e);
}

static void json_passes(void **state)
{
    static const char *const good[] = {
        "0",
        "-0",
        "1.5e-3",
        "\"\"",
        "true",
        " [ ] ",
        "{}",
        "[1,[2,{\"a\":null}]]",
        "\"\\ud83d\\ude00\"",
        "{\"a\":{\"b\":[1,2,3]},\"c\":\"x\"}",
        "\"\xc3\xa9\"",
        "1E+2",
    };
    struct json_span doc;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(check(good[i], &doc, &e), 0);
}

static void nothing_else_passes(void **state)
{
    static const char *const bad[] = {
        "{",         "[1,]",        "[1 2]",       "{\"a\"}",   "{\"a\":1,}",   "{a:1}",
        "'a'",       "01",          "1.",          ".5",        "+1",           "1e",
        "-",         "NaN",         "Infinity",    "-Infinity", "nul",          "\"\\x\"",
        "\"\\u12\"", "\"\\u0000\"", "\"\\ud800\"", "\"\xff\"",  "\"\xc0\xaf\"", "\"\xed\xa0\x80\"",
        "\"a",       "\"\n\"",      "[]]",         "1 2",       "// c\n1",      "\xef\xbb\xbf{}",
        "[\"a\":1]", "}",
    };
    struct json_span doc;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(check(bad[i], &doc, &e), -1);
        assert_int_equal(e.code, ERR_bad_json);
    }
    assert_int_equal(check("  ", &doc, &e), -1);
    assert_int_equal(e.code, ERR_empty_body);
}

static void an_error_says_where_it_is(void **state)
{
    struct json_span doc;
    struct err e;

    (void)state;
    assert_int_equal(check("{\n  \"a\": nope}", &doc, &e), -1);
    assert_non_null(strstr(e.detail, "line 2, column 8"));
}

static void depth_ends_at_its_limit(void **state)
{
    char text[2 * LIMIT_JSON_DEPTH + 3];
    struct json_span doc;
    struct err e;

    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        int depth = LIMIT_JSON_DEPTH + extra;

        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        assert_int_equal(json_check(text, 2 * (size_t)depth, &doc, &e), -extra);
    }
    assert_int_equal(e.code, ERR_too_deep);
}

static void members_and_elements_come_in_order(void **state)
{
    struct json_member m[4];
    struct json_span doc, element;
    char text[16];
    uint32_t n;
    size_t pos = 0;
    int count = 0;
    struct err e;

    (void)state;
    assert_int_equal(
        check("{ \"a\\u0062\" : \"x\\ny\" , \"list\" : [ 1 , [2,3], {\"]\":\"[\"} ] }", &doc, &e),
        0);
    assert_int_equal(json_members(&doc, m, 4, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_string_equal(m[0].name, "ab");
    assert_int_equal(json_string(&m[0].value, text, sizeof text), 3);
    assert_string_equal(text, "x\ny");
    while (json_next(&m[1].value, &pos, &element))
        count++;
    assert_int_equal(count, 3);
    assert_int_equal(json_kind(&element), JSON_OBJECT);
    assert_int_equal(json_string(&m[0].value, text, 3), -1);
}

static void a_member_twice_is_refused(void **state)
{
    struct json_member m[4];
    struct json_span doc;
    uint32_t n;
    struct err e;

    (void)state;
    assert_int_equal(check("{\"a\":1,\"a\":2}", &doc, &e), 0);
    assert_int_equal(json_members(&doc, m, 4, &n, &e), -1);
    assert_int_equal(e.code, ERR_duplicate_member);
    assert_int_equal(check("{\"a\":1,\"b\":2,\"c\":3}", &doc, &e), 0);
    assert_int_equal(json_members(&doc, m, 2, &n, &e), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_passes),
        cmocka_unit_test(nothing_else_passes),
        cmocka_unit_test(an_error_says_where_it_is),
        cmocka_unit_test(depth_ends_at_its_limit),
        cmocka_unit_test(members_and_elements_come_in_order),
        cmocka_unit_test(a_member_twice_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
