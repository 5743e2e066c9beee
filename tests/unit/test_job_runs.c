/* test_job_runs.c - runs of a job: ranks that are lost, fail or are silent, batches, cancels, room.
 */
#include "tests/unit/job_house.h"

static void a_lost_rank_means_another_run_once_all_have_answered(void **state)
{
    struct request *r = request(LONG);
    struct job_counts counts;

    (void)state;
    submit_sum(r);
    commit();
    rank_lost(2);
    assert_int_equal(cancels, 1);
    assert_extents(5); /* rank 0, 1, 3 may still write */
    rank_done(0);
    rank_failed(1, "cancelled");
    assert_int_equal(listed(), JOB_running);
    rank_done(3);
    assert_int_equal(listed(), JOB_queued);
    assert_extents(4);
    assert_int_equal(runs, 1);
    check();
    rank_back(2);
    assert_int_equal(runs, 2);
    commit();
    assert_int_equal(attempts_stored, 2);
    all_done();
    commit();
    assert_answer(r, JOB_succeeded);
    assert_int_equal(r->wait.job->attempts, 2);
    job_counts(&counts);
    assert_int_equal(counts.retried, 1);
    request_free(r);
}

/* A worker's times are the service's when they lie between RUN and DONE; of those of another clock
 * the duration is kept, and the end is when DONE came. */
static void times_of_another_clock_are_put_on_ours(void **state)
{
    struct request *r = request(LONG);
    const struct rank_time *t;
    uint64_t seq, sent, now;

    (void)state;
    submit(record_of("all_reduce_sum", (uint32_t[]){3, 1}, 2, COUNT), r, "");
    commit();
    seq = on_rank[3]->seq;
    sent = clock_ns();
    usleep(3000);
    release(3);
    job_rank_done(seq, 1, 3, sent + 1000, sent + 2001000);
    release(1);
    job_rank_done(seq, 1, 1, 5, 1005); /* its machine was started a moment ago */
    scheduler_next();
    now = clock_ns();
    commit();
    assert_answer(r, JOB_succeeded);
    t = r->wait.job->times;
    assert_non_null(t);
    assert_int_equal(t[0].end_ns - t[0].start_ns, 2000000);
    assert_int_equal(t[1].end_ns - t[1].start_ns, 1000);
    assert_true(t[1].start_ns > t[0].start_ns && t[1].end_ns - t[0].start_ns <= now - sent);
    assert_true(t[0].start_ns >= r->wait.job->sent_us * 1000);
    request_free(r);
}

/* Over a network that may take as long as a lease. */
static void a_rank_given_up_stops_the_others_before_its_end_is_known(void **state)
{
    struct request *r = request(LONG);

    (void)state;
    submit_sum(r);
    commit();
    job_rank_away(on_rank[2]);
    job_rank_away(on_rank[2]);
    assert_true(cancels > 0);
    rank_failed(0, "cancelled");
    rank_failed(1, "cancelled");
    rank_done(3);
    assert_int_equal(listed(), JOB_running);
    assert_extents(5); /* rank 2 may still write */
    rank_lost(2);
    assert_int_equal(listed(), JOB_queued);
    assert_extents(4);
    rank_back(2);
    all_done();
    commit();
    assert_answer(r, JOB_succeeded);
    assert_int_equal(r->wait.job->attempts, 2);
    request_free(r);
}

static void a_job_that_kills_its_workers_fails_after_its_last_attempt(void **state)
{
    struct request *r = request(LONG);

    (void)state;
    submit(record_of("all_reduce_sum", (uint32_t[]){3, 1}, 2, COUNT), r, "");
    commit();
    for (uint32_t i = 1; i <= LIMIT_ATTEMPTS; i++) {
        assert_int_equal(runs, i);
        rank_lost(1);
        rank_done(3);
        rank_back(1);
    }
    assert_int_equal(runs, LIMIT_ATTEMPTS);
    commit();
    assert_answer(r, JOB_failed);
    assert_int_equal(r->wait.job->error->code, ERR_worker_crashed);
    assert_int_equal(r->wait.job->error->n_ranks, 1);
    assert_int_equal(r->wait.job->error->ranks[0], 1); /* the group rank of world rank 1 */
    assert_non_null(strstr(r->wait.job->error->detail, "signal 9"));
    assert_extents(0);
    request_free(r);
}

/* n small jobs behind one that runs; that one ends, and the others are run together. */
static void run_together(struct request **r, uint32_t n)
{
    for (uint32_t i = 0; i <= n; i++) {
        r[i] = request(LONG);
        submit(record_of("all_reduce_sum", world, WORLD, i < n ? 4 : LARGE), r[i], "");
        commit();
        if (i == 0)
            assert_int_equal(batch, 1);
    }
    assert_int_equal(runs, 1);
    all_done();
    commit();
    assert_int_equal(runs, n);
    assert_int_equal(batch, n - 1); /* the large one is left */
}

