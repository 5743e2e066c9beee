/* test_metrics.c - rules of metrics: percentiles are near the true ones, histograms cumulate by
 * their bounds, rates forget, and what waits for calls is counted out again. */
#include "tests/unit/unit.h"

#include "server/metrics.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct op *op_called(const char *name)
{
    return op_find(name, strlen(name));
}

/* One that took so long in all, and a tenth of it each in the queue and at the collective. */
static void job_took(const struct op *op, uint64_t us)
{
    struct job_record *r = record_new(2);

    r->op = op;
    r->params.dst = 1;
    r->dtype = DTYPE_float32;
    r->in_shape = r->out_shape = (struct shape){.ndim = 1, .dim = {250}};
    r->state = JOB_succeeded;
    r->attempts = 1;
    r->total_us = us;
    r->dispatch_us = r->collective_us = us / 10;
    metrics_job_ended(r);
    record_free(r);
}

static int ascending(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void expect_near(double got, const uint64_t *sorted, uint32_t n, double share)
{
    double want = (double)sorted[(uint32_t)(share * n) - 1];

    if (got < want * 0.9 - 1 || got > want * 1.1 + 1)
        fail_msg("a share of %g is %g, and should be %g", share, got, want);
}

#define N 10000

/* Of times between 1 us and 1,000 s, as many in every decade. */
static void percentiles_are_within_a_tenth_of_the_true_ones(void **state)
{
    static uint64_t took[N];
    const struct op *op = op_called("all_reduce_sum");
    struct metrics_percentiles all, recent;

    (void)state;
    srand(7);
    for (uint32_t i = 0; i < N; i++) {
        took[i] = 1;
        for (uint32_t d = (uint32_t)rand() % 9; d > 0; d--)
            took[i] *= 10;
        took[i] += took[i] * ((uint64_t)rand() % 9000) / 1000;
        job_took(op, took[i]);
    }
    qsort(took, N, sizeof took[0], ascending);
    metrics_percentiles(op, METRICS_TOTAL, false, &all);
    metrics_percentiles(op, METRICS_TOTAL, true, &recent);
    assert_int_equal(all.count, N);
    assert_int_equal(recent.count, N);
    expect_near(all.p50_us, took, N, 0.5);
    expect_near(all.p90_us, took, N, 0.9);
    expect_near(all.p99_us, took, N, 0.99);
    assert_true(all.p50_us == recent.p50_us && all.p99_us == recent.p99_us);
}

static void of_nothing_there_are_no_percentiles(void **state)
{
    struct metrics_percentiles p;

    (void)state;
    metrics_percentiles(op_called("gather"), METRICS_QUEUE, true, &p);
    assert_int_equal(p.count, 0);
    assert_true(p.p50_us == 0 && p.p99_us == 0);
}

/* Also at the bounds themselves: what equals one is below it. */
static void a_histogram_counts_up_to_and_with_each_bound(void **state)
{
    static const uint64_t took[] = {0,      1,      9,       10,        11,        20,
                                    21,     50,     51,      99,        100,       101,
                                    999,    1000,   1001,    5000,      5001,      99999,
                                    100000, 100001, 2000000, 100000000, 100000001, 99999999999};
    const struct op *op = op_called("all_gather");
    struct metrics_histogram h;
    uint64_t sum = 0;

    (void)state;
    for (size_t i = 0; i < sizeof took / sizeof took[0]; i++) {
        job_took(op, took[i]);
        sum += took[i];
    }
    metrics_job_histogram(op, METRICS_TOTAL, &h);
    assert_int_equal(h.n, METRICS_BOUNDS);
    assert_int_equal(h.count, sizeof took / sizeof took[0]);
    assert_int_equal(h.sum, sum);
    for (uint32_t b = 0; b < h.n; b++) {
        uint64_t want = 0;

        for (size_t i = 0; i < sizeof took / sizeof took[0]; i++)
            want += took[i] <= h.bound[b];
        if (h.below[b] != want)
            fail_msg("%llu of %llu at most %llu", (unsigned long long)h.below[b],
                     (unsigned long long)want, (unsigned long long)h.bound[b]);
    }
}

static void bytes_are_those_that_ranks_gave_and_got(void **state)
{
    const struct op *op = op_called("broadcast");
    struct metrics_op m;

    (void)state;
    job_took(op, 100);
    metrics_op(op, &m);
    assert_int_equal(m.ended[JOB_succeeded], 1);
    assert_int_equal(m.in_bytes, 1000);
    assert_int_equal(m.out_bytes, 2000);
    assert_int_equal(m.algo_bytes, 1000);
}

/* This second is not over, and does not count yet. */
static void rates_are_of_whole_seconds(void **state)
{
    const struct op *op = op_called("all_to_all");
    struct metrics_rate r;
    int tries = 0;

    (void)state;
    job_took(op, 1000);
    do {
        usleep(20000);
        metrics_last(op, 2, &r);
    } while (r.jobs == 0 && ++tries < 200);
    assert_int_equal(r.jobs, 1);
    assert_int_equal(r.algo_bytes, 1000);
    assert_int_equal(r.moved_bytes, 4000);
    assert_true(metrics_algbw(&r) > 0.00999 && metrics_algbw(&r) < 0.01001);
    assert_true(metrics_busbw(&r) > 0.00499 && metrics_busbw(&r) < 0.00501);
    while (r.jobs == 1 && ++tries < 400) { /* three seconds later those two are others */
        usleep(20000);
        metrics_last(op, 2, &r);
    }
    assert_int_equal(r.jobs, 0);
    assert_true(metrics_algbw(&r) == 0);
    metrics_last(op, METRICS_SECONDS, &r);
    assert_int_equal(r.jobs, 1);
}

static void calls_that_are_waited_for_are_counted_out_again(void **state)
{
    uint64_t waiting, missing;

    (void)state;
    metrics_call_opened(4);
    metrics_call_came();
    metrics_call_opened(2);
    metrics_call_came();
    metrics_calls(&waiting, &missing);
    assert_int_equal(waiting, 2);
    assert_int_equal(missing, 4);
    metrics_call_came();
    metrics_call_closed(0); /* the second is whole */
    metrics_call_closed(3); /* and the first ended without them */
    metrics_calls(&waiting, &missing);
    assert_int_equal(waiting, 0);
    assert_int_equal(missing, 0);
}

static void what_has_no_class_or_no_route_has_a_place_all_the_same(void **state)
{
    struct metrics_histogram h;

    (void)state;
    metrics_request(METRICS_ROUTES + 7, false, 404, 30);
    metrics_request_histogram(METRICS_ROUTES - 1, false, 4, &h);
    assert_int_equal(h.count, 1);
    assert_int_equal(h.sum, 30);
    metrics_request(3, true, 0, 30);
    metrics_request_histogram(3, true, 5, &h);
    assert_int_equal(h.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_within_a_tenth_of_the_true_ones),
        cmocka_unit_test(of_nothing_there_are_no_percentiles),
        cmocka_unit_test(a_histogram_counts_up_to_and_with_each_bound),
        cmocka_unit_test(bytes_are_those_that_ranks_gave_and_got),
        cmocka_unit_test(rates_are_of_whole_seconds),
        cmocka_unit_test(calls_that_are_waited_for_are_counted_out_again),
        cmocka_unit_test(what_has_no_class_or_no_route_has_a_place_all_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
