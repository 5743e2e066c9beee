/* test_guard.c - rules of the guard: which targets, framings, Hosts and Origins are refused. */
#include "tests/unit/unit.h"

#include "schema/limits.h"
#include "server/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum err_code target(const char *raw)
{
    struct err e = {0};

    return guard_target(raw, &e) == 0 ? ERR_none : e.code;
}

/* A head that nothing speaks against. */
static struct guard_head plain(void)
{
    return (struct guard_head){.version = "HTTP/1.1", .hosts = 1, .host = "localhost"};
}

static enum err_code refusal(const struct guard_head *h)
{
    struct err e = {0};
    int64_t length = 77;
    int rc = guard_head(h, &length, &e);

    assert_true(rc == 0 || e.detail[0]);
    return rc == 0 ? ERR_none : e.code;
}

static int64_t length_of(const struct guard_head *h)
{
    struct err e = {0};
    int64_t length = 77;

    if (guard_head(h, &length, &e) != 0)
        fail_msg("%s", e.detail);
    return length;
}

/* ---- targets ---- */

static void targets_of_origin_form_are_taken(void **state)
{
    static const char *const good[] = {"/",
                                       "/v1/jobs?op=gather&wait=1",
                                       "/v1//jobs/",
                                       "/a%20b?c=%C3%A9",
                                       "/\xc3\xa9",
                                       "*",
                                       "/%f0%9f%98%80",
                                       "/?label=%e2%82%ac+x",
                                       "/%ed%9f%bf",
                                       "/%f4%8f%bf%bf",
                                       "/~a-b_",
                                       "/x?y=%7e"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (target(good[i]) != ERR_none)
            fail_msg("%s", good[i]);
    }
}

static void malformed_targets_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "v1",
                                      "http://localhost/v1",
                                      "*/",
                                      "**",
                                      "/a b",
                                      "/a\tb",
                                      "/a\x7f",
                                      "/a\x01",
                                      "/%",
                                      "/%4",
                                      "/%4g",
                                      "/%zz",
                                      "/%00",
                                      "/a?b=%00c",
                                      "/\xff",
                                      "/%ff",
                                      "/%c0%af",
                                      "/%c3",
                                      "/%e2%82",
                                      "/%ed%a0%80",
                                      "/%f4%90%80%80",
                                      "/%80",
                                      "/%c3/",
                                      "/%f8%88%80%80%80",
                                      "/\xe2%82/x",
                                      "/%e0%80%80"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (target(bad[i]) != ERR_bad_target)
            fail_msg("%s", bad[i]);
    }
}

static void an_escape_and_a_byte_may_share_a_sequence(void **state)
{
    (void)state;
    assert_int_equal(target("/%c3\xa9"), ERR_none);
    assert_int_equal(target("/\xc3%a9"), ERR_none);
}

static void targets_have_a_longest(void **state)
{
    char *raw = malloc(LIMIT_TARGET_BYTES + 2);

    (void)state;
    memset(raw, 'x', LIMIT_TARGET_BYTES + 1);
    raw[0] = '/';
    raw[LIMIT_TARGET_BYTES] = '\0';
    assert_int_equal(target(raw), ERR_none);
    raw[LIMIT_TARGET_BYTES] = 'x';
    raw[LIMIT_TARGET_BYTES + 1] = '\0';
    assert_int_equal(target(raw), ERR_target_too_long);
    free(raw);
}

/* ---- framing ---- */

static void a_body_has_one_length_or_is_chunked(void **state)
{
    struct guard_head h = plain();

    (void)state;
    assert_int_equal(length_of(&h), 0);
    h.lengths = 1;
    h.length = "9223372036854775807";
    assert_int_equal(length_of(&h), INT64_MAX);
    h.length = "0";
    assert_int_equal(length_of(&h), 0);
    h = plain();
    h.encodings = 1;
    h.encoding = "Chunked";
    assert_int_equal(length_of(&h), -1);
}

static void lengths_that_are_no_number_are_refused(void **state)
{
    static const char *const bad[] = {"",   "-5", "+5",   "0x5", "5,5",
                                      "5 ", " 5", "five", "1e3", "5.0"};
    struct guard_head h = plain();

    (void)state;
    h.lengths = 1;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        h.length = bad[i];
        assert_int_equal(refusal(&h), ERR_bad_framing);
    }
}

static void lengths_beyond_every_limit_are_too_large(void **state)
{
    static const char *const large[] = {"9223372036854775808", "18446744073709551615",
                                        "18446744073709551616",
                                        "99999999999999999999999999999999999999"};
    struct guard_head h = plain();

    (void)state;
    h.lengths = 1;
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        h.length = large[i];
        assert_int_equal(refusal(&h), ERR_body_too_large);
    }
}

