/* test_copy.c - strided rows: every byte lands where the two layouts say, however the range is cut.
 */
#include "tests/unit/unit.h"

#include "worker/copy.h"

#include <string.h>

#define BIG 8192

static uint8_t from[BIG], to[BIG], want[BIG];

static uint64_t place(const struct rows *r, uint64_t at)
{
    return r->offset + at / r->len * r->stride + at % r->len;
}

static void check(struct rows a, struct rows b, uint64_t total, uint64_t step)
{
    struct move m = {.src = from, .dst = to, .from = a, .to = b, .total_bytes = total};

    memset(to, 0xee, sizeof to);
    memset(want, 0xee, sizeof want);
    for (uint64_t at = 0; at < total; at++)
        want[place(&b, at)] = from[place(&a, at)];
    for (uint64_t lo = 0; lo < total; lo += step)
        copy_range(&m, lo, lo + step < total ? lo + step : total);
    assert_memory_equal(to, want, sizeof to);
}

static void every_byte_lands_in_its_row(void **state)
{
    static const uint64_t widths[] = {1, 2, 3, 4, 8, 12, 16, 24, 32, 96};
    static const uint64_t steps[] = {64, 7, 96, 4096};

    (void)state;
    for (size_t i = 0; i < BIG; i++)
        from[i] = (uint8_t)(i * 131 + i / 256);
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
        for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
            uint64_t len = widths[w], total = len * 12;
            struct rows narrow = {.len = len, .stride = 5 * len, .offset = 2 * len};
            struct rows wide = {.len = 3 * len, .stride = 4 * len, .offset = len};
            struct rows whole = {.len = total, .stride = total};

            check(narrow, whole, total, steps[s]);
            check(whole, narrow, total, steps[s]);
            check(narrow, wide, total, steps[s]);
            check(wide, narrow, total, steps[s]);
            check(whole, whole, total, steps[s]);
        }
    }
}

static void a_move_onto_itself_does_nothing(void **state)
{
    struct rows whole = {.len = 100, .stride = 100};
    struct move m = {.src = to, .dst = to, .from = whole, .to = whole, .total_bytes = 100};

    (void)state;
    memset(to, 3, sizeof to);
    memset(want, 3, sizeof want);
    copy_range(&m, 0, 100);
    assert_memory_equal(to, want, sizeof to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_lands_in_its_row),
        cmocka_unit_test(a_move_onto_itself_does_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
