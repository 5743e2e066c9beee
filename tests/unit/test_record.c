/* test_record.c - rules of job records: copies are deep, rates are nccl-tests'. */
#include "tests/unit/unit.h"

#include "server/record.h"

#include <stdlib.h>
#include <string.h>

static struct job_record *full_record(void)
{
    struct job_record *r = record_new(4);

    for (uint32_t i = 0; i < 4; i++)
        r->ranks[i] = 3 - i;
    r->op = &ops[OP_all_reduce_sum];
    r->dtype = DTYPE_float32;
    r->in_shape = r->out_shape = (struct shape){.ndim = 2, .dim = {1000, 250}};
    r->error = calloc(1, sizeof *r->error);
    err_set(r->error, ERR_internal, "why");
    r->outputs = calloc(4, sizeof *r->outputs);
    r->outputs[2] = id_new();
    r->times = calloc(4, sizeof *r->times);
    r->times[3].end_ns = 7;
    return r;
}

static void a_new_record_is_empty_with_room_for_its_ranks(void **state)
{
    struct job_record *r = record_new(1024);

    (void)state;
    assert_int_equal(r->n, 1024);
    assert_int_equal(r->ranks[1023], 0);
    assert_null(r->error);
    assert_null(r->outputs);
    record_free(r);
    record_free(NULL);
}

static void a_copy_shares_nothing(void **state)
{
    struct job_record *r = full_record(), *c = record_copy(r);

    (void)state;
    assert_ptr_not_equal(c->ranks, r->ranks);
    assert_ptr_not_equal(c->error, r->error);
    assert_ptr_not_equal(c->outputs, r->outputs);
    assert_ptr_not_equal(c->times, r->times);
    assert_int_equal(c->times[3].end_ns, 7);
    assert_memory_equal(c->ranks, r->ranks, 4 * sizeof *r->ranks);
    assert_string_equal(c->error->detail, "why");
    assert_true(id_equal(&c->outputs[2], &r->outputs[2]));
    record_free(r);
    assert_int_equal(c->ranks[0], 3);
    record_free(c);
}

static void a_copy_of_a_record_without_an_end_has_none(void **state)
{
    struct job_record *r = record_new(1), *c = record_copy(r);

    (void)state;
    assert_null(c->error);
    assert_null(c->outputs);
    record_free(r);
    record_free(c);
}

/* 10^6 bytes in 100 us are 10 GB/s; an all-reduce over 4 ranks counts 2 * 3/4 on the bus. */
static void rates_follow_nccl_tests(void **state)
{
    struct job_record *r = full_record();

    (void)state;
    r->collective_us = 100;
    assert_true(record_algbw(r) == 0); /* not succeeded */
    r->state = JOB_succeeded;
    assert_true(record_algbw(r) > 9.999 && record_algbw(r) < 10.001);
    assert_true(record_busbw(r) > 14.999 && record_busbw(r) < 15.001);
    r->collective_us = 0;
    assert_true(record_algbw(r) == 0 && record_busbw(r) == 0);
    record_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_record_is_empty_with_room_for_its_ranks),
        cmocka_unit_test(a_copy_shares_nothing),
        cmocka_unit_test(a_copy_of_a_record_without_an_end_has_none),
        cmocka_unit_test(rates_follow_nccl_tests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
