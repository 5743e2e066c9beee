/* test_number.c - what is written reads back to the same bits; what does not fit is refused. */
#include "tests/unit/unit.h"

#include "server/number.h"

#include <stdlib.h>
#include <string.h>

static void every_16_bit_number_reads_back(void **state)
{
    static const enum dtype types[] = {DTYPE_float16, DTYPE_bfloat16, DTYPE_int16, DTYPE_uint16};

    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        for (uint32_t i = 0; i < 0x10000; i++) {
            uint16_t bits = (uint16_t)i, back = 0;
            char text[NUMBER_TEXT];
            size_t len = number_write(types[t], &bits, text);
            struct err e;

            assert_true(len > 0 && len <= NUMBER_TEXT);
            if (text[0] == '"')
                continue; /* not finite */
            assert_int_equal(number_read(text, len, types[t], &back, &e), 0);
            assert_int_equal(back, bits);
        }
    }
}

static void random_floats_read_back(void **state)
{
    (void)state;
    srand(3);
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand(),
                 back = 0;
        char text[NUMBER_TEXT];
        struct err e;

        for (int d = DTYPE_float32; d <= DTYPE_float64; d++) {
            size_t len = number_write((enum dtype)d, &bits, text);

            if (text[0] == '"')
                continue;
            assert_int_equal(number_read(text, len, (enum dtype)d, &back, &e), 0);
            assert_memory_equal(&back, &bits, dtypes[d].size_bytes);
        }
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    static const struct {
        enum dtype d;
        const char *text;
        enum err_code code;
    } rows[] = {
        {DTYPE_uint8, "256", ERR_number_out_of_range},
        {DTYPE_uint8, "-1", ERR_number_out_of_range},
        {DTYPE_int8, "128", ERR_number_out_of_range},
        {DTYPE_int32, "1.5", ERR_value_invalid},
        {DTYPE_float16, "65520", ERR_number_out_of_range},
        {DTYPE_float32, "1e39", ERR_number_out_of_range},
        {DTYPE_float64, "1e400", ERR_number_out_of_range},
        {DTYPE_bool, "1", ERR_value_invalid},
        {DTYPE_uint64, "18446744073709551616", ERR_number_out_of_range},
        {DTYPE_int64, "9223372036854775808", ERR_number_out_of_range},
        {DTYPE_bfloat16, "3.4e38", ERR_number_out_of_range},
    };
    struct err e;
    uint64_t out;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(number_read(rows[i].text, strlen(rows[i].text), rows[i].d, &out, &e), -1);
        assert_int_equal(e.code, rows[i].code);
    }
}

static void integers_may_be_written_oddly(void **state)
{
    int64_t wide = 0;
    int8_t small = 0;
    uint64_t big = 0;
    struct err e;

    (void)state;
    assert_int_equal(number_read("1e2", 3, DTYPE_int8, &small, &e), 0);
    assert_int_equal(small, 100);
    assert_int_equal(number_read("9007199254740993.0", 18, DTYPE_int64, &wide, &e), 0);
    assert_true(wide == 9007199254740993);
    assert_int_equal(number_read_string("18446744073709551615", 20, DTYPE_uint64, &big, &e), 0);
    assert_true(big == UINT64_MAX);
}

/* 1 + 2^-11 + 2^-60 lies above the tie between two float16; its double lies on it. */
static void a_decimal_is_rounded_once(void **state)
{
    static const char above[] = "1.00048828125000000000000000000000000001", tie[] = "1.00048828125";
    uint16_t bits;
    struct err e;

    (void)state;
    assert_int_equal(number_read(above, sizeof above - 1, DTYPE_float16, &bits, &e), 0);
    assert_int_equal(bits, 0x3c01);
    assert_int_equal(number_read(tie, sizeof tie - 1, DTYPE_float16, &bits, &e), 0);
    assert_int_equal(bits, 0x3c00);
}

static void a_negative_zero_keeps_its_sign(void **state)
{
    float zero = -0.0f;
    char text[NUMBER_TEXT];

    (void)state;
    assert_int_equal(number_write(DTYPE_float32, &zero, text), 4);
    assert_memory_equal(text, "-0.0", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_16_bit_number_reads_back),
        cmocka_unit_test(random_floats_read_back),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(integers_may_be_written_oddly),
        cmocka_unit_test(a_decimal_is_rounded_once),
        cmocka_unit_test(a_negative_zero_keeps_its_sign),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