static void ambiguous_framing_is_refused(void **state)
{
    static const char *const codings[] = {"gzip, chunked",     "xchunked",         "identity",
                                          "identity, chunked", "chunked, chunked", "",
                                          "chunked "};
    struct guard_head h = plain();

    (void)state;
    h.lengths = 2;
    h.length = "5";
    assert_int_equal(refusal(&h), ERR_bad_framing);
    h.lengths = 1;
    h.encodings = 1;
    h.encoding = "chunked";
    assert_int_equal(refusal(&h), ERR_bad_framing);
    h.lengths = 0;
    h.encodings = 2;
    assert_int_equal(refusal(&h), ERR_bad_framing);
    h.encodings = 1;
    h.version = "HTTP/1.0";
    assert_int_equal(refusal(&h), ERR_bad_framing);
    h.version = "HTTP/1.1";
    for (size_t i = 0; i < sizeof codings / sizeof codings[0]; i++) {
        h.encoding = codings[i];
        assert_int_equal(refusal(&h), ERR_bad_framing);
    }
}

static void odd_names_and_values_are_refused(void **state)
{
    struct guard_head h = plain();

    (void)state;
    h.bad_name = true;
    assert_int_equal(refusal(&h), ERR_bad_framing);
    h = plain();
    h.bad_value = true;
    assert_int_equal(refusal(&h), ERR_bad_header);
}

/* What was refused for its framing has no length that anybody may believe. */
static void a_refusal_for_its_framing_comes_before_all_others(void **state)
{
    struct guard_head h = plain();

    (void)state;
    h.host = "evil.example";
    h.lengths = 2;
    h.length = "5";
    assert_int_equal(refusal(&h), ERR_bad_framing);
}

static void expectations_other_than_100_continue_fail(void **state)
{
    struct guard_head h = plain();

    (void)state;
    h.expect = "100-Continue";
    assert_int_equal(refusal(&h), ERR_none);
    h.expect = "200-ok";
    assert_int_equal(refusal(&h), ERR_expectation_failed);
}

static void encoded_bodies_are_refused(void **state)
{
    struct guard_head h = plain();

    (void)state;
    h.content_encoding = "Identity";
    assert_int_equal(refusal(&h), ERR_none);
    h.content_encoding = "gzip";
    assert_int_equal(refusal(&h), ERR_unsupported_media);
}

/* ---- Host and Origin ---- */

static enum err_code host(const char *text)
{
    struct guard_head h = plain();

    h.host = text;
    return refusal(&h);
}

static enum err_code origin(const char *host_text, const char *text)
{
    struct guard_head h = plain();

    h.host = host_text;
    h.origins = 1;
    h.origin = text;
    return refusal(&h);
}

static void this_machine_s_names_are_hosts(void **state)
{
    static const char *const good[] = {"localhost", "LocalHost:8080", "127.0.0.1",  "127.1.2.3:80",
                                       "[::1]",     "[::1]:8080",     "127.0.0.1:1"};

    (void)state;
    guard_init("127.0.0.1", NULL, NULL);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (host(good[i]) != ERR_none)
            fail_msg("%s", good[i]);
    }
}

static void other_names_are_no_hosts(void **state)
{
    static const char *const bad[] = {"evil.example",
                                      "localhost.evil.example",
                                      "127.0.0.1.evil.example",
                                      "10.0.0.1",
                                      "128.0.0.1",
                                      "localhost@evil.example",
                                      "evil.example:8080",
                                      "[::2]",
                                      "[::1",
                                      "",
                                      ":8080",
                                      "127.0.0.1,evil.example",
                                      "127.0.0.256",
                                      "localhost:evil.example",
                                      "localhost:80:80",
                                      "[::1]evil.example",
                                      "[::1]:x",
                                      "2130706433",
                                      "0177.0.0.1"};

    (void)state;
    guard_init("127.0.0.1", NULL, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (host(bad[i]) != ERR_host_not_allowed)
            fail_msg("%s", bad[i]);
    }
}

static void exactly_one_host_is_named(void **state)
{
    struct guard_head h = plain();

    (void)state;
    h.hosts = 2;
    assert_int_equal(refusal(&h), ERR_bad_header);
    h.hosts = 0;
    h.host = NULL;
    assert_int_equal(refusal(&h), ERR_bad_header);
}