static void small_jobs_of_the_same_ranks_run_together(void **state)
{
    struct request *r[6];

    (void)state;
    run_together(r, 5);
    for (int i = 0; i < 4; i++)
        all_done();
    assert_int_equal(runs, 6);
    assert_int_equal(batch, 1);
    all_done();
    commit();
    for (int i = 0; i < 6; i++) {
        assert_answer(r[i], JOB_succeeded);
        request_free(r[i]);
    }
    assert_extents((uint32_t)tensor_count()); /* the results */
}

static void what_failed_together_runs_again_alone_and_does_not_count(void **state)
{
    struct request *r[4];

    (void)state;
    run_together(r, 3);
    for (uint32_t rank = 0; rank < WORLD; rank++) {
        rank_failed(rank, "a fault of somebody's"); /* of the first of the two */
        rank_failed(rank, "a fault of somebody's");
    }
    assert_int_equal(runs, 4);
    assert_int_equal(batch, 1);
    for (uint32_t i = 0; i < LIMIT_ATTEMPTS; i++) { /* its own crashes count */
        rank_lost(0);
        for (uint32_t rank = 1; rank < WORLD; rank++)
            rank_done(rank);
        rank_back(0);
    }
    commit();
    assert_answer(r[1], JOB_failed);
    assert_int_equal(r[1]->wait.job->error->code, ERR_worker_crashed);
    assert_int_equal(r[1]->wait.job->attempts, LIMIT_ATTEMPTS + 1);
    all_done();
    assert_int_equal(batch, 1);
    all_done();
    commit();
    assert_answer(r[2], JOB_succeeded);
    assert_int_equal(r[2]->wait.job->attempts, 2);
    assert_answer(r[3], JOB_succeeded);
    assert_extents((uint32_t)tensor_count()); /* the results */
    for (int i = 0; i < 4; i++)
        request_free(r[i]);
}

static void a_rank_that_fails_fails_the_job_once_all_have_answered(void **state)
{
    struct request *r = request(LONG);

    (void)state;
    submit_sum(r);
    commit();
    rank_done(0);
    rank_failed(1, "no such thing");
    assert_int_equal(cancels, 1);
    rank_failed(2, "cancelled");
    assert_int_equal(listed(), JOB_running);
    rank_failed(3, "cancelled");
    commit();
    assert_answer(r, JOB_failed);
    assert_int_equal(r->wait.job->error->code, ERR_worker_failed);
    assert_string_equal(r->wait.job->error->detail, "rank 1: no such thing");
    assert_extents(0);
    request_free(r);
}

static void a_run_that_takes_too_long_names_the_silent_ranks(void **state)
{
    struct request *r = request(LONG);
    struct job_record *record = record_of("all_reduce_sum", world, WORLD, COUNT);

    (void)state;
    record->timeout_us = 10000;
    submit(record, r, "");
    commit();
    rank_done(0);
    rank_done(2);
    core_turn(1000000);
    core_turn(0);
    assert_int_equal(cancels, 1);
    rank_failed(1, "cancelled");
    rank_lost(3); /* given up: no run again, its time is over */
    commit();
    assert_answer(r, JOB_failed);
    assert_int_equal(r->wait.job->error->code, ERR_run_timeout);
    assert_int_equal(r->wait.job->error->n_ranks, 2);
    assert_int_equal(r->wait.job->error->ranks[0], 1);
    assert_int_equal(r->wait.job->error->ranks[1], 3);
    assert_non_null(strstr(r->wait.job->error->detail, ": 1, 3"));
    assert_extents(0);
    request_free(r);
}

static void a_queued_job_is_cancelled_at_once_and_a_running_one_when_its_ranks_let_go(void **state)
{
    struct request *first = request(LONG), *second = request(LONG), *a = request(LONG),
                   *b = request(LONG);
    struct id running, queued;

    (void)state;
    running = submit_sum(first);
    queued = submit_sum(second);
    commit();
    job_cancel(&queued, &a->wait);
    core_turn(0);
    assert_int_equal(a->answers, 0); /* not before it is recorded */
    check();
    commit();
    assert_answer(second, JOB_cancelled);
    assert_answer(a, JOB_cancelled);
    assert_int_equal(a->wait.job->error->code, ERR_cancelled);
    job_cancel(&running, &b->wait);
    core_turn(0);
    assert_int_equal(cancels, 1);
    for (uint32_t r = 0; r < WORLD; r++)
        rank_failed(r, "cancelled");
    commit();
    assert_answer(first, JOB_cancelled);
    assert_answer(b, JOB_cancelled);
    assert_extents(0);
    request_free(first);
    request_free(second);
    request_free(a);
    request_free(b);
}

