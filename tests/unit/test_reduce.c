/* test_reduce.c - kernels: every instruction set gives the same bits, and the bits the rules say.
 */
#include "tests/unit/unit.h"

#include "worker/reduce.h"
#include "worker/reduce_part.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 2500 /* more than two blocks, and no multiple of a vector */
#define INPUTS 6

static uint8_t bytes[INPUTS][COUNT * 8 + 1], out_a[COUNT * 8 + 1], out_b[COUNT * 8 + 1];

static void fill(void)
{
    srand(7);
    for (int i = 0; i < INPUTS; i++)
        for (size_t k = 0; k < sizeof bytes[i]; k++)
            bytes[i][k] = (uint8_t)(rand() >> 7);
}

static bool is_nan(enum dtype d, const uint8_t *p)
{
    uint16_t h;
    float f;
    double g;

    switch (d) {
    case DTYPE_float16:
        memcpy(&h, p, 2);
        return (h & 0x7fff) > 0x7c00;
    case DTYPE_bfloat16:
        memcpy(&h, p, 2);
        return (h & 0x7fff) > 0x7f80;
    case DTYPE_float32:
        memcpy(&f, p, 4);
        return isnan(f);
    case DTYPE_float64:
        memcpy(&g, p, 8);
        return isnan(g);
    default:
        return false;
    }
}

/* NaNs may carry any payload; the sign of a zero of max and min is not promised. */
static bool same(enum dtype d, const uint8_t *a, const uint8_t *b)
{
    uint8_t any = 0;

    if (memcmp(a, b, dtypes[d].size_bytes) == 0 || (is_nan(d, a) && is_nan(d, b)))
        return true;
    for (uint32_t i = 0; i + 1 < dtypes[d].size_bytes; i++)
        any |= a[i] | b[i];
    return any == 0 && ((a[dtypes[d].size_bytes - 1] | b[dtypes[d].size_bytes - 1]) & 0x7f) == 0;
}

static void all_instruction_sets_give_the_same_bits(void **state)
{
    (void)state;
    if (!reduce_has_avx2())
        skip();
    fill();
    for (int d = 0; d < DTYPE_COUNT; d++) {
        for (int r = REDUCE_SUM; r < REDUCTION_COUNT; r++) {
            for (uint32_t n = 1; n <= INPUTS; n++) {
                const uint8_t *in[INPUTS];

                if (!reduce_generic[d][r])
                    continue;
                for (uint32_t i = 0; i < n; i++)
                    in[i] = bytes[i] + 1; /* aligned to nothing */
                reduce_generic[d][r](out_a + 1, in, n, COUNT);
                reduce_avx2[d][r](out_b + 1, in, n, COUNT);
                for (size_t k = 0; k < COUNT; k++)
                    assert_true(same((enum dtype)d, out_a + 1 + k * dtypes[d].size_bytes,
                                     out_b + 1 + k * dtypes[d].size_bytes));
            }
        }
    }
}

/* Whole lines, past the caches, and nothing beside them. */
static void streams_give_the_same_bits(void **state)
{
    static _Alignas(REDUCE_LINE) uint8_t out[40 * REDUCE_LINE];
    enum { LINES = 38 };

    (void)state;
    if (!reduce_has_avx2())
        skip();
    fill();
    for (int d = 0; d < DTYPE_COUNT; d++) {
        size_t size = dtypes[d].size_bytes, count = LINES * REDUCE_LINE / size;

        for (uint32_t n = 1; reduce_stream_sums[d] && n <= INPUTS; n++) {
            const uint8_t *in[INPUTS];

            for (uint32_t i = 0; i < n; i++)
                in[i] = bytes[i] + 1;
            memset(out, 0xa5, sizeof out);
            reduce_generic[d][REDUCE_SUM](out_a + 1, in, n, count);
            reduce_stream_sums[d](out + REDUCE_LINE, in, n, count);
            for (size_t k = 0; k < count; k++)
                assert_true(
                    same((enum dtype)d, out_a + 1 + k * size, out + REDUCE_LINE + k * size));
            for (size_t i = 0; i < REDUCE_LINE; i++) {
                assert_int_equal(out[i], 0xa5);
                assert_int_equal(out[sizeof out - 1 - i], 0xa5);
            }
        }
    }
}

