/* test_json.c - rules of JSON text: what is refused and where, and how it is walked. */
#include "tests/unit/unit.h"

#include "schema/clock.h"
#include "schema/limits.h"
#include "server/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check(const char *text, size_t len, struct json_span *doc, struct err *e)
{
    char *copy = malloc(len ? len : 1); /* a sanitizer sees a read past the end */
    int rc;

    assert_non_null(copy);
    memcpy(copy, text, len);
    *e = (struct err){0};
    rc = json_check(copy, len, doc, e);
    free(copy);
    return rc;
}

static void json_of_every_kind_is_taken(void **state)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "10",
        "1.5e-7",
        "1E+2",
        "true",
        "false",
        "null",
        "\"\"",
        "[]",
        "{}",
        " \t\r\n[ ] ",
        "[1,2,[3,[]]]",
        "{\"a\":{\"b\":[{}]}, \"\":0}",
        "[{},{}]",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\"",
        "\"\x7f\"",
        "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_span doc;
        struct err e;

        if (check(texts[i], strlen(texts[i]), &doc, &e) != 0)
            fail_msg("%s: %s", texts[i], e.detail);
    }
}

static const struct {
    const char *text, *detail;
} no_json[] = {
    {"{", "line 1, column 2: a member"},
    {"[", "line 1, column 2: the text ends"},
    {"[1", "column 3: a list does not end"},
    {"{\"a\":1", "an object does not end"},
    {"[1,]", "line 1, column 4: a value is missing here (is there a trailing comma?)"},
    {"{\"a\":1,}", "column 8: a member is missing here (is there a trailing comma?)"},
    {"[,1]", "column 2: a value is expected"},
    {"[1 2]", "column 4: a comma or ] is expected"},
    {"{\"a\":1 \"b\":2}", "a comma or } is expected"},
    {"{\n  \"a\": nope}", "line 2, column 8: a value is expected"},
    {"{\"a\" 1}", "a colon"},
    {"[]]", "something follows"},
    {"{a:1}", "double quotes"},
    {"{1:1}", "double quotes"},
    {"[1]\n\n 2", "line 3, column 2: something follows"},
    {"1 // one", "something follows"},
    {"// one\n1", "no comments"},
    {"[1, /* two */ 2]", "column 5: JSON has no comments"},
    {"'a'", "double quotes"},
    {"[\n1,\n'a']", "line 3, column 1: strings stand in double quotes"},
    {"NaN", "write \"NaN\""},
    {"[Infinity]", "write \"Infinity\""},
    {"[1, -Infinity]", "write \"-Infinity\""},
    {"nan", "a value is expected"},
    {"True", "a value is expected"},
    {"tru", "a value is expected"},
    {"nulll", "something follows"},
    {"01", "no leading zero"},
    {"-01", "no leading zero"},
    {"-", "digits after its sign"},
    {"+1", "a value is expected"},
    {".5", "a value is expected"},
    {"1.", "digits follow a decimal point"},
    {"1.e5", "digits follow a decimal point"},
    {"1e", "digits follow an exponent"},
    {"1e+", "digits follow an exponent"},
    {"0x10", "something follows"},
    {"1_000", "something follows"},
    {"\"", "does not end"},
    {"\"a\\", "no such escape"},
    {"\"\\x41\"", "no such escape"},
    {"\"\\u12\"", "four hexadecimal digits"},
    {"\"\\u12g4\"", "four hexadecimal digits"},
    {"\"\\u0000\"", "\\u0000 is not allowed"},
    {"\"\\ud800\"", "a surrogate stands alone"},
    {"\"\\ud800\\u0041\"", "a surrogate stands alone"},
    {"\"\\ud800\\ud800\"", "a surrogate stands alone"},
    {"\"\\udc00\"", "a surrogate stands alone"},
    {"\"\\ud83d\\ude0\"", "a surrogate stands alone"},
    {"\"a\tb\"", "a control character"},
    {"\"a\nb\"", "a control character"},
    {"\"\xc0\xaf\"", "not UTF-8"}, /* overlong */
    {"\"\xc1\xbf\"", "not UTF-8"},
    {"\"\xe0\x9f\xbf\"", "not UTF-8"},
    {"\"\xf0\x8f\xbf\xbf\"", "not UTF-8"},
    {"\"\xed\xa0\x80\"", "not UTF-8"},     /* a surrogate */
    {"\"\xf4\x90\x80\x80\"", "not UTF-8"}, /* past U+10FFFF */
    {"\"\xf5\x80\x80\x80\"", "not UTF-8"},
    {"\"\x80\"", "not UTF-8"},
    {"\"\xc3\"", "not UTF-8"},
    {"\"\xe2\x82\"", "not UTF-8"},
    {"\"\xe2\x82", "not UTF-8"},
    {"\xff", "a value is expected"},
    {"]", "a value is missing"},
    {"[}", "a value is missing"},
    {"[1}", "a comma or ]"},
    {"{\"a\":1]", "a comma or }"},
    {"\xef\xbb\xbf[1]", "byte order mark"},
    {"[1]\x0c", "something follows"},
};

