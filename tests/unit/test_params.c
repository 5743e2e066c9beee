/* test_params.c - rules of parameters, for every row of params.def: names, ranges, contradictions.
 *
 * This file is long because it states the rules of every parameter type. */
#include "tests/unit/unit.h"

#include "server/params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOB WHERE_JOB
#define TENSOR WHERE_TENSOR
#define READ_JOB WHERE_READ_JOB
#define LIST_JOBS WHERE_LIST_JOBS
#define LIST WHERE_LIST
#define READ_TENSOR WHERE_READ_TENSOR
#define OUTPUT WHERE_OUTPUT
#define CALL WHERE_CALL
#define BARRIER WHERE_BARRIER
#define BACKWARD WHERE_BACKWARD
#define KV WHERE_KV
#define PUT_KV WHERE_PUT_KV
#define LIST_KV WHERE_LIST_KV
#define BATCH WHERE_BATCH
#define LINE WHERE_LINE
#define TRACE WHERE_TRACE
static const struct {
    const char *name;
    enum param_type type;
    unsigned where;
    long long min, max;
} rows[PARAM_COUNT] = {
#define PARAM(name, type, where, min, max, deflt, sentence) \
    [PARAM_##name] = {#name, TYPE_##type, where, min, max},
#include "schema/params.def"
#undef PARAM
};

#define ALL_WHERE                                                                         \
    (JOB | TENSOR | READ_JOB | LIST_JOBS | LIST | READ_TENSOR | OUTPUT | CALL | BARRIER | \
     BACKWARD | KV | PUT_KV | LIST_KV | BATCH | LINE | TRACE)

static struct params *p;
static struct err e;

static int setup(void **state)
{
    (void)state;
    p = malloc(sizeof *p);
    if (!p)
        return -1;
    params_init(p);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(p);
    return 0;
}

static void clear(void)
{
    params_init(p);
    e = (struct err){0};
}

/* ---- in the query ---- */

static enum err_code query_on(unsigned where, const char *name, const char *value)
{
    e = (struct err){0};
    return params_from_query(p, where, name, value, &e) == 0 ? ERR_none : e.code;
}

static enum err_code query(const char *name, const char *value)
{
    return query_on(ALL_WHERE, name, value);
}

/* On fresh parameters. */
static enum err_code alone(const char *name, const char *value)
{
    clear();
    return query(name, value);
}

static enum err_code alone_number(const char *name, long long value)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", value);
    return alone(name, text);
}

/* A value that the row takes. */
static const char *good_value(int id)
{
    static char number[32];

    snprintf(number, sizeof number, "%lld", rows[id].max);
    switch (rows[id].type) {
    case TYPE_INT:
    case TYPE_SECONDS:
        return number;
    case TYPE_FLAG:
        return "true";
    case TYPE_DTYPE:
        return "int8";
    case TYPE_SHAPE:
        return "2,3";
    case TYPE_JOBS:
        return "j_01ARZ3NDEKTSV4RRFFQ69G5FAV,j_01ARZ3NDEKTSV4RRFFQ69G5FAW";
    default:
        return "word";
    }
}

/* ---- as a member ---- */

static enum err_code member(const char *name, const char *json)
{
    struct json_member m = {0};

    e = (struct err){0};
    snprintf(m.name, sizeof m.name, "%s", name);
    if (json_check(json, strlen(json), &m.value, &e) != 0)
        fail_msg("%s: %s", json, e.detail);
    return params_from_json(p, JOB | TENSOR, &m, &e) == 0 ? ERR_none : e.code;
}

static enum err_code alone_member(const char *name, const char *json)
{
    clear();
    return member(name, json);
}

/* ---- rules of every row ---- */

static void a_route_takes_its_parameters_and_no_others(void **state)
{
    (void)state;
    for (int id = 0; id < PARAM_COUNT; id++) {
        for (unsigned where = 1; where < ALL_WHERE; where <<= 1) {
            enum err_code want = rows[id].where & where ? ERR_none : ERR_unknown_parameter;

            clear();
            if (query_on(where, rows[id].name, good_value(id)) != want)
                fail_msg("%s at %u: %s", rows[id].name, where, e.detail);
            assert_int_equal(params_has(p, (enum param_id)id), want == ERR_none);
        }
    }
}

