/* test_number.c - rules of numbers: read exactly, written as short as can be. */
#include "tests/unit/unit.h"

#include "schema/clock.h"
#include "server/number.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 1;

static uint64_t chance(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return seed ^ seed >> 29;
}

static int read_text(const char *text, enum dtype d, void *out, enum err_code *why)
{
    struct err e = {0};
    int rc = number_read(text, strlen(text), d, out, &e);

    *why = rc == 0 ? ERR_none : e.code;
    return rc;
}

static void expect_refusal(const char *text, enum dtype d, enum err_code code)
{
    uint64_t out;
    enum err_code why;

    if (read_text(text, d, &out, &why) == 0 || why != code)
        fail_msg("%.40s as %s gives %s, not %s", text, dtypes[d].name, err_name(why),
                 err_name(code));
}

static void expect_written(enum dtype d, const void *element, const char *text)
{
    char out[NUMBER_TEXT + 1];
    size_t n = number_write(d, element, out);

    assert_true(n <= NUMBER_TEXT);
    out[n] = '\0';
    assert_string_equal(out, text);
}

/* Through a double the tail would be lost, and the middle would round to even. */
static void a_text_is_rounded_once(void **state)
{
    static const struct {
        enum dtype d;
        const char *text;
        uint32_t bits;
    } rows[] = {
        {DTYPE_float16, "1.00048828125", 0x3c00},
        {DTYPE_float16, "1.000488281250000000000000000000000000000000001", 0x3c01},
        {DTYPE_float16, "1.000488281249999999999999999999999999999999999", 0x3c00},
        {DTYPE_float16, "1.00146484375", 0x3c02},
        {DTYPE_float16, "1.00146484374999999999999999999999999999999999", 0x3c01},
        {DTYPE_float16, "-1.000488281250000000000000000000000000000000001", 0xbc01},
        {DTYPE_float16, "0.0000100048828125000000000000000000000000000001e5", 0x3c01},
        {DTYPE_float16, "1000488281250000000000000000000000000000001e-42", 0x3c01},
        {DTYPE_float16, "2.98023223876953125e-08", 0x0000},
        {DTYPE_float16, "2.980232238769531250000000000000000001e-08", 0x0001},
        {DTYPE_float16, "65519.99999999999999999999999999999", 0x7bff},
        {DTYPE_bfloat16, "1.00390625", 0x3f80},
        {DTYPE_bfloat16, "1.0039062500000000000000000000000000000000000001", 0x3f81},
        {DTYPE_bfloat16, "1.01171874999999999999999999999999999999999999", 0x3f81},
        {DTYPE_float32, "16777217", 0x4b800000},
        {DTYPE_float32, "1.000000059604644775390625", 0x3f800000},
        {DTYPE_float32, "1.00000005960464477539062500000000000000001", 0x3f800001},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t out = 0;
        enum err_code why;

        assert_int_equal(read_text(rows[i].text, rows[i].d, &out, &why), 0);
        if (out != rows[i].bits)
            fail_msg("%s as %s gives %x, not %x", rows[i].text, dtypes[rows[i].d].name, out,
                     rows[i].bits);
    }
}

/* ---- reading ---- */

static void what_no_float_can_hold_is_out_of_range(void **state)
{
    static const enum dtype floats[] = {DTYPE_float16, DTYPE_bfloat16, DTYPE_float32,
                                        DTYPE_float64};
    uint64_t out;
    enum err_code why;

    (void)state;
    for (int i = 0; i < 4; i++) {
        expect_refusal("1e400", floats[i], ERR_number_out_of_range);
        expect_refusal("-1e400", floats[i], ERR_number_out_of_range);
        expect_refusal("1e99999999999999999999", floats[i], ERR_number_out_of_range);
        out = 1;
        assert_int_equal(read_text("1e-400", floats[i], &out, &why), 0);
        out = 1;
        assert_int_equal(read_text("0e99999999999999999999", floats[i], &out, &why), 0);
    }
    expect_refusal("70000", DTYPE_float16, ERR_number_out_of_range);
    expect_refusal("65520", DTYPE_float16, ERR_number_out_of_range);
    expect_refusal("1e39", DTYPE_float32, ERR_number_out_of_range);
    expect_refusal("3.4e38", DTYPE_bfloat16, ERR_number_out_of_range);
}

