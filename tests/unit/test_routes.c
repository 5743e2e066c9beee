/* test_routes.c - rules of the route table: which path finds which row, and what is refused. */
#include "tests/unit/unit.h"

#include "server/routes.h"

#include <stdio.h>
#include <string.h>

static struct {
    const struct route *route;
    char args[REQUEST_ARGS][REQUEST_ARG_BYTES];
    char allow[128];
    struct err e;
} got;

static enum err_code find(enum method m, const char *path)
{
    memset(&got, 0, sizeof got);
    return route_find(m, path, &got.route, got.args, got.allow, sizeof got.allow, &got.e) == 0
               ? ERR_none
               : got.e.code;
}

/* "/v1/jobs/{id}" with x for each {segment}. */
static void fill(const char *pattern, char path[128])
{
    while (*pattern) {
        if (*pattern == '{') {
            *path++ = 'x';
            pattern += strcspn(pattern, "}") + 1;
        } else {
            *path++ = *pattern++;
        }
    }
    *path = '\0';
}

static void every_row_is_found_by_its_pattern(void **state)
{
    size_t n = 0;

    (void)state;
    for (const struct route *r; (r = route_at(n)); n++) {
        char path[128];

        fill(r->pattern, path);
        assert_int_equal(find(r->method, path), ERR_none);
        assert_ptr_equal(got.route, r);
        assert_true(r->sentence[0] && r->handler);
    }
    assert_true(n > 15);
}

static void head_is_answered_where_get_is(void **state)
{
    (void)state;
    for (size_t i = 0; route_at(i); i++) {
        char path[128];
        const struct route *r = route_at(i);

        fill(r->pattern, path);
        if (r->method == METHOD_GET) {
            assert_int_equal(find(METHOD_HEAD, path), ERR_none);
            assert_ptr_equal(got.route, r);
        }
    }
}

/* No normalising: what a proxy in front checks must be what is served. */
static void another_spelling_is_another_path(void **state)
{
    (void)state;
    for (size_t i = 0; route_at(i); i++) {
        const struct route *r = route_at(i);
        char path[128], other[160];

        fill(r->pattern, path);
        if (strcmp(path, "/") != 0) {
            snprintf(other, sizeof other, "%s/", path);
            assert_int_equal(find(r->method, other), ERR_not_found);
            snprintf(other, sizeof other, "/.%s", path);
            assert_int_equal(find(r->method, other), ERR_not_found);
        }
        snprintf(other, sizeof other, "/%s", path);
        assert_int_equal(find(r->method, other), ERR_not_found);
        assert_string_equal(got.allow, "");
    }
    assert_int_equal(find(METHOD_GET, "/V1"), ERR_not_found);
    assert_int_equal(find(METHOD_GET, "/v1/../v1/jobs"), ERR_not_found);
    assert_int_equal(find(METHOD_GET, "/v1//jobs"), ERR_not_found);
    assert_int_equal(find(METHOD_GET, "*"), ERR_not_found);
    assert_int_equal(find(METHOD_GET, ""), ERR_not_found);
}

static bool lists(const char *allow, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = allow; (at = strstr(at, name)); at += len) {
        if ((at == allow || at[-1] == ' ') && (at[len] == '\0' || at[len] == ','))
            return true;
    }
    return false;
}

static void a_method_not_taken_lists_those_that_are(void **state)
{
    (void)state;
    for (size_t i = 0; route_at(i); i++) {
        const struct route *r = route_at(i);
        char path[128];

        fill(r->pattern, path);
        for (int m = 0; m < METHOD_COUNT; m++) {
            enum err_code code = find((enum method)m, path);

            assert_true(code == ERR_none || code == ERR_method_not_allowed);
            if (code == ERR_none)
                continue;
            assert_true(lists(got.allow, method_name(r->method)));
            assert_int_equal(lists(got.allow, "HEAD"), lists(got.allow, "GET"));
            assert_false(lists(got.allow, method_name((enum method)m)));
        }
    }
}

static void segments_are_arguments_in_order(void **state)
{
    (void)state;
    assert_int_equal(find(METHOD_GET, "/v1/jobs/j_1/outputs/3"), ERR_none);
    assert_string_equal(got.args[0], "j_1");
    assert_string_equal(got.args[1], "3");
    assert_int_equal(find(METHOD_GET, "/v1/jobs//outputs"), ERR_not_found);
}

/* An argument that is cut would name another thing; one that is gone names nothing. */
static void an_argument_too_long_is_none(void **state)
{
    char path[2 * REQUEST_ARG_BYTES] = "/v1/jobs/";
    size_t len = strlen(path);

    (void)state;
    memset(path + len, 'x', REQUEST_ARG_BYTES - 1);
    assert_int_equal(find(METHOD_GET, path), ERR_none);
    assert_int_equal(strlen(got.args[0]), REQUEST_ARG_BYTES - 1);
    memset(path + len, 'x', REQUEST_ARG_BYTES);
    assert_int_equal(find(METHOD_GET, path), ERR_none);
    assert_string_equal(got.args[0], "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_found_by_its_pattern),
        cmocka_unit_test(head_is_answered_where_get_is),
        cmocka_unit_test(another_spelling_is_another_path),
        cmocka_unit_test(a_method_not_taken_lists_those_that_are),
        cmocka_unit_test(segments_are_arguments_in_order),
        cmocka_unit_test(an_argument_too_long_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