static void numbers_are_taken_from_the_least_to_the_most(void **state)
{
    (void)state;
    for (int id = 0; id < PARAM_COUNT; id++) {
        if (rows[id].type != TYPE_INT)
            continue;
        assert_int_equal(alone_number(rows[id].name, rows[id].min), ERR_none);
        assert_int_equal(params_int(p, (enum param_id)id, 12345), rows[id].min);
        assert_int_equal(alone_number(rows[id].name, rows[id].max), ERR_none);
        assert_int_equal(params_int(p, (enum param_id)id, 12345), rows[id].max);
        assert_int_equal(alone_number(rows[id].name, rows[id].min - 1), ERR_parameter_range);
        assert_int_equal(alone_number(rows[id].name, rows[id].max + 1), ERR_parameter_range);
        assert_false(params_has(p, (enum param_id)id));
        assert_int_equal(params_int(p, (enum param_id)id, 12345), 12345);
    }
}

static void numbers_too_long_for_a_machine_are_out_of_range(void **state)
{
    static const char *const large[] = {"9223372036854775808", "-9223372036854775809",
                                        "1208925819614629174706176"};

    (void)state;
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
        assert_int_equal(alone("priority", large[i]), ERR_parameter_range);
}

static void what_is_no_integer_is_malformed(void **state)
{
    static const char *const bad[] = {"",   "x",  "1.5", "1x",  "0x1", "--1",
                                      "+1", " 1", "1 ",  "1e2", "-"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (alone("axis", bad[i]) != ERR_bad_parameter)
            fail_msg("axis=%s", bad[i]);
    }
}

static void seconds_are_taken_from_the_least_to_the_most(void **state)
{
    (void)state;
    for (int id = 0; id < PARAM_COUNT; id++) {
        char more[32];

        if (rows[id].type != TYPE_SECONDS)
            continue;
        snprintf(more, sizeof more, "%lld.001", rows[id].max);
        assert_int_equal(alone_number(rows[id].name, rows[id].min), ERR_none);
        assert_int_equal(params_us(p, (enum param_id)id, 1), rows[id].min * 1000000);
        assert_int_equal(alone_number(rows[id].name, rows[id].max), ERR_none);
        assert_int_equal(params_us(p, (enum param_id)id, 1), rows[id].max * 1000000);
        assert_int_equal(alone(rows[id].name, more), ERR_parameter_range);
        assert_int_equal(alone_number(rows[id].name, rows[id].min - 1), ERR_parameter_range);
        assert_int_equal(alone_number(rows[id].name, 1000000000), ERR_parameter_range);
        assert_int_equal(params_us(p, (enum param_id)id, 7), 7);
    }
}

static void seconds_may_have_a_fraction(void **state)
{
    (void)state;
    assert_int_equal(alone("wait", "0.25"), ERR_none);
    assert_int_equal(params_us(p, PARAM_wait, 0), 250000);
    assert_int_equal(alone("wait", "1e2"), ERR_none);
    assert_int_equal(params_us(p, PARAM_wait, 0), 100000000);
    assert_int_equal(alone("wait", "0.0000004"), ERR_none);
    assert_int_equal(params_us(p, PARAM_wait, 1), 0);
}

static void what_is_no_number_of_seconds_is_malformed(void **state)
{
    static const char *const bad[] = {"",   "abc", "NaN", "nan", "inf", "Infinity", "0x10",
                                      "1s", "1,5", " 1",  "1 ",  "e",   "-",        "."};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (alone("wait", bad[i]) != ERR_bad_parameter)
            fail_msg("wait=%s", bad[i]);
    }
}