static void hosts_can_be_added(void **state)
{
    (void)state;
    guard_init("box.example", "gate.example,other.example", NULL);
    assert_int_equal(host("box.example:8080"), ERR_none);
    assert_int_equal(host("GATE.example"), ERR_none);
    assert_int_equal(host("other.example:1"), ERR_none);
    assert_int_equal(host("gate.example,other.example"), ERR_host_not_allowed);
    assert_int_equal(host("gate"), ERR_host_not_allowed);
    assert_int_equal(host("localhost"), ERR_none);
}

/* A name can be pointed at any address by its owner; an address is what it is. */
static void on_every_address_any_address_is_a_host_but_no_name(void **state)
{
    (void)state;
    guard_init("0.0.0.0", NULL, NULL);
    assert_int_equal(host("10.1.2.3:8080"), ERR_none);
    assert_int_equal(host("[fe80::1]:8080"), ERR_none);
    assert_int_equal(host("evil.example"), ERR_host_not_allowed);
}

static void only_the_page_of_this_very_host_is_an_origin(void **state)
{
    (void)state;
    guard_init("127.0.0.1", NULL, NULL);
    assert_int_equal(origin("127.0.0.1:8080", "http://127.0.0.1:8080"), ERR_none);
    assert_int_equal(origin("127.0.0.1:8080", "http://127.0.0.1"), ERR_origin_not_allowed);
    assert_int_equal(origin("127.0.0.1:8080", "http://127.0.0.1:1"), ERR_origin_not_allowed);
    assert_int_equal(origin("127.0.0.1:8080", "http://localhost:8080"), ERR_origin_not_allowed);
    assert_int_equal(origin("127.0.0.1:8080", "null"), ERR_origin_not_allowed);
    assert_int_equal(origin("127.0.0.1:8080", ""), ERR_origin_not_allowed);
    assert_int_equal(origin("127.0.0.1:8080", "127.0.0.1:8080"), ERR_origin_not_allowed);
    assert_int_equal(origin("localhost", "https://evil.example"), ERR_origin_not_allowed);
    assert_int_equal(origin("localhost", "https://localhost.evil.example"), ERR_origin_not_allowed);
}

static void origins_can_be_added(void **state)
{
    (void)state;
    guard_init("127.0.0.1", NULL, "https://page.example,https://two.example:8443");
    assert_int_equal(origin("localhost", "https://page.example"), ERR_none);
    assert_int_equal(origin("localhost", "https://two.example:8443"), ERR_none);
    assert_int_equal(origin("localhost", "http://page.example"), ERR_origin_not_allowed);
    assert_int_equal(origin("localhost", "https://two.example"), ERR_origin_not_allowed);
    guard_init("127.0.0.1", NULL, NULL);
}

static void what_may_stand_once_is_not_repeated(void **state)
{
    struct guard_head h = plain();

    (void)state;
    h.repeated = "Content-Type";
    assert_int_equal(refusal(&h), ERR_bad_header);
}

static void an_origin_stands_alone(void **state)
{
    struct guard_head h = plain();

    (void)state;
    h.origins = 2;
    h.origin = "http://localhost";
    assert_int_equal(refusal(&h), ERR_bad_header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_of_origin_form_are_taken),
        cmocka_unit_test(malformed_targets_are_refused),
        cmocka_unit_test(an_escape_and_a_byte_may_share_a_sequence),
        cmocka_unit_test(targets_have_a_longest),
        cmocka_unit_test(a_body_has_one_length_or_is_chunked),
        cmocka_unit_test(lengths_that_are_no_number_are_refused),
        cmocka_unit_test(lengths_beyond_every_limit_are_too_large),
        cmocka_unit_test(ambiguous_framing_is_refused),
        cmocka_unit_test(odd_names_and_values_are_refused),
        cmocka_unit_test(a_refusal_for_its_framing_comes_before_all_others),
        cmocka_unit_test(expectations_other_than_100_continue_fail),
        cmocka_unit_test(encoded_bodies_are_refused),
        cmocka_unit_test(this_machine_s_names_are_hosts),
        cmocka_unit_test(other_names_are_no_hosts),
        cmocka_unit_test(exactly_one_host_is_named),
        cmocka_unit_test(hosts_can_be_added),
        cmocka_unit_test(on_every_address_any_address_is_a_host_but_no_name),
        cmocka_unit_test(only_the_page_of_this_very_host_is_an_origin),
        cmocka_unit_test(origins_can_be_added),
        cmocka_unit_test(an_origin_stands_alone),
        cmocka_unit_test(what_may_stand_once_is_not_repeated),
    };

    guard_init("127.0.0.1", NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
