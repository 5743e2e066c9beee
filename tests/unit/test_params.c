/* test_params.c - rules of parameters, for every row of params.def: names, ranges, contradictions.
 */
#include "tests/unit/params_house.h"

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
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