static void what_is_no_json_is_refused_where_it_goes_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof no_json / sizeof no_json[0]; i++) {
        struct json_span doc;
        struct err e;

        if (check(no_json[i].text, strlen(no_json[i].text), &doc, &e) == 0)
            fail_msg("%s was taken", no_json[i].text);
        if (e.code != ERR_bad_json || !strstr(e.detail, no_json[i].detail))
            fail_msg("%s: %s: %s", no_json[i].text, err_name(e.code), e.detail);
    }
}

static void nothing_and_space_alone_are_an_empty_body(void **state)
{
    struct json_span doc;
    struct err e;

    (void)state;
    assert_int_equal(check("", 0, &doc, &e), -1);
    assert_int_equal(e.code, ERR_empty_body);
    assert_int_equal(check(" \r\n\t", 4, &doc, &e), -1);
    assert_int_equal(e.code, ERR_empty_body);
}

static void a_nul_byte_is_refused_anywhere(void **state)
{
    static const char texts[][8] = {"[1,\0 2]", "\"a\0b\"   ", "[1]\0   "};
    struct json_span doc;
    struct err e;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(check(texts[i], 7, &doc, &e), -1);
        assert_int_equal(e.code, ERR_bad_json);
    }
}

static void every_beginning_of_a_document_is_refused(void **state)
{
    static const char text[] = "{\"a\": [1.5e3, \"\\u00e9\xc3\xa9\", {\"b\": null}], \"c\": true}";
    struct json_span doc;
    struct err e;

    (void)state;
    assert_int_equal(check(text, sizeof text - 1, &doc, &e), 0);
    for (size_t n = 0; n < sizeof text - 1; n++)
        assert_int_equal(check(text, n, &doc, &e), -1);
}

/* Nested n deep, closed or not. */
static int nested(size_t n, bool closed, const char *open, const char *close, struct err *e)
{
    size_t len = strlen(open);
    char *text = malloc(n * (len + 1) + 1);
    struct json_span doc;
    int rc;

    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * len, open, len);
    if (strcmp(open, "[") != 0)
        text[n * len] = '1';
    memset(text + n * len + (*open != '['), *close, n);
    rc = check(text, n * len + (*open != '[') + (closed ? n : 0), &doc, e);
    free(text);
    return rc;
}

static void depth_is_taken_up_to_the_limit_and_no_deeper(void **state)
{
    static const size_t deep[] = {LIMIT_JSON_DEPTH + 1, 2048, 100000};
    struct err e;

    (void)state;
    assert_int_equal(nested(LIMIT_JSON_DEPTH, true, "[", "]", &e), 0);
    assert_int_equal(nested(LIMIT_JSON_DEPTH, true, "{\"a\":", "}", &e), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(nested(deep[i], true, "[", "]", &e), -1);
        assert_int_equal(e.code, ERR_too_deep);
        assert_int_equal(nested(deep[i], false, "[", "]", &e), -1);
        assert_int_equal(e.code, ERR_too_deep);
        assert_int_equal(nested(deep[i], true, "{\"a\":", "}", &e), -1);
        assert_int_equal(e.code, ERR_too_deep);
    }
}

/* ---- walking ---- */

static struct json_span must(const char *text)
{
    struct json_span doc;
    struct err e;

    if (json_check(text, strlen(text), &doc, &e) != 0)
        fail_msg("%s: %s", text, e.detail);
    return doc;
}

static void expect_span(const struct json_span *s, const char *text)
{
    assert_int_equal(s->len, strlen(text));
    assert_memory_equal(s->at, text, s->len);
}

static void a_list_is_walked_element_by_element(void **state)
{
    static const char *const want[] = {"1",    "[2, [3]]", "\"a,]\\\"\"", "{\"b\": [\"}\"]}",
                                       "null", "-1.5e3"};
    static const enum json_kind kind[] = {JSON_NUMBER, JSON_ARRAY, JSON_STRING,
                                          JSON_OBJECT, JSON_NULL,  JSON_NUMBER};
    struct json_span doc = must(" [1, [2, [3]],\n\"a,]\\\"\" , {\"b\": [\"}\"]},null, -1.5e3 ] ");
    struct json_span element;
    size_t pos = 0, n = 0;

    (void)state;
    for (; json_next(&doc, &pos, &element); n++) {
        assert_true(n < 6);
        expect_span(&element, want[n]);
        assert_int_equal(json_kind(&element), kind[n]);
        assert_ptr_equal(element.base, doc.base);
    }
    assert_int_equal(n, 6);
    assert_false(json_next(&doc, &pos, &element));
    doc = must("[ ]");
    pos = 0;
    assert_false(json_next(&doc, &pos, &element));
}