static void texts_have_a_longest_and_no_control_characters(void **state)
{
    static const char *const bad[] = {"a\nb", "\r", "a\x1b[0m", "\x7f", "a\tb"};
    char text[300];

    (void)state;
    for (int id = 0; id < PARAM_COUNT; id++) {
        if (rows[id].type != TYPE_TEXT)
            continue;
        memset(text, 'x', sizeof text);
        text[rows[id].max] = '\0';
        assert_int_equal(alone(rows[id].name, text), ERR_none);
        assert_string_equal(params_text(p, (enum param_id)id), text);
        text[rows[id].max] = 'x';
        text[rows[id].max + 1] = '\0';
        assert_int_equal(alone(rows[id].name, text), ERR_parameter_range);
        assert_null(params_text(p, (enum param_id)id));
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
            assert_int_equal(alone(rows[id].name, bad[i]), ERR_parameter_range);
        assert_int_equal(alone(rows[id].name, "<b> \xc3\xa9 \xe2\x80\xae"),
                         rows[id].max < 12 ? e.code : ERR_none);
    }
}

static void flags_are_on_or_off(void **state)
{
    (void)state;
    for (int id = 0; id < PARAM_COUNT; id++) {
        if (rows[id].type != TYPE_FLAG)
            continue;
        assert_int_equal(alone(rows[id].name, "1"), ERR_none);
        assert_int_equal(params_int(p, (enum param_id)id, 7), 1);
        assert_int_equal(alone(rows[id].name, "false"), ERR_none);
        assert_int_equal(params_int(p, (enum param_id)id, 7), 0);
        assert_int_equal(alone(rows[id].name, "2"), ERR_bad_parameter);
        assert_int_equal(alone(rows[id].name, ""), ERR_bad_parameter);
        assert_int_equal(alone(rows[id].name, "yes"), ERR_bad_parameter);
        assert_int_equal(alone_member(rows[id].name, "true"),
                         rows[id].where & JOB ? ERR_none : ERR_unknown_parameter);
    }
}

static void a_parameter_stands_once_in_the_query(void **state)
{
    (void)state;
    for (int id = 0; id < PARAM_COUNT; id++) {
        assert_int_equal(alone(rows[id].name, good_value(id)), ERR_none);
        assert_int_equal(query(rows[id].name, good_value(id)), ERR_conflicting_parameter);
    }
}

/* As JSON the same value; `other` is another one. */
static void as_json(int id, char same[64], char other[64])
{
    switch (rows[id].type) {
    case TYPE_INT:
    case TYPE_SECONDS:
        snprintf(same, 64, "%lld", rows[id].max);
        snprintf(other, 64, "%lld", rows[id].max - 1);
        break;
    case TYPE_FLAG:
        strcpy(same, "true");
        strcpy(other, "false");
        break;
    case TYPE_DTYPE:
        strcpy(same, "\"I8\"");
        strcpy(other, "\"int16\"");
        break;
    case TYPE_SHAPE:
        strcpy(same, "[2, 3]");
        strcpy(other, "[3, 2]");
        break;
    default:
        strcpy(same, "\"w\\u006frd\"");
        strcpy(other, "\"other\"");
    }
}

static void a_member_may_repeat_the_query_but_not_contradict_it(void **state)
{
    (void)state;
    for (int id = 0; id < PARAM_COUNT; id++) {
        char same[64], other[64], pointer[80];

        if (!(rows[id].where & (JOB | TENSOR)))
            continue;
        as_json(id, same, other);
        snprintf(pointer, sizeof pointer, "/%s", rows[id].name);
        assert_int_equal(alone(rows[id].name, good_value(id)), ERR_none);
        if (member(rows[id].name, same) != ERR_none)
            fail_msg("%s: %s", rows[id].name, e.detail);
        assert_int_equal(member(rows[id].name, other), ERR_conflicting_parameter);
        assert_string_equal(e.pointer, pointer);
    }
}

