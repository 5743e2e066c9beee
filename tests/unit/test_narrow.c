/* test_narrow.c - rules of float16 and bfloat16: rounding, and their shortest text. */
#include "tests/unit/unit.h"

#include "server/narrow.h"
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

static void expect_written(enum dtype d, const void *element, const char *text)
{
    char out[NUMBER_TEXT + 1];
    size_t n = number_write(d, element, out);

    assert_true(n <= NUMBER_TEXT);
    out[n] = '\0';
    assert_string_equal(out, text);
}

static void narrow_floats_round_to_the_nearest_and_then_to_even(void **state)
{
    const struct narrow *formats[] = {&narrow_half, &narrow_brain};

    (void)state;
    for (int i = 0; i < 400000; i++) {
        const struct narrow *f = formats[i & 1];
        /* Random; or in the middle of two neighbours; or a double beside the middle. */
        uint16_t some = (uint16_t)(chance() >> 20) & 0x7fff;
        double a = narrow_to_double(some, f), b = narrow_to_double(some + 1, f), v;
        uint16_t bits;
        bool tie;

        if (some >= f->infinity - 1)
            continue;
        v = i % 3 ? (a + b) / 2 : a + (b - a) * ((double)(chance() >> 12) * 0x1p-52);
        if (i % 5 == 0)
            v = nextafter(v, i % 2 ? INFINITY : 0);
        bits = narrow_from_double(v, f, &tie);
        assert_true(tie == (v - a == b - v));
        if (v - a == b - v)
            assert_int_equal(bits, some & 1 ? some + 1 : some);
        else
            assert_int_equal(bits, v - a < b - v ? some : some + 1);
        assert_int_equal(narrow_from_double(-v, f, NULL), bits | 0x8000);
    }
}

static void narrow_floats_overflow_where_ieee_says(void **state)
{
    (void)state;
    assert_int_equal(narrow_from_double(65519.99, &narrow_half, NULL), 0x7bff);
    assert_int_equal(narrow_from_double(65520, &narrow_half, NULL), 0x7c00);
    assert_int_equal(narrow_from_double(1e300, &narrow_half, NULL), 0x7c00);
    assert_int_equal(narrow_from_double(-INFINITY, &narrow_half, NULL), 0xfc00);
    assert_int_equal(narrow_from_double(NAN, &narrow_half, NULL) & 0x7fff, 0x7e00);
    assert_int_equal(narrow_from_double(0x1p-25, &narrow_half, NULL), 0);
    assert_int_equal(narrow_from_double(-0.0, &narrow_half, NULL), 0x8000);
    assert_int_equal(narrow_from_double(5e-324, &narrow_brain, NULL), 0);
    assert_int_equal(narrow_from_double(0x1.fep127, &narrow_brain, NULL), 0x7f7f);
    assert_int_equal(narrow_from_double(0x1.ffp127, &narrow_brain, NULL), 0x7f80);
    assert_true(isnan(narrow_to_double(0x7fc0, &narrow_brain)));
    assert_true(isinf(narrow_to_double(0xff80, &narrow_brain)));
    assert_true(number_f16_to_double(number_f16_from_double(1.5)) == 1.5);
}

static int significant(const char *text)
{
    int n = 0, zeros = 0;

    for (; *text && *text != 'e'; text++) {
        if (*text == '.' || *text == '-' || (*text == '0' && n == 0))
            continue;
        zeros = *text == '0' ? zeros + 1 : 0;
        n++;
    }
    return n - zeros;
}

/* Every bit pattern there is; the reference for shortness is printf's rounding. */
static void every_narrow_float_reads_back_from_its_shortest_text(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2 * 65536; i++) {
        enum dtype d = i & 1 ? DTYPE_float16 : DTYPE_bfloat16;
        const struct narrow *f = narrow_of(d);
        uint16_t bits = (uint16_t)(i >> 1), back;
        double v = narrow_to_double(bits, f);
        char text[NUMBER_TEXT + 1], shorter[64];
        int digits;
        enum err_code why;

        if (!isfinite(v))
            continue;
        text[number_write(d, &bits, text)] = '\0';
        assert_int_equal(read_text(text, d, &back, &why), 0);
        if (back != bits)
            fail_msg("%s %04x is written %s, which is %04x", dtypes[d].name, bits, text, back);
        digits = significant(text);
        snprintf(shorter, sizeof shorter, "%.*e", digits > 1 ? digits - 2 : 0, v);
        if (digits > 1 && v != floor(v) && /* integers are exact */
            narrow_from_double(strtod(shorter, NULL), f, NULL) == bits)
            fail_msg("%s %04x is written %s, but %s would do", dtypes[d].name, bits, text, shorter);
    }
}

static void every_16_bit_integer_reads_back(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x20000; i++) {
        enum dtype d = i & 1 ? DTYPE_int16 : DTYPE_uint16;
        uint16_t bits = (uint16_t)(i >> 1), back = 0;
        char text[NUMBER_TEXT + 1];
        enum err_code why;

        text[number_write(d, &bits, text)] = '\0';
        assert_int_equal(read_text(text, d, &back, &why), 0);
        assert_int_equal(back, bits);
    }
}

static void narrow_floats_are_written_as_people_write_them(void **state)
{
    static const struct {
        double v;
        const char *half, *brain;
    } rows[] = {
        {0, "0", "0"},
        {-0.0, "-0.0", "-0.0"},
        {1, "1", "1"},
        {-1.5, "-1.5", "-1.5"},
        {100, "100", "100"},
        {300, "300", "300"},
        {2048, "2048", "2048"},
        {65504, "65504", "65536"},
        {0.1, "0.1", "0.1"},
        {-0.001, "-0.001", "-0.001"},
        {1e-5, "1e-05", "1e-05"},
        {10000, "10000", "9984"},
        {3.140625, "3.14", "3.14"},
        {INFINITY, "\"Infinity\"", "\"Infinity\""},
        {-INFINITY, "\"-Infinity\"", "\"-Infinity\""},
        {NAN, "\"NaN\"", "\"NaN\""},
    };
    uint16_t largest = 0x7f7f;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint16_t half = narrow_from_double(rows[i].v, &narrow_half, NULL);
        uint16_t brain = narrow_from_double(rows[i].v, &narrow_brain, NULL);

        expect_written(DTYPE_float16, &half, rows[i].half);
        expect_written(DTYPE_bfloat16, &brain, rows[i].brain);
    }
    expect_written(DTYPE_bfloat16, &largest, "3.3895314e+38");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(narrow_floats_round_to_the_nearest_and_then_to_even),
        cmocka_unit_test(narrow_floats_overflow_where_ieee_says),
        cmocka_unit_test(every_narrow_float_reads_back_from_its_shortest_text),
        cmocka_unit_test(every_16_bit_integer_reads_back),
        cmocka_unit_test(narrow_floats_are_written_as_people_write_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
