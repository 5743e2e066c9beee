/* test_params_types.c - rules of the parameters that are no plain number, text or flag. */
#include "tests/unit/params_house.h"

static void dtypes_are_named_or_aliased(void **state)
{
    static const char *const names[] = {"float32", "F32", "<f4", "torch.float32", "fp32", "single"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(alone("dtype", names[i]), ERR_none);
        assert_int_equal(p->dtype, DTYPE_float32);
    }
    assert_int_equal(alone("dtype", "float8"), ERR_dtype_unsupported);
    assert_non_null(strstr(e.detail, "bfloat16"));
    assert_int_equal(alone("dtype", ""), ERR_dtype_unsupported);
    assert_int_equal(alone_member("dtype", "7"), ERR_dtype_unsupported);
    assert_int_equal(alone_member("dtype", "null"), ERR_dtype_unsupported);
    assert_string_equal(e.pointer, "/dtype");
}

static void jobs_are_ids_between_commas(void **state)
{
#define ID "j_01ARZ3NDEKTSV4RRFFQ69G5FA"
    static const char *const bad[] = {"",
                                      ",",
                                      "x",
                                      ID "V,",
                                      "," ID "V",
                                      ID "V,,j_1",
                                      ID "V;" ID "W",
                                      "t_01ARZ3NDEKTSV4RRFFQ69G5FAV"};
    char many[30 * (LIMIT_TRACE_JOBS + 1)] = "";

    (void)state;
    assert_int_equal(alone("jobs", ID "V," ID "W"), ERR_none);
    assert_int_equal(p->n_jobs, 2);
    assert_int_equal(p->jobs[1].b[15] - p->jobs[0].b[15], 1);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (alone("jobs", bad[i]) != ERR_bad_parameter)
            fail_msg("jobs=%s: %s", bad[i], err_name(e.code));
    }
    for (int i = 0; i < LIMIT_TRACE_JOBS; i++)
        strcat(many, i ? "," ID "V" : ID "V");
    assert_int_equal(alone("jobs", many), ERR_none);
    assert_int_equal(p->n_jobs, LIMIT_TRACE_JOBS);
    strcat(many, "," ID "V");
    assert_int_equal(alone("jobs", many), ERR_parameter_range);
#undef ID
}

static void shapes_are_lengths_between_commas(void **state)
{
    static const struct {
        const char *text;
        enum err_code code;
    } cases[] = {
        {"2,,3", ERR_bad_parameter},
        {"2,x", ERR_bad_parameter},
        {"2,3,", ERR_bad_parameter},
        {",2", ERR_bad_parameter},
        {"1.0", ERR_bad_parameter},
        {"2 3", ERR_bad_parameter},
        {"+2", ERR_bad_parameter},
        {"2,-1", ERR_shape_invalid},
        {"0", ERR_none},
        {"0,18446744073709551615", ERR_none},
        {"1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", ERR_none},
        {"1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", ERR_shape_invalid},
    };

    (void)state;
    assert_int_equal(alone("shape", "2,3"), ERR_none);
    assert_int_equal(p->shape.ndim, 2);
    assert_int_equal(p->shape.dim[0], 2);
    assert_int_equal(p->shape.dim[1], 3);
    assert_int_equal(alone("shape", ""), ERR_none);
    assert_int_equal(p->shape.ndim, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (alone("shape", cases[i].text) != cases[i].code)
            fail_msg("shape=%s gives %s", cases[i].text, err_name(e.code));
    }
    alone("shape", "99999999999999999999");
    assert_true(e.code == ERR_shape_too_large || e.code == ERR_shape_invalid);
}

static void groups_are_names_or_lists_of_ranks(void **state)
{
    static const char *const lists[] = {"3,1", "[3,1]"};
    static const char *const bad[] = {"",   "3,",   ",3",  "3,,1",       "[]",
                                      "-1", "[3,1", "3,x", "4294967296", "1.5"};

    (void)state;
    assert_int_equal(alone("group", "pair"), ERR_none);
    assert_string_equal(p->group.name, "pair");
    assert_int_equal(p->group.n, 0);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        assert_int_equal(alone("group", lists[i]), ERR_none);
        assert_string_equal(p->group.name, "");
        assert_int_equal(p->group.n, 2);
        assert_int_equal(p->group.ranks[0], 3);
        assert_int_equal(p->group.ranks[1], 1);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (alone("group", bad[i]) != ERR_group_invalid)
            fail_msg("group=%s gives %s", bad[i], err_name(e.code));
    }
}

static void groups_in_json_are_strings_or_lists(void **state)
{
    static const char *const bad[] = {"[1.5]",  "[\"0\"]", "[-1]", "[]",      "[0, 99999999999]",
                                      "7",      "{}",      "null", "\"3,1\"", "[[0]]",
                                      "[true]", "[null]"};

    (void)state;
    assert_int_equal(alone_member("group", "[2, 0]"), ERR_none);
    assert_int_equal(p->group.n, 2);
    assert_int_equal(p->group.ranks[0], 2);
    assert_int_equal(alone_member("group", "\"pair\""), ERR_none);
    assert_string_equal(p->group.name, "pair");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (alone_member("group", bad[i]) != ERR_group_invalid)
            fail_msg("group: %s gives %s", bad[i], err_name(e.code));
    }
    alone("group", "2,0");
    assert_int_equal(member("group", "[2, 0]"), ERR_none);
    assert_int_equal(member("group", "[0, 2]"), ERR_conflicting_parameter);
    assert_int_equal(member("group", "\"pair\""), ERR_conflicting_parameter);
}

static void groups_have_a_largest(void **state)
{
    char *text = malloc(LIMIT_RANKS * 8), *at = text;

    (void)state;
    for (int i = 0; i < LIMIT_RANKS; i++)
        at += sprintf(at, "%s%d", i ? "," : "", i);
    assert_int_equal(alone("group", text), ERR_none);
    assert_int_equal(p->group.n, LIMIT_RANKS);
    sprintf(at, ",%d", LIMIT_RANKS);
    assert_int_equal(alone("group", text), ERR_group_invalid);
    free(text);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes_are_named_or_aliased),
        cmocka_unit_test(shapes_are_lengths_between_commas),
        cmocka_unit_test(jobs_are_ids_between_commas),
        cmocka_unit_test(groups_are_names_or_lists_of_ranks),
        cmocka_unit_test(groups_in_json_are_strings_or_lists),
        cmocka_unit_test(groups_have_a_largest),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