static void members_have_their_json_type(void **state)
{
    static const struct {
        const char *name, *json;
    } bad[] = {
        {"axis", "\"0\""}, {"axis", "1.5"},   {"axis", "null"},    {"axis", "[1]"},
        {"axis", "true"},  {"wait", "[1]"},   {"wait", "\"1\""},   {"wait", "{}"},
        {"label", "7"},    {"label", "null"}, {"op", "3"},         {"data", "\"1\""},
        {"data", "2"},     {"data", "null"},  {"priority", "1e1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char pointer[40];

        snprintf(pointer, sizeof pointer, "/%s", bad[i].name);
        if (alone_member(bad[i].name, bad[i].json) != ERR_bad_parameter)
            fail_msg("%s: %s is taken, or %s", bad[i].name, bad[i].json, err_name(e.code));
        assert_string_equal(e.pointer, pointer);
    }
}

static void members_have_the_same_ranges(void **state)
{
    char text[32], label[700];

    (void)state;
    for (int id = 0; id < PARAM_COUNT; id++) {
        if ((rows[id].type != TYPE_INT && rows[id].type != TYPE_SECONDS) || !(rows[id].where & JOB))
            continue;
        snprintf(text, sizeof text, "%lld", rows[id].max + 1);
        assert_int_equal(alone_member(rows[id].name, text), ERR_parameter_range);
        snprintf(text, sizeof text, "%lld", rows[id].min);
        assert_int_equal(alone_member(rows[id].name, text), ERR_none);
    }
    snprintf(label, sizeof label, "\"%0257d\"", 0);
    assert_int_equal(alone_member("label", label), ERR_parameter_range);
    assert_string_equal(e.detail, "label is too long: it has 257 bytes, and may have 256");
    snprintf(label, sizeof label, "\"%0600d\"", 0);
    assert_int_equal(alone_member("label", label), ERR_parameter_range);
    assert_string_equal(e.detail, "label is too long: it has 600 bytes, and may have 256");
    assert_int_equal(alone_member("label", "\"a\\nb\""), ERR_parameter_range);
    assert_int_equal(alone_member("label", "\"\\u00e9\""), ERR_none);
    assert_string_equal(params_text(p, PARAM_label), "\xc3\xa9");
}

static void unknown_names_suggest_the_nearest(void **state)
{
    static const struct {
        const char *name, *nearest;
    } wrong[] = {
        {"opp", "op"}, {"prioriy", "priority"}, {"split_axs", "split_axis"}, {"dtpye", "dtype"}};

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(alone(wrong[i].name, "1"), ERR_unknown_parameter);
        assert_non_null(strstr(e.detail, wrong[i].nearest));
        assert_int_equal(alone_member(wrong[i].name, "1"), ERR_unknown_parameter);
        assert_non_null(strstr(e.detail, wrong[i].nearest));
    }
    assert_int_equal(alone("nothing_like_it", "1"), ERR_unknown_parameter);
    assert_null(strstr(e.detail, "did you mean"));
    assert_int_equal(alone("", ""), ERR_unknown_parameter);
}

/* ---- types of their own ---- */

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
        cmocka_unit_test(a_route_takes_its_parameters_and_no_others),
        cmocka_unit_test(numbers_are_taken_from_the_least_to_the_most),
        cmocka_unit_test(numbers_too_long_for_a_machine_are_out_of_range),
        cmocka_unit_test(what_is_no_integer_is_malformed),
        cmocka_unit_test(seconds_are_taken_from_the_least_to_the_most),
        cmocka_unit_test(seconds_may_have_a_fraction),
        cmocka_unit_test(what_is_no_number_of_seconds_is_malformed),
        cmocka_unit_test(texts_have_a_longest_and_no_control_characters),
        cmocka_unit_test(flags_are_on_or_off),
        cmocka_unit_test(a_parameter_stands_once_in_the_query),
        cmocka_unit_test(a_member_may_repeat_the_query_but_not_contradict_it),
        cmocka_unit_test(members_have_their_json_type),
        cmocka_unit_test(members_have_the_same_ranges),
        cmocka_unit_test(unknown_names_suggest_the_nearest),
        cmocka_unit_test(dtypes_are_named_or_aliased),
        cmocka_unit_test(shapes_are_lengths_between_commas),
        cmocka_unit_test(jobs_are_ids_between_commas),
        cmocka_unit_test(groups_are_names_or_lists_of_ranks),
        cmocka_unit_test(groups_in_json_are_strings_or_lists),
        cmocka_unit_test(groups_have_a_largest),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