static void what_is_too_small_becomes_a_signed_zero_or_a_subnormal(void **state)
{
    enum err_code why;
    double v;
    float f;

    (void)state;
    assert_int_equal(read_text("-1e-400", DTYPE_float64, &v, &why), 0);
    assert_true(v == 0 && signbit(v));
    assert_int_equal(read_text("0.0000000001e-400", DTYPE_float64, &v, &why), 0);
    assert_true(v == 0 && !signbit(v));
    assert_int_equal(read_text("5e-324", DTYPE_float64, &v, &why), 0);
    assert_true(v == 5e-324);
    assert_int_equal(read_text("1e-45", DTYPE_float32, &f, &why), 0);
    assert_true(f == 0x1p-149f);
    assert_int_equal(read_text("-0", DTYPE_float32, &f, &why), 0);
    assert_true(f == 0 && signbit(f));
}

static void an_integer_fits_its_dtype_to_the_last_value(void **state)
{
    static const struct {
        enum dtype d;
        const char *least, *below, *most, *above;
    } rows[] = {
        {DTYPE_int8, "-128", "-129", "127", "128"},
        {DTYPE_uint8, "0", "-1", "255", "256"},
        {DTYPE_int16, "-32768", "-32769", "32767", "32768"},
        {DTYPE_uint16, "0", "-1", "65535", "65536"},
        {DTYPE_int32, "-2147483648", "-2147483649", "2147483647", "2147483648"},
        {DTYPE_uint32, "-0", "-1", "4294967295", "4294967296"},
        {DTYPE_int64, "-9223372036854775808", "-9223372036854775809", "9223372036854775807",
         "9223372036854775808"},
        {DTYPE_uint64, "-0.0", "-1", "18446744073709551615", "18446744073709551616"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum dtype d = rows[i].d;
        char text[NUMBER_TEXT + 1];
        uint64_t out = 0;
        enum err_code why;

        assert_int_equal(read_text(rows[i].least, d, &out, &why), 0);
        assert_int_equal(read_text(rows[i].most, d, &out, &why), 0);
        text[number_write(d, &out, text)] = '\0';
        if (d != DTYPE_uint64)
            assert_string_equal(text, rows[i].most);
        expect_refusal(rows[i].below, d, ERR_number_out_of_range);
        expect_refusal(rows[i].above, d, ERR_number_out_of_range);
    }
}

static void an_integer_may_be_written_oddly_but_must_be_one(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } rows[] = {
        {"1.0", 1},
        {"1e2", 100},
        {"1E+2", 100},
        {"100e-2", 1},
        {"1.5e1", 15},
        {"-120.000e-1", -12},
        {"0.00", 0},
        {"-0.0e5", 0},
        {"1e18", 1000000000000000000},
        {"9007199254740993.0", 9007199254740993},
        {"922337203685477580.7e1", INT64_MAX},
        {"0.000000000000000000001e21", 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t out = 77;
        enum err_code why;

        if (read_text(rows[i].text, DTYPE_int64, &out, &why) != 0 || out != rows[i].value)
            fail_msg("%s is %s, %lld", rows[i].text, err_name(why), (long long)out);
    }
    expect_refusal("1.5", DTYPE_int32, ERR_value_invalid);
    expect_refusal("1e-1", DTYPE_int32, ERR_value_invalid);
    expect_refusal("1e-400", DTYPE_int64, ERR_value_invalid);
    expect_refusal("1.00000000000000000000000000000000001", DTYPE_int32, ERR_value_invalid);
    expect_refusal("1e3", DTYPE_int8, ERR_number_out_of_range);
    expect_refusal("1e400", DTYPE_int64, ERR_number_out_of_range);
    expect_refusal("1e99999999999999999999", DTYPE_uint64, ERR_number_out_of_range);
}

/* Query parameters come here unchecked. */
static void what_is_no_number_is_no_integer(void **state)
{
    static const char *const texts[] = {"",  "x",   "+1", "1x", "0x10", " 1",    "1 ",   "e5", ".5",
                                        "-", "1e+", "1.", "1e", "--1",  "1.2.3", "1e5.", "-.e"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        uint64_t out;
        enum err_code why;

        if (read_text(texts[i], DTYPE_uint64, &out, &why) == 0)
            fail_msg("\"%s\" was taken", texts[i]);
    }
}

static void strings_stand_for_what_json_cannot_write_and_no_more(void **state)
{
    static const struct {
        const char *text;
        enum dtype d;
        enum err_code code;
    } rows[] = {
        {"NaN", DTYPE_float32, ERR_none},
        {"Infinity", DTYPE_float16, ERR_none},
        {"-Infinity", DTYPE_bfloat16, ERR_none},
        {"NaN", DTYPE_float64, ERR_none},
        {"18446744073709551615", DTYPE_uint64, ERR_none},
        {"-9223372036854775808", DTYPE_int64, ERR_none},
        {"nan", DTYPE_float32, ERR_value_invalid},
        {"inf", DTYPE_float32, ERR_value_invalid},
        {"1.0", DTYPE_float32, ERR_value_invalid},
        {"", DTYPE_float32, ERR_value_invalid},
        {"1", DTYPE_int32, ERR_value_invalid},
        {"NaN", DTYPE_int64, ERR_value_invalid},
        {"1.0", DTYPE_int64, ERR_value_invalid},
        {"", DTYPE_int64, ERR_value_invalid},
        {"-", DTYPE_int64, ERR_value_invalid},
        {"true", DTYPE_bool, ERR_value_invalid},
        {"18446744073709551616", DTYPE_uint64, ERR_number_out_of_range},
        {"-1", DTYPE_uint64, ERR_number_out_of_range},
    };
    double v;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t out;

        e.code = ERR_none;
        number_read_string(rows[i].text, strlen(rows[i].text), rows[i].d, &out, &e);
        if (e.code != rows[i].code)
            fail_msg("\"%s\" as %s gives %s", rows[i].text, dtypes[rows[i].d].name,
                     err_name(e.code));
    }
    assert_int_equal(number_read_string("-Infinity", 9, DTYPE_float64, &v, &e), 0);
    assert_true(isinf(v) && v < 0);
    assert_int_equal(number_read_string("NaN", 3, DTYPE_float64, &v, &e), 0);
    assert_true(isnan(v));
}