static void an_object_is_split_into_its_members(void **state)
{
    struct json_span doc = must(
        "{ \"op\" : \"x\", \"in\\u0070uts\":[1,{\"a\":\"}\"}],\"\":true , \"d\":{}}");
    struct json_member m[4];
    struct err e;
    uint32_t n;

    (void)state;
    assert_int_equal(json_members(&doc, m, 4, &n, &e), 0);
    assert_int_equal(n, 4);
    assert_string_equal(m[0].name, "op");
    expect_span(&m[0].value, "\"x\"");
    assert_string_equal(m[1].name, "inputs");
    expect_span(&m[1].value, "[1,{\"a\":\"}\"}]");
    assert_string_equal(m[2].name, "");
    assert_int_equal(json_kind(&m[2].value), JSON_TRUE);
    expect_span(&m[3].value, "{}");
    assert_int_equal(json_members(&doc, m, 3, &n, &e), -1);
    assert_int_equal(e.code, ERR_bad_json);
    assert_non_null(strstr(e.detail, "more than 3 members"));
    doc = must("{}");
    assert_int_equal(json_members(&doc, m, 4, &n, &e), 0);
    assert_int_equal(n, 0);
}

static void a_member_given_twice_is_refused_however_it_is_written(void **state)
{
    struct json_member m[4];
    struct json_span doc = must("{\"a\": 1, \"b\": 2, \"\\u0061\": 3}");
    struct err e;
    uint32_t n;

    (void)state;
    assert_int_equal(json_members(&doc, m, 4, &n, &e), -1);
    assert_int_equal(e.code, ERR_duplicate_member);
    assert_non_null(strstr(e.detail, "\"a\""));
}

static void names_too_long_to_be_known_are_cut_between_characters(void **state)
{
    char text[400], stem[80];
    struct json_member m[3];
    struct json_span doc;
    struct err e;
    uint32_t n;

    (void)state;
    memset(stem, 'x', sizeof stem - 1);
    stem[sizeof stem - 1] = '\0';
    snprintf(text, sizeof text, "{\"%s1\": 1, \"%s2\": 2}", stem, stem);
    doc = must(text);
    assert_int_equal(json_members(&doc, m, 3, &n, &e), 0); /* two names, not one twice */
    assert_int_equal(n, 2);
    assert_int_equal(strlen(m[0].name), 63);
    assert_string_equal(m[0].name + 60, "...");
    stem[59] = '\xc3'; /* one character over the cut */
    stem[60] = '\xa9';
    snprintf(text, sizeof text, "{\"%s\": 1}", stem);
    doc = must(text);
    assert_int_equal(json_members(&doc, m, 3, &n, &e), 0);
    assert_int_equal(strlen(m[0].name), 62);
    assert_string_equal(m[0].name + 58, "x...");
}

static void a_string_is_unescaped_into_the_room_there_is(void **state)
{
    struct json_span s = must("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\uD83D\\uDE00\"");
    static const char want[] = "a\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
    char out[64];

    (void)state;
    assert_int_equal(json_string(&s, out, sizeof out), sizeof want - 1);
    assert_string_equal(out, want);
    assert_int_equal(json_string(&s, out, sizeof want), sizeof want - 1);
    for (size_t cap = 0; cap < sizeof want; cap++)
        assert_int_equal(json_string(&s, out, cap), -1);
    s = must("\"\"");
    assert_int_equal(json_string(&s, out, 1), 0);
    assert_string_equal(out, "");
}

static void a_message_shows_no_half_character(void **state)
{
    struct json_span s = {.at = "ab\xe2\x82\xac!", .len = 6};

    (void)state;
    assert_int_equal(json_shown(&s, 2), 2);
    assert_int_equal(json_shown(&s, 3), 2);
    assert_int_equal(json_shown(&s, 4), 2);
    assert_int_equal(json_shown(&s, 5), 5);
    assert_int_equal(json_shown(&s, 60), 6);
}

/* ---- hostile text ---- */

static char *repeat(const char *open, const char *piece, size_t n, const char *close, size_t *len)
{
    size_t size = strlen(piece);
    char *text = malloc(strlen(open) + n * size + strlen(close) + 1), *p = text;

    assert_non_null(text);
    p += sprintf(p, "%s", open);
    for (size_t i = 0; i < n; i++, p += size)
        memcpy(p, piece, size);
    p--; /* the last comma */
    p += sprintf(p, "%s", close);
    *len = (size_t)(p - text);
    return text;
}

