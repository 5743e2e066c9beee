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

static void a_mistyped_path_is_told_which_was_meant(void **state)
{
    static const struct {
        const char *path, *meant;
    } rows[] = {
        {"/v1/job", "/v1/jobs"},
        {"/v1/jobs/", "/v1/jobs"},
        {"/jobs", "/v1/jobs"},
        {"//v1", "/v1"},
        {"/V1/Jobs", "/v1/jobs"},
        {"/v2/jobs", "/v1/jobs"},
        {"/v1/job/j_01JDDB5T0Z6R3V8QX1M4KCNE7J", "/v1/jobs/{id}"},
        {"/jobs/j_01JDDB5T0Z6R3V8QX1M4KCNE7J", "/v1/jobs/{id}"},
        {"/v1/jobs/j_01JDDB5T0Z6R3V8QX1M4KCNE7J/output", "/v1/jobs/{id}/outputs"},
        {"/v1/jobs/j_01JDDB5T0Z6R3V8QX1M4KCNE7J/output/0", "/v1/jobs/{id}/outputs/{rank}"},
        {"/v1/group/world/rank/0/call", NULL},
        {"/v1/groups/world/ranks/0/call", "/v1/groups/{name}/ranks/{rank}/calls"},
        {"/groups/world/ranks/0/calls", "/v1/groups/{name}/ranks/{rank}/calls"},
        {"/v1/groups/world/barier", "/v1/groups/{name}/barrier"},
        {"/v1/metric", "/v1/metrics"},
        {"/openapi.yml", "/openapi.yaml"},
        {"/health", "/healthz"},
        {"/v1/nope", NULL},
        {"/", NULL},
        {"", NULL},
        {"/{", NULL},
        {"/v", NULL},
    };
    char path[9000];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *near = route_near(rows[i].path);

        if (rows[i].meant)
            assert_string_equal(near ? near : rows[i].path, rows[i].meant);
        else
            assert_null(near);
    }
    for (size_t n = 65; n < sizeof path - 1; n += 7) { /* however long */
        memset(path, 0, sizeof path);
        path[0] = '/';
        memset(path + 1, 'v', n);
        assert_null(route_near(path));
    }
    assert_int_equal(find(METHOD_GET, "/v1/job"), ERR_not_found);
    assert_non_null(strstr(got.e.detail, "did you mean /v1/jobs?"));
    assert_int_equal(find(METHOD_GET, "/v1/nope"), ERR_not_found);
    assert_null(strstr(got.e.detail, "mean"));
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

static void escape(char *to, const char *what, size_t times)
{
    while (times-- > 0)
        to = stpcpy(to, what);
}

/* What counts is the name, not how it is spelt; and an escaped slash is part of it. */
static void an_argument_is_measured_as_it_is_meant(void **state)
{
    char path[4 * REQUEST_ARG_BYTES] = "/v1/groups/g/kv/";
    size_t len = strlen(path);

    (void)state;
    escape(path + len, "%2F", REQUEST_ARG_BYTES - 1);
    assert_int_equal(find(METHOD_GET, path), ERR_none);
    assert_int_equal(strlen(got.args[1]), REQUEST_ARG_BYTES - 1);
    assert_int_equal(strspn(got.args[1], "/"), REQUEST_ARG_BYTES - 1);
    escape(path + len, "%2F", REQUEST_ARG_BYTES);
    assert_int_equal(find(METHOD_GET, path), ERR_none);
    assert_string_equal(got.args[1], "");
    assert_int_equal(find(METHOD_GET, "/v1/groups/%67%2Fx/kv/+%2b%C3%A9%2525"), ERR_none);
    assert_string_equal(got.args[0], "g/x");
    assert_string_equal(got.args[1], "++\xc3\xa9%25");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_found_by_its_pattern),
        cmocka_unit_test(a_mistyped_path_is_told_which_was_meant),
        cmocka_unit_test(head_is_answered_where_get_is),
        cmocka_unit_test(another_spelling_is_another_path),
        cmocka_unit_test(a_method_not_taken_lists_those_that_are),
        cmocka_unit_test(segments_are_arguments_in_order),
        cmocka_unit_test(an_argument_too_long_is_none),
        cmocka_unit_test(an_argument_is_measured_as_it_is_meant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
