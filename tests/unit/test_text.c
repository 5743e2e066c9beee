/* test_text.c - rules of the JSON writer. */
#include "tests/unit/unit.h"

#include "server/json.h"
#include "server/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct text t;

static int setup(void **state)
{
    (void)state;
    text_init(&t);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    text_fini(&t);
    text_fini(&t);
    return 0;
}

static void expect(const char *want)
{
    assert_false(t.failed);
    assert_non_null(t.data);
    assert_int_equal(t.len, strlen(want));
    assert_string_equal(t.data, want);
}

static void commas_come_by_themselves(void **state)
{
    (void)state;
    text_object(&t, NULL);
    text_string(&t, "a", "x");
    text_null(&t, "b");
    text_array(&t, "c");
    text_uint(&t, NULL, UINT64_MAX);
    text_int(&t, NULL, INT64_MIN);
    text_object(&t, NULL);
    text_end_object(&t);
    text_array(&t, NULL);
    text_end_array(&t);
    text_bool(&t, NULL, true);
    text_end_array(&t);
    text_object(&t, "d");
    text_bool(&t, "e", false);
    text_end_object(&t);
    text_name(&t, "f");
    text_raw(&t, "[1]", 3);
    text_value_end(&t);
    text_double(&t, "g", 0.5);
    text_end_object(&t);
    expect("{\"a\":\"x\",\"b\":null,\"c\":[18446744073709551615,-9223372036854775808,{},[],true],"
           "\"d\":{\"e\":false},\"f\":[1],\"g\":0.5}");
}

static void strings_are_escaped(void **state)
{
    (void)state;
    text_array(&t, NULL);
    text_string(&t, NULL, "a\"b\\c/d");
    text_string(&t, NULL, "\x01\n\t\x1f\x7f");
    text_string(&t, NULL, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    text_string(&t, NULL, "");
    text_string(&t, NULL, NULL);
    text_end_array(&t);
    expect("[\"a\\\"b\\\\c/d\",\"\\u0001\\u000a\\u0009\\u001f\\u007f\","
           "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\",\"\",null]");
}

#define FFFD "\xef\xbf\xbd"

static void what_is_not_utf8_becomes_the_replacement_character(void **state)
{
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"a\xff"
         "b",
         "\"a" FFFD "b\""},
        {"\xc3", "\"" FFFD "\""},
        {"\xe2\x82", "\"" FFFD FFFD "\""},
        {"\xc0\xaf", "\"" FFFD FFFD "\""},
        {"\xed\xa0\x80", "\"" FFFD FFFD FFFD "\""},
        {"\xf4\x90\x80\x80", "\"" FFFD FFFD FFFD FFFD "\""},
        {"\xf0\x9f\x98", "\"" FFFD FFFD FFFD "\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        text_fini(&t);
        text_string(&t, NULL, rows[i].from);
        expect(rows[i].to);
    }
}

/* The reader is the judge. */
static void any_bytes_make_a_string_that_is_json(void **state)
{
    uint64_t r = 5;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        char bytes[24];
        struct json_span doc;
        struct err e;

        for (int k = 0; k < 23; k++) {
            r = r * 6364136223846793005ull + 1442695040888963407ull;
            bytes[k] = (char)(r >> 40 | 1);
        }
        bytes[23] = '\0';
        text_fini(&t);
        text_object(&t, NULL);
        text_string(&t, bytes, bytes);
        text_end_object(&t);
        if (json_check(t.data, t.len, &doc, &e) != 0)
            fail_msg("%s", e.detail);
    }
}

static void doubles_are_short_and_never_break_the_document(void **state)
{
    (void)state;
    text_array(&t, NULL);
    text_double(&t, NULL, 0.1);
    text_double(&t, NULL, 3);
    text_double(&t, NULL, NAN);
    text_double(&t, NULL, -INFINITY);
    text_end_array(&t);
    expect("[0.1,3,null,null]");
    text_fini(&t);
    text_double(&t, NULL, 1.5);
    expect("1.5");
}

static void times_are_rfc_3339_and_null_when_there_is_none(void **state)
{
    (void)state;
    text_array(&t, NULL);
    text_time(&t, NULL, 1700000000123456ull);
    text_time(&t, NULL, 0);
    text_end_array(&t);
    expect("[\"2023-11-14T22:13:20.123456Z\",null]");
}

static void it_grows_to_any_length(void **state)
{
    char piece[301];
    char *room;

    (void)state;
    memset(piece, 'x', 300);
    piece[300] = '\0';
    for (int i = 0; i < 5000; i++)
        text_format(&t, "%s", piece);
    assert_int_equal(t.len, 1500000);
    assert_int_equal(strlen(t.data), 1500000);
    room = text_room(&t, 4000000);
    assert_non_null(room);
    assert_ptr_equal(room, t.data + t.len);
    memset(room, 'y', 4000000);
    t.len += 4000000;
    text_raw(&t, "z", 1);
    assert_int_equal(strlen(t.data), 5500001);
}

/* A real failure is not to be had under every allocator; what it sets is. */
static void once_out_of_memory_nothing_is_added(void **state)
{
    (void)state;
    text_string(&t, NULL, "before");
    t.failed = true;
    text_string(&t, "name", "after");
    text_format(&t, "%d", 1);
    text_double(&t, NULL, 1);
    text_array(&t, NULL);
    assert_null(text_room(&t, 1));
    assert_string_equal(t.data, "\"before\"");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(commas_come_by_themselves),
        TEST(strings_are_escaped),
        TEST(what_is_not_utf8_becomes_the_replacement_character),
        TEST(any_bytes_make_a_string_that_is_json),
        TEST(doubles_are_short_and_never_break_the_document),
        TEST(times_are_rfc_3339_and_null_when_there_is_none),
        TEST(it_grows_to_any_length),
        TEST(once_out_of_memory_nothing_is_added),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
