/* test_failpoint.c - which passages of which process a failpoint is for. */
#include "schema/failpoint.h"
#include "schema/clock.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

static int read_points(void **state)
{
    (void)state;
    setenv("TUTTI_FAILPOINTS",
           "plain=err:1,second=err:2@2,of/all_gather=err:3,4:rank=err:4,of/gather=spin:30,junk", 1);
    failpoint_init();
    failpoint_rank(4);
    return 0;
}

static void a_point_is_passed_each_time_or_once(void **state)
{
    (void)state;
    assert_int_equal(failpoint("plain"), 1);
    assert_int_equal(failpoint("plain"), 1);
    assert_int_equal(failpoint("plai"), 0);
    assert_int_equal(failpoint("plainer"), 0);
    assert_int_equal(failpoint("second"), 0);
    assert_int_equal(failpoint("second"), 2);
    assert_int_equal(failpoint("second"), 0);
}

static void a_point_may_be_for_one_operation(void **state)
{
    (void)state;
    assert_int_equal(failpoint("of"), 0);
    assert_int_equal(failpoint_of("of", NULL), 0);
    assert_int_equal(failpoint_of("of", "all_gathe"), 0);
    assert_int_equal(failpoint_of("of", "all_gather"), 3);
    assert_int_equal(failpoint_of("plain", "all_gather"), 1);
}

static void a_point_may_be_for_one_rank(void **state)
{
    (void)state;
    assert_int_equal(failpoint("rank"), 4);
    failpoint_rank(5);
    assert_int_equal(failpoint("rank"), 0);
}

static void spinning_takes_its_time(void **state)
{
    uint64_t begun = clock_us();

    (void)state;
    assert_int_equal(failpoint_of("of", "gather"), 0);
    assert_true(clock_us() - begun >= 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_point_is_passed_each_time_or_once),
        cmocka_unit_test(a_point_may_be_for_one_operation),
        cmocka_unit_test(a_point_may_be_for_one_rank),
        cmocka_unit_test(spinning_takes_its_time),
    };

    return cmocka_run_group_tests(tests, read_points, NULL);
}