static void a_bool_is_no_number(void **state)
{
    (void)state;
    expect_refusal("1", DTYPE_bool, ERR_value_invalid);
    expect_refusal("0", DTYPE_bool, ERR_value_invalid);
}

/* A second is a thousand times what linear reading takes. */
static void a_million_digits_are_read_in_linear_time(void **state)
{
    enum { N = 1000000 };
    char *text = malloc(N + 8);
    uint64_t out, start = clock_us();
    struct err e;
    double v;

    (void)state;
    assert_non_null(text);
    memset(text, '7', N);
    assert_int_equal(number_read(text, N, DTYPE_int64, &out, &e), -1);
    assert_int_equal(e.code, ERR_number_out_of_range);
    assert_int_equal(number_read(text, N, DTYPE_float64, &v, &e), -1);
    assert_int_equal(e.code, ERR_number_out_of_range);
    memcpy(text, "0.", 2);
    assert_int_equal(number_read(text, N, DTYPE_float64, &v, &e), 0);
    assert_true(v == 7.0 / 9);
    assert_int_equal(number_read(text, N, DTYPE_int32, &out, &e), -1);
    assert_int_equal(e.code, ERR_value_invalid);
    memset(text + 2, '0', N - 2);
    text[N - 1] = '1';
    memcpy(text + N, "e999998", 7);
    assert_int_equal(number_read(text, N + 7, DTYPE_float16, &out, &e), 0);
    assert_int_equal(number_read(text, N + 7, DTYPE_int32, &out, &e), 0);
    assert_int_equal((int32_t)out, 1);
    assert_true(clock_us() - start < 1000000);
    free(text);
}

