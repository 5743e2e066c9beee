/* test_negotiate.c - rules of choosing a format. */
#include "tests/unit/unit.h"

#include "server/negotiate.h"

#include <string.h>

#define ALL (1u << FORMAT_json | 1u << FORMAT_npy | 1u << FORMAT_safetensors | 1u << FORMAT_raw)

static void a_content_type_names_its_format_in_any_case_and_with_parameters(void **state)
{
    static const struct {
        const char *type;
        enum format f;
    } rows[] = {
        {"application/json", FORMAT_json},
        {"Application/JSON; charset=UTF-8", FORMAT_json},
        {"application/json;charset=\"utf-8\"", FORMAT_json},
        {" application/json ;x=y", FORMAT_json},
        {"application/x-npy", FORMAT_npy},
        {"application/x-npy; version=1", FORMAT_npy},
        {"application/vnd.safetensors", FORMAT_safetensors},
        {"application/octet-stream", FORMAT_raw},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum format f = FORMAT_COUNT;
        struct err e;

        if (negotiate_in(rows[i].type, ALL, &f, &e) != 0 || f != rows[i].f)
            fail_msg("%s gives %d", rows[i].type, f);
    }
}

static void a_content_type_that_is_not_taken_is_told_what_is(void **state)
{
    static const char *const types[] = {NULL,
                                        "",
                                        "text/plain",
                                        "multipart/form-data; boundary=x",
                                        "application/x-www-form-urlencoded",
                                        "application/jsonx",
                                        "application/",
                                        "json",
                                        "*/*",
                                        ";",
                                        "application/json; charset=latin-1"};
    enum format f;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (negotiate_in(types[i], ALL, &f, &e) == 0)
            fail_msg("%s was taken", types[i] ? types[i] : "none");
        assert_int_equal(e.code, ERR_unsupported_media);
    }
    assert_int_equal(negotiate_in("text/plain", ALL, &f, &e), -1);
    assert_non_null(strstr(e.detail, "text/plain"));
    for (int i = 0; i < FORMAT_COUNT; i++)
        assert_non_null(strstr(e.detail, codec_of((enum format)i)->media));
    assert_int_equal(negotiate_in("application/x-www-form-urlencoded", ALL, &f, &e), -1);
    assert_non_null(strstr(e.detail, "-H 'Content-Type: application/json'"));
    assert_int_equal(negotiate_in("application/x-npy", 1u << FORMAT_json, &f, &e), -1);
    assert_null(strstr(e.detail, "one of application/x-npy"));
}

static void accept_is_honoured(void **state)
{
    static const struct {
        const char *accept;
        enum format f; /* FORMAT_COUNT: refused */
    } rows[] = {
        {NULL, FORMAT_json},
        {"", FORMAT_json},
        {"*/*", FORMAT_json},
        {"application/*", FORMAT_json},
        {"application/x-npy", FORMAT_npy},
        {"APPLICATION/X-NPY", FORMAT_npy},
        {"application/x-npy, */*", FORMAT_npy},
        {"*/*, application/x-npy", FORMAT_npy},
        {"application/x-npy;q=0.5, application/vnd.safetensors;q=0.9", FORMAT_safetensors},
        {"application/x-npy; q=0.5, application/octet-stream ; q=0.2", FORMAT_npy},
        {"application/json;q=0, */*", FORMAT_npy},
        {"application/json;q=0.1, */*;q=0.2", FORMAT_npy},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", FORMAT_json},
        {"image/png", FORMAT_COUNT},
        {"*/*;q=0", FORMAT_COUNT},
        {"application/json;q=0", FORMAT_COUNT},
        {"application/jsonx", FORMAT_COUNT},
        {",,;", FORMAT_COUNT},
        {";q=1", FORMAT_COUNT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum format f = FORMAT_COUNT;
        struct err e = {0};
        int rc = negotiate_out(rows[i].accept, NULL, ALL, FORMAT_json, &f, &e);

        if ((rc == 0 ? f : FORMAT_COUNT) != rows[i].f)
            fail_msg("%s gives %d", rows[i].accept, f);
        if (rc != 0) {
            assert_int_equal(e.code, ERR_not_acceptable);
            assert_non_null(strstr(e.detail, "application/x-npy"));
        }
    }
}

static void format_in_the_query_beats_the_header(void **state)
{
    enum format f;
    struct err e;

    (void)state;
    assert_int_equal(negotiate_out("image/png", "raw", ALL, FORMAT_json, &f, &e), 0);
    assert_int_equal(f, FORMAT_raw);
    assert_int_equal(negotiate_out(NULL, "NPY", ALL, FORMAT_json, &f, &e), -1);
    assert_int_equal(e.code, ERR_not_acceptable);
    assert_non_null(strstr(e.detail, "json, npy, safetensors, raw"));
    assert_int_equal(negotiate_out(NULL, "npy", 1u << FORMAT_json, FORMAT_json, &f, &e), -1);
    assert_int_equal(negotiate_out(NULL, "", ALL, FORMAT_json, &f, &e), -1);
}

static void only_what_the_route_has_is_chosen(void **state)
{
    enum format f;
    struct err e;

    (void)state;
    assert_int_equal(negotiate_out("application/x-npy, application/json;q=0.1", NULL,
                                   1u << FORMAT_json, FORMAT_json, &f, &e),
                     0);
    assert_int_equal(f, FORMAT_json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_content_type_names_its_format_in_any_case_and_with_parameters),
        cmocka_unit_test(a_content_type_that_is_not_taken_is_told_what_is),
        cmocka_unit_test(accept_is_honoured),
        cmocka_unit_test(format_in_the_query_beats_the_header),
        cmocka_unit_test(only_what_the_route_has_is_chosen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