static void what_operations_refuse_has_no_kernel(void **state)
{
    (void)state;
    reduce_init();
    for (int d = 0; d < DTYPE_COUNT; d++) {
        for (int r = REDUCE_SUM; r < REDUCTION_COUNT; r++) {
            const struct op op = {.name = "some", .reduce = (enum reduction)r};
            struct err e;

            assert_int_equal(!reduce_find((enum dtype)d, (enum reduction)r),
                             op_check_dtype(&op, (enum dtype)d, &e) != 0);
        }
    }
}

static void sums_go_in_rank_order(void **state)
{
    float a = 1e8f, b = 1.0f, c = -1e8f, sum;
    const uint8_t *in[] = {(uint8_t *)&a, (uint8_t *)&b, (uint8_t *)&c},
                  *turned[] = {in[0], in[2], in[1]};

    (void)state;
    reduce_init();
    reduce_find(DTYPE_float32, REDUCE_SUM)((uint8_t *)&sum, in, 3, 1);
    assert_true(sum == 0.0f); /* (1e8 + 1) - 1e8: the 1 is rounded away */
    reduce_find(DTYPE_float32, REDUCE_SUM)((uint8_t *)&sum, turned, 3, 1);
    assert_true(sum == 1.0f);
}

static void integers_wrap_around(void **state)
{
    int32_t a = INT32_MAX, b = 2, sum;
    int8_t x = -128, y = -1, small;
    const uint8_t *wide[] = {(uint8_t *)&a, (uint8_t *)&b},
                  *narrow[] = {(uint8_t *)&x, (uint8_t *)&y};

    (void)state;
    reduce_find(DTYPE_int32, REDUCE_SUM)((uint8_t *)&sum, wide, 2, 1);
    assert_int_equal(sum, INT32_MIN + 1);
    reduce_find(DTYPE_int8, REDUCE_SUM)((uint8_t *)&small, narrow, 2, 1);
    assert_int_equal(small, 127);
}

static void a_number_beats_nan(void **state)
{
    double a = NAN, b = -3, c = NAN, best;
    const uint8_t *in[] = {(uint8_t *)&a, (uint8_t *)&b, (uint8_t *)&c}, *none[] = {in[0], in[2]};

    (void)state;
    for (int r = REDUCE_MAX; r <= REDUCE_MIN; r++) {
        reduce_find(DTYPE_float64, (enum reduction)r)((uint8_t *)&best, in, 3, 1);
        assert_true(best == -3);
        reduce_find(DTYPE_float64, (enum reduction)r)((uint8_t *)&best, none, 2, 1);
        assert_true(isnan(best));
    }
}

/* 2048 + 1 + 1 in float16 is 2048 when each step rounds, and 2050 when only the end does. */
static void halves_round_once_at_the_end(void **state)
{
    uint16_t big = 0x6800, one = 0x3c00, sum;
    const uint8_t *in[] = {(uint8_t *)&big, (uint8_t *)&one, (uint8_t *)&one};

    (void)state;
    reduce_find(DTYPE_float16, REDUCE_SUM)((uint8_t *)&sum, in, 3, 1);
    assert_int_equal(sum, 0x6801);
    reduce_generic[DTYPE_float16][REDUCE_SUM]((uint8_t *)&sum, in, 3, 1);
    assert_int_equal(sum, 0x6801);
}

/* Every float16 through the plain conversions and back. */
static void every_half_survives_a_sum_of_one(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        uint16_t half = (uint16_t)bits, back;
        const uint8_t *in[] = {(uint8_t *)&half};

        reduce_generic[DTYPE_float16][REDUCE_SUM]((uint8_t *)&back, in, 1, 1);
        assert_true(back == half || is_nan(DTYPE_float16, (uint8_t *)&back));
        assert_int_equal(is_nan(DTYPE_float16, (uint8_t *)&back),
                         is_nan(DTYPE_float16, (uint8_t *)&half));
    }
}

/* Every 16-bit value beside some others, each of which brings ties, overflow, subnormals or none.
 */
static void every_short_streams_as_the_plain_kernel_sums(void **state)
{
    enum { ALL = 0x10000 };
    static _Alignas(REDUCE_LINE) uint16_t every[ALL], other[ALL], plain[ALL], stream[ALL];
    static const uint16_t others[] = {0x0000, 0x8000, 0x0001, 0x3f80, 0x3f81, 0x3c01, 0x7bff,
                                      0x7f7f, 0xff7f, 0x7c00, 0x7f80, 0xff80, 0x7fc1, 0xbb80};
    static const enum dtype shorts[] = {DTYPE_float16, DTYPE_bfloat16};
    const uint8_t *in[] = {(uint8_t *)every, (uint8_t *)other};

    (void)state;
    if (!reduce_has_avx2())
        skip();
    for (uint32_t k = 0; k < ALL; k++)
        every[k] = (uint16_t)k;
    for (size_t s = 0; s < sizeof shorts / sizeof shorts[0]; s++) {
        for (size_t o = 0; o < sizeof others / sizeof others[0]; o++) {
            for (uint32_t k = 0; k < ALL; k++)
                other[k] = others[o];
            reduce_generic[shorts[s]][REDUCE_SUM]((uint8_t *)plain, in, 2, ALL);
            reduce_stream_sums[shorts[s]]((uint8_t *)stream, in, 2, ALL);
            for (uint32_t k = 0; k < ALL; k++)
                assert_true(same(shorts[s], (uint8_t *)&plain[k], (uint8_t *)&stream[k]));
        }
    }
}