static void a_detail_shows_whole_characters_of_a_long_text(void **state)
{
    char text[100], *p = text;
    struct err e;
    uint64_t out;

    (void)state;
    *p++ = 'x';
    for (int i = 0; i < 30; i++)
        p += sprintf(p, "\xc3\xa9");
    assert_int_equal(number_read_string(text, strlen(text), DTYPE_float32, &out, &e), -1);
    assert_non_null(strstr(e.detail, "\xc3\xa9\" is no float32"));
}

/* ---- writing ---- */

static void floats_read_back_to_the_same_bits(void **state)
{
    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = chance() ^ chance() << 32, back;
        uint32_t bits32 = (uint32_t)(bits >> 16), back32;
        char text[NUMBER_TEXT + 1];
        double v;
        float f;
        enum err_code why;

        memcpy(&v, &bits, sizeof v);
        memcpy(&f, &bits32, sizeof f);
        if (isfinite(v)) {
            text[number_write(DTYPE_float64, &v, text)] = '\0';
            assert_int_equal(read_text(text, DTYPE_float64, &back, &why), 0);
            assert_true(back == bits);
            assert_true(strtod(text, NULL) == v);
        }
        if (isfinite(f)) {
            text[number_write(DTYPE_float32, &f, text)] = '\0';
            assert_int_equal(read_text(text, DTYPE_float32, &back32, &why), 0);
            assert_true(back32 == bits32);
        }
    }
}

static void numbers_are_written_short_and_without_a_useless_point(void **state)
{
    double v = 4, tenth = 0.1;
    float f = 16777216, third = 1.0f / 3, nan = NAN, zero = -0.0f;
    uint64_t most = UINT64_MAX, signed_most = INT64_MAX, above = (uint64_t)INT64_MAX + 1;
    int8_t least = -128;
    uint8_t yes = 1, no = 0;
    char out[NUMBER_TEXT + 1];

    (void)state;
    expect_written(DTYPE_float64, &v, "4");
    expect_written(DTYPE_float64, &tenth, "0.1");
    expect_written(DTYPE_float32, &f, "16777216");
    expect_written(DTYPE_float32, &third, "0.33333334");
    expect_written(DTYPE_float32, &nan, "\"NaN\"");
    expect_written(DTYPE_float32, &zero, "-0.0"); /* "-0" would be an integer to many readers */
    expect_written(DTYPE_int8, &least, "-128");
    expect_written(DTYPE_uint64, &signed_most, "9223372036854775807");
    expect_written(DTYPE_uint64, &above, "\"9223372036854775808\"");
    expect_written(DTYPE_uint64, &most, "\"18446744073709551615\"");
    expect_written(DTYPE_bool, &yes, "true");
    expect_written(DTYPE_bool, &no, "false");
    out[number_write_double(1.5, out)] = '\0';
    assert_string_equal(out, "1.5");
}

static void the_largest_and_smallest_numbers_fit_the_room(void **state)
{
    static const double doubles[] = {-1.7976931348623157e308, -5e-324, -2.2250738585072014e-308,
                                     -1.2345678901234567e-300};
    char out[NUMBER_TEXT];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_true(number_write(DTYPE_float64, &doubles[i], out) <= 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_rounded_once),
        cmocka_unit_test(what_no_float_can_hold_is_out_of_range),
        cmocka_unit_test(what_is_too_small_becomes_a_signed_zero_or_a_subnormal),
        cmocka_unit_test(an_integer_fits_its_dtype_to_the_last_value),
        cmocka_unit_test(an_integer_may_be_written_oddly_but_must_be_one),
        cmocka_unit_test(what_is_no_number_is_no_integer),
        cmocka_unit_test(strings_stand_for_what_json_cannot_write_and_no_more),
        cmocka_unit_test(a_bool_is_no_number),
        cmocka_unit_test(a_million_digits_are_read_in_linear_time),
        cmocka_unit_test(a_detail_shows_whole_characters_of_a_long_text),
        cmocka_unit_test(floats_read_back_to_the_same_bits),
        cmocka_unit_test(numbers_are_written_short_and_without_a_useless_point),
        cmocka_unit_test(the_largest_and_smallest_numbers_fit_the_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