/* 6 MiB each; far more time than linear reading takes, far less than quadratic. */
static void large_hostile_text_costs_linear_time(void **state)
{
    static const char *const pieces[] = {"{},", "[[]],", "\"\",", "0.5,", "[],", "\"\\u0041\","};
    uint64_t start = clock_us();

    (void)state;
    for (int i = 0; i < 6; i++) {
        struct json_span doc, element;
        struct err e;
        size_t len, pos = 0, n = 0, count = (6u << 20) / strlen(pieces[i]);
        char *text = repeat("[", pieces[i], count, "]", &len);

        assert_int_equal(json_check(text, len, &doc, &e), 0);
        while (json_next(&doc, &pos, &element))
            n++;
        assert_int_equal(n, count);
        free(text);
    }
    assert_true(clock_us() - start < 5000000);
}

static void an_object_of_300000_members_is_refused_at_once(void **state)
{
    struct json_member *m = calloc(LIMIT_JSON_MEMBERS, sizeof *m);
    char *text = malloc(300000 * 16), *p = text;
    struct json_span doc;
    struct err e;
    uint32_t n;
    uint64_t start;

    (void)state;
    for (int i = 0; i < 300000; i++)
        p += sprintf(p, "%c\"m%d\":1", i ? ',' : '{', i);
    *p++ = '}';
    assert_int_equal(json_check(text, (size_t)(p - text), &doc, &e), 0);
    start = clock_us();
    assert_int_equal(json_members(&doc, m, LIMIT_JSON_MEMBERS, &n, &e), -1);
    assert_true(clock_us() - start < 100000);
    assert_int_equal(e.code, ERR_bad_json);
    assert_non_null(strstr(e.detail, "64"));
    free(text);
    free(m);
}

/* Walks everything there is, so that a sanitizer sees every read. */
static void walk(const struct json_span *s, int depth)
{
    struct json_member m[8];
    struct json_span element;
    struct err e;
    char text[32];
    size_t pos = 0;
    uint32_t n;

    assert_true(depth <= LIMIT_JSON_DEPTH);
    if (json_kind(s) == JSON_ARRAY)
        while (json_next(s, &pos, &element))
            walk(&element, depth + 1);
    if (json_kind(s) == JSON_STRING)
        json_string(s, text, sizeof text);
    if (json_kind(s) == JSON_OBJECT && json_members(s, m, 8, &n, &e) == 0)
        for (uint32_t i = 0; i < n; i++)
            walk(&m[i].value, depth + 1);
}

static void what_passed_the_check_can_be_walked_whatever_it_is(void **state)
{
    static const char seed_text[] = "{\"op\":\"a\\u00e9\\ud83d\\ude00\",\"inputs\":[[1,2.5e-3],[-0,"
                                    "[]],{\"x\":\"\xe2\x82\xac\"}],"
                                    "\"n\":null}";
    static const char spice[] = "[]{}\",:\\u0123abcdef-+.eE \xc3\xa9nulltrue\n";
    uint64_t r = 42;
    int taken = 0;

    (void)state;
    for (int i = 0; i < 60000; i++) {
        size_t len = sizeof seed_text - 1;
        char *text = malloc(len);
        struct json_span doc;
        struct err e;

        memcpy(text, seed_text, len);
        for (int k = 0; k < 1 + i % 4; k++) {
            r = r * 6364136223846793005ull + 1442695040888963407ull;
            text[(r >> 33) % len] = spice[(r >> 20) % (sizeof spice - 1)];
        }
        if (json_check(text, len, &doc, &e) == 0) {
            walk(&doc, 1);
            taken++;
        } else {
            assert_true(e.code == ERR_bad_json || e.code == ERR_too_deep);
        }
        free(text);
    }
    assert_true(taken > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_of_every_kind_is_taken),
        cmocka_unit_test(what_is_no_json_is_refused_where_it_goes_wrong),
        cmocka_unit_test(nothing_and_space_alone_are_an_empty_body),
        cmocka_unit_test(a_nul_byte_is_refused_anywhere),
        cmocka_unit_test(every_beginning_of_a_document_is_refused),
        cmocka_unit_test(depth_is_taken_up_to_the_limit_and_no_deeper),
        cmocka_unit_test(a_list_is_walked_element_by_element),
        cmocka_unit_test(an_object_is_split_into_its_members),
        cmocka_unit_test(a_member_given_twice_is_refused_however_it_is_written),
        cmocka_unit_test(names_too_long_to_be_known_are_cut_between_characters),
        cmocka_unit_test(a_string_is_unescaped_into_the_room_there_is),
        cmocka_unit_test(a_message_shows_no_half_character),
        cmocka_unit_test(large_hostile_text_costs_linear_time),
        cmocka_unit_test(an_object_of_300000_members_is_refused_at_once),
        cmocka_unit_test(what_passed_the_check_can_be_walked_whatever_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