static void a_job_that_finished_before_its_cancel_stays_succeeded(void **state)
{
    struct request *r = request(LONG), *late = request(LONG), *later = request(LONG);
    struct id id;

    (void)state;
    id = submit_sum(r);
    commit();
    rank_done(0);
    job_cancel(&id, &late->wait); /* the CANCEL meets three DONEs on their way */
    core_turn(0);
    all_done();
    job_cancel(&id, &later->wait); /* its end is being recorded */
    core_turn(0);
    commit();
    assert_answer(r, JOB_succeeded);
    assert_answer(late, JOB_succeeded);
    assert_answer(later, JOB_succeeded);
    assert_int_equal(finishes, 1);
    request_free(r);
    request_free(late);
    request_free(later);
}

static void late_and_double_answers_are_dropped_and_counted(void **state)
{
    struct request *r = request(LONG);
    struct job_counts counts;
    struct job *j;

    (void)state;
    submit_sum(r);
    commit();
    j = on_rank[0];
    rank_done(0);
    job_rank_done(j->seq, 1, 0, 0, 1);     /* twice */
    job_rank_done(j->seq, 2, 1, 0, 1);     /* an attempt that is not */
    job_rank_done(j->seq + 7, 1, 1, 0, 1); /* a job that is not */
    job_rank_lost(j->seq, 1, 99, "?");     /* a rank that is not */
    job_counts(&counts);
    assert_int_equal(counts.late, 4);
    assert_int_equal(j->pending, 3);
    check();
    all_done();
    commit();
    assert_answer(r, JOB_succeeded);
    request_free(r);
}

#define MIB_ELEMENTS (1u << 18) /* of float32 */

static void outputs_that_never_fit_fail_and_those_that_may_wait_for_room(void **state)
{
    struct request *never = request(LONG), *first = request(LONG), *second = request(LONG);

    (void)state;
    /* 6 MiB in, 6 MiB out, 8 MiB in all, and nothing runs that could give room back. */
    submit(record_of("all_gather", world, WORLD, MIB_ELEMENTS * 3 / 2), never, "");
    commit();
    commit();
    assert_answer(never, JOB_failed);
    assert_int_equal(never->wait.job->error->code, ERR_arena_full);
    assert_true(never->wait.job->error->asked_bytes > 0);
    assert_extents(0);
    /* 2 in and 1 out; then 4 in, and 2 out have room only when the first one's inputs go. */
    submit(record_of("reduce_sum", (uint32_t[]){0, 1}, 2, MIB_ELEMENTS), first, "");
    commit();
    submit(record_of("reduce_sum", (uint32_t[]){2, 3}, 2, 2 * MIB_ELEMENTS), second, "");
    commit();
    assert_int_equal(runs, 1);
    assert_int_equal(second->answers, 0);
    check();
    all_done();
    commit();
    assert_answer(first, JOB_succeeded);
    assert_int_equal(runs, 2);
    all_done();
    commit();
    assert_answer(second, JOB_succeeded);
    request_free(never);
    request_free(first);
    request_free(second);
}

static void outputs_larger_than_the_arena_do_not_wait_for_room(void **state)
{
    struct request *running = request(LONG), *never = request(LONG);

    (void)state;
    submit(record_of("reduce_sum", (uint32_t[]){0, 1}, 2, COUNT), running, "");
    commit();
    one_input = true; /* every rank gives the same 5 MiB */
    submit(record_of("all_gather", (uint32_t[]){2, 3}, 2, 5 * MIB_ELEMENTS), never, "");
    one_input = false;
    commit();
    commit();
    assert_answer(never, JOB_failed);
    assert_int_equal(never->wait.job->error->code, ERR_arena_full);
    all_done();
    commit();
    request_free(running);
    request_free(never);
}
int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_lost_rank_means_another_run_once_all_have_answered),
        T(times_of_another_clock_are_put_on_ours),
        T(a_rank_given_up_stops_the_others_before_its_end_is_known),
        T(a_job_that_kills_its_workers_fails_after_its_last_attempt),
        T(small_jobs_of_the_same_ranks_run_together),
        T(what_failed_together_runs_again_alone_and_does_not_count),
        T(a_rank_that_fails_fails_the_job_once_all_have_answered),
        T(a_run_that_takes_too_long_names_the_silent_ranks),
        T(a_queued_job_is_cancelled_at_once_and_a_running_one_when_its_ranks_let_go),
        T(a_job_that_finished_before_its_cancel_stays_succeeded),
        T(late_and_double_answers_are_dropped_and_counted),
        T(outputs_that_never_fit_fail_and_those_that_may_wait_for_room),
        T(outputs_larger_than_the_arena_do_not_wait_for_room),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