static void bools_come_out_as_0_and_1(void **state)
{
    uint8_t a[] = {0, 2, 0, 255}, b[] = {0, 0, 7, 1}, result[4];
    const uint8_t *in[] = {a, b};

    (void)state;
    reduce_find(DTYPE_bool, REDUCE_MAX)(result, in, 2, 4);
    assert_memory_equal(result, ((uint8_t[]){0, 1, 1, 1}), 4);
    reduce_find(DTYPE_bool, REDUCE_MIN)(result, in, 2, 4);
    assert_memory_equal(result, ((uint8_t[]){0, 0, 0, 1}), 4);
}

/* Wherever the inputs are parted, and however the accumulators travel. */
static void parts_give_the_bits_of_the_whole(void **state)
{
    static uint8_t acc[COUNT * 8];

    (void)state;
    reduce_init();
    fill();
    for (int d = 0; d < DTYPE_COUNT; d++) {
        for (int r = REDUCE_SUM; r < REDUCTION_COUNT; r++) {
            reduce_fn *whole = reduce_find((enum dtype)d, (enum reduction)r);
            const uint8_t *in[INPUTS];

            for (uint32_t i = 0; i < INPUTS; i++)
                in[i] = bytes[i] + 1;
            for (uint32_t at = 1; whole && at <= INPUTS; at++) {
                whole(out_a, in, INPUTS, COUNT);
                reduce_part_add((enum dtype)d, (enum reduction)r, acc, NULL, in, at, COUNT);
                if (at < INPUTS)
                    reduce_part_add((enum dtype)d, (enum reduction)r, acc, acc, in + at,
                                    INPUTS - at, COUNT);
                reduce_part_end((enum dtype)d, (enum reduction)r, out_b, acc, INPUTS, COUNT);
                for (size_t k = 0; k < COUNT; k++)
                    assert_true(same((enum dtype)d, out_a + k * dtypes[d].size_bytes,
                                     out_b + k * dtypes[d].size_bytes));
            }
        }
    }
}

/* Of two inputs exchanged, the larger sums of floats may differ; what any order suits, may not. */
static void any_order_means_any_order(void **state)
{
    (void)state;
    for (int d = 0; d < DTYPE_COUNT; d++) {
        for (int r = REDUCE_SUM; r < REDUCTION_COUNT; r++) {
            reduce_fn *whole = reduce_find((enum dtype)d, (enum reduction)r);
            const uint8_t *in[INPUTS], *back[INPUTS];

            for (uint32_t i = 0; i < INPUTS; i++)
                back[INPUTS - 1 - i] = in[i] = bytes[i];
            if (!whole || !reduce_any_order((enum dtype)d, (enum reduction)r))
                continue;
            whole(out_a, in, INPUTS, COUNT);
            whole(out_b, back, INPUTS, COUNT);
            for (size_t k = 0; k < COUNT; k++)
                assert_true(same((enum dtype)d, out_a + k * dtypes[d].size_bytes,
                                 out_b + k * dtypes[d].size_bytes));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_instruction_sets_give_the_same_bits),
        cmocka_unit_test(streams_give_the_same_bits),
        cmocka_unit_test(what_operations_refuse_has_no_kernel),
        cmocka_unit_test(sums_go_in_rank_order),
        cmocka_unit_test(integers_wrap_around),
        cmocka_unit_test(a_number_beats_nan),
        cmocka_unit_test(halves_round_once_at_the_end),
        cmocka_unit_test(every_half_survives_a_sum_of_one),
        cmocka_unit_test(every_short_streams_as_the_plain_kernel_sums),
        cmocka_unit_test(bools_come_out_as_0_and_1),
        cmocka_unit_test(parts_give_the_bits_of_the_whole),
        cmocka_unit_test(any_order_means_any_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
