/* test_job.c - the life of a job.
 *
 * This file is long because every way that a life can take stands beside the others.
 */
#include "tests/unit/job_house.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

/* ---- the tests ---- */

static void a_job_runs_only_once_recorded_and_succeeds_only_once_recorded(void **state)
{
    struct request *r = request(LONG);
    struct tensor *t;

    (void)state;
    submit_sum(r);
    assert_int_equal(runs, 0);
    commit();
    assert_int_equal(runs, 1);
    assert_int_equal(n_posted, 0); /* that it has begun is recorded already */
    assert_int_equal(attempts_stored, 1);
    check();
    all_done();
    assert_int_equal(r->answers, 0);
    assert_int_equal(listed(), JOB_running); /* its end is not in the database yet */
    check();
    commit();
    assert_answer(r, JOB_succeeded);
    assert_int_equal(finishes, 1);
    assert_int_equal(r->wait.job->attempts, 1);
    assert_true(r->wait.job->collective_us >= 4000); /* of each rank, one a little after another */
    for (uint32_t i = 1; i < WORLD; i++)             /* one output for all */
        assert_true(id_equal(&r->wait.job->outputs[0], &r->wait.job->outputs[i]));
    t = tensor_find(&r->wait.job->outputs[0]);
    assert_non_null(t);
    assert_int_equal(t->expires_us, r->wait.job->finished_us + 3600000000u);
    tensor_unref(t);
    assert_extents(1); /* the inputs are gone */
    request_free(r);
}

static void the_database_counts_a_run_at_the_latest_when_it_begins(void **state)
{
    struct request *first = request(LONG), *second = request(LONG);

    (void)state;
    submit_sum(first);
    submit_sum(second); /* its ranks are idle, but it will not be the first on them */
    commit();
    assert_int_equal(attempts_stored, 0);
    all_done();
    assert_int_equal(runs, 2);
    commit();
    assert_int_equal(attempts_stored, 1);
    assert_int_equal(on_rank[0]->record->attempts, 1);
    all_done();
    commit();
    assert_answer(first, JOB_succeeded);
    assert_answer(second, JOB_succeeded);
    assert_int_equal(second->wait.job->attempts, 1);
    request_free(first);
    request_free(second);
}

static void each_op_gets_the_outputs_of_its_row(void **state)
{
    (void)state;
    for (const struct op *op = ops; op < ops + OP_COUNT; op++) {
        struct request *r = request(LONG);
        struct job_record *record = record_of(op->name, world, WORLD, COUNT);

        submit(record, r, "");
        commit();
        check();
        for (uint32_t i = 0; i < WORLD; i++) {
            struct job *j = on_rank[0];

            assert_int_equal(j->outputs[i] != NULL, op_gets(op, &record->params, i));
            if (j->outputs[i] && op_is_view(op, &record->params, WORLD, &record->in_shape))
                assert_ptr_equal(j->outputs[i]->extent, j->inputs[0]->extent);
        }
        all_done();
        commit();
        assert_answer(r, JOB_succeeded);
        for (uint32_t i = 0; i < WORLD; i++) {
            struct tensor *t = tensor_find(&r->wait.job->outputs[i]);

            assert_int_equal(t != NULL, op_gets(op, &r->wait.job->params, i));
            tensor_unref(t);
        }
        for (uint32_t i = 0; i < WORLD; i++)
            tensor_unref(tensor_remove(&r->wait.job->outputs[i]));
        assert_int_equal(r->wait.job->kept != NULL, op_keeps_inputs(op));
        for (uint32_t i = 0; r->wait.job->kept && i < WORLD; i++) {
            struct tensor *t = tensor_remove(&r->wait.job->kept[i]);

            assert_non_null(t);
            assert_true(id_equal(&t->job, &r->wait.job->id));
            tensor_unref(t);
        }
        request_free(r);
        assert_extents(0);
    }
}

static void
a_wait_of_zero_is_answered_when_recorded_and_a_deadline_with_the_present_state(void **state)
{
    struct request *r = request(0), *later = request(20000);
    struct id id;

    (void)state;
    scheduler_rank(0, 0, false);
    id = submit_sum(r);
    assert_int_equal(r->answers, 0);
    commit();
    assert_answer(r, JOB_queued);
    job_watch(&id, &later->wait);
    core_turn(0);
    assert_int_equal(later->answers, 0);
    core_turn(1000000);
    core_turn(0);
    assert_answer(later, JOB_queued);
    request_free(r);
    request_free(later);
}

static void an_unknown_job_is_answered_at_once(void **state)
{
    struct request *r = request(LONG);
    struct id id = id_new();

    (void)state;
    job_cancel(&id, &r->wait);
    core_turn(0);
    assert_int_equal(r->answers, 1);
    assert_int_equal(r->wait.rc, -1);
    assert_int_equal(r->wait.err.code, ERR_job_unknown);
    request_free(r);
}

static void a_job_that_cannot_be_recorded_is_refused_and_leaves_nothing(void **state)
{
    struct request *r = request(LONG);

    (void)state;
    store_fails = ERR_storage_full;
    submit_sum(r);
    commit();
    assert_int_equal(r->answers, 1);
    assert_int_equal(r->wait.err.code, ERR_storage_full);
    assert_int_equal(runs, 0);
    assert_extents(0);
    check();
    request_free(r);
}

static void an_end_that_cannot_be_recorded_is_tried_again_and_not_shown_before(void **state)
{
    struct request *r = request(LONG);
    struct job_counts counts;

    (void)state;
    submit_sum(r);
    commit();
    all_done();
    store_fails = ERR_storage_full;
    log_init("test", LOG_error, false);
    commit();
    assert_int_equal(r->answers, 0);
    assert_int_equal(listed(), JOB_running);
    assert_false(job_idle());
    store_fails = ERR_none;
    for (int i = 0; i < 30 && n_posted == 0; i++)
        core_turn(100000);
    commit();
    assert_answer(r, JOB_succeeded);
    assert_true(job_idle());
    job_counts(&counts);
    assert_int_equal(counts.succeeded, 1);
    assert_int_equal(counts.running, 0);
    request_free(r);
}

static void a_key_of_an_unfinished_job_joins_its_wait(void **state)
{
    struct request *r = request(LONG), *again = request(LONG);

    (void)state;
    key_job = submit(record_of("all_reduce_sum", world, WORLD, COUNT), r, "k");
    commit();
    key_exists = true;
    submit(record_of("all_reduce_sum", world, WORLD, COUNT), again, "k");
    commit();
    assert_int_equal(again->answers, 0);
    all_done();
    commit();
    assert_answer(r, JOB_succeeded);
    assert_answer(again, JOB_succeeded);
    assert_true(again->wait.replayed);
    assert_false(r->wait.replayed);
    assert_true(id_equal(&again->wait.id, &key_job));
    assert_int_equal(runs, 1);
    assert_extents(1);
    request_free(again);
    again = request(LONG); /* and once it has finished, the store has it */
    submit(record_of("all_reduce_sum", world, WORLD, COUNT), again, "k");
    commit();
    assert_int_equal(again->answers, 1);
    assert_int_equal(again->wait.err.code, ERR_job_unknown);
    assert_true(again->wait.replayed);
    assert_true(id_equal(&again->wait.id, &key_job));
    assert_int_equal(runs, 1);
    request_free(r);
    request_free(again);
}

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

static void a_client_that_hangs_up_is_answered_as_gone_and_its_job_goes_on(void **state)
{
    struct request *waiting = request(LONG), *early = request(LONG);
    struct id id;

    (void)state;
    id = submit_sum(waiting);
    commit();
    job_wait_drop(&waiting->wait);
    core_turn(0);
    assert_int_equal(waiting->answers, 1);
    assert_true(waiting->wait.gone);
    job_wait_drop(&early->wait); /* before its request is on the way */
    core_turn(0);
    assert_int_equal(early->answers, 0);
    job_watch(&id, &early->wait);
    core_turn(0);
    assert_int_equal(early->answers, 1);
    assert_true(early->wait.gone);
    all_done();
    commit();
    assert_int_equal(finishes, 1);
    assert_int_equal(waiting->answers, 1);
    request_free(waiting);
    request_free(early);
}

/* The drop's message is in the inbox when the answer comes: the wait must outlive it. */
static void an_answer_that_meets_a_drop_is_delivered_once_by_the_drop(void **state)
{
    struct request *r = request(LONG), *answered = request(0);

    (void)state;
    submit_sum(r);
    commit();
    all_done();
    job_wait_drop(&r->wait);
    commit();
    core_turn(0);
    assert_int_equal(r->answers, 1);
    assert_true(r->wait.gone);
    submit_sum(answered);
    commit();
    assert_int_equal(answered->answers, 1);
    job_wait_drop(&answered->wait); /* after the answer: nothing */
    core_turn(0);
    assert_int_equal(answered->answers, 1);
    assert_false(answered->wait.gone);
    request_free(r);
    request_free(answered);
}

static void drop_then_answer_in_one_turn(struct core_msg *m)
{
    struct request *r = CORE_OWNER(m, struct request, wait.msg);

    job_wait_drop(&r->wait); /* as the watch thread would, at the worst moment */
    core_timer_set(&r->wait.timer, clock_us());
}

static void a_deadline_that_meets_a_drop_answers_once(void **state)
{
    struct request *r = request(LONG);

    (void)state;
    submit_sum(r);
    commit();
    r->wait.msg.run = drop_then_answer_in_one_turn; /* begun, so it is free for the test */
    core_post(&r->wait.msg);
    core_turn(0); /* posts the drop; the deadline fires in the same turn, before it runs */
    assert_int_equal(r->answers, 0);
    core_turn(0);
    assert_int_equal(r->answers, 1);
    assert_true(r->wait.gone);
    request_free(r);
}

static void a_drain_refuses_new_jobs_and_answers_for_queued_ones(void **state)
{
    struct request *running = request(LONG), *queued = request(LONG), *late = request(LONG),
                   *fresh = request(LONG);
    struct id id;

    (void)state;
    submit_sum(running);
    id = submit_sum(queued);
    commit();
    job_drain();
    assert_answer(queued, JOB_queued);
    assert_int_equal(running->answers, 0);
    submit_sum(fresh);
    assert_int_equal(fresh->answers, 1);
    assert_int_equal(fresh->wait.err.code, ERR_draining);
    job_watch(&id, &late->wait);
    core_turn(0);
    assert_answer(late, JOB_queued);
    assert_false(job_idle());
    all_done();
    assert_false(job_idle());
    commit();
    assert_answer(running, JOB_succeeded);
    assert_true(job_idle());
    assert_int_equal(runs, 1); /* the queued one stays for the next start */
    request_free(running);
    request_free(queued);
    request_free(late);
    request_free(fresh);
}

static void the_end_of_a_drain_answers_every_wait(void **state)
{
    struct request *r = request(LONG);

    (void)state;
    submit_sum(r);
    commit();
    job_drain();
    job_drain_waits();
    assert_answer(r, JOB_running);
    request_free(r);
}

static void a_restored_job_runs_in_its_place_and_a_lost_one_ends_failed(void **state)
{
    struct job_record *old = record_of("all_reduce_sum", world, WORLD, COUNT), *lost;
    struct request *new = request(LONG), *watch = request(LONG);
    struct err e, why;

    (void)state;
    old->attempts = 1;
    old->received_us -= 5000000;
    assert_int_equal(job_restore(old, inputs_of(old), &e), 0);
    lost = record_of("all_reduce_sum", world, WORLD, COUNT);
    err_set(&why, ERR_inputs_lost, "gone");
    assert_int_equal(job_restore_failed(lost, &why, &e), 0);
    submit_sum(new);
    job_watch(&old->id, &watch->wait);
    commit();
    assert_int_equal(finishes, 1);
    assert_ptr_equal(on_rank[0]->record, old);
    check();
    all_done();
    commit();
    assert_answer(watch, JOB_succeeded);
    assert_int_equal(watch->wait.job->attempts, 2);
    assert_in_range(watch->wait.job->total_us, 5000000, 15000000);
    all_done();
    commit();
    assert_answer(new, JOB_succeeded);
    request_free(new);
    request_free(watch);
}

static void an_end_that_the_database_has_already_stands(void **state)
{
    struct request *r = request(LONG);

    (void)state;
    submit_sum(r);
    commit();
    all_done();
    finish_superseded = true;
    commit();
    assert_int_equal(r->answers, 1);
    assert_int_equal(r->wait.err.code, ERR_job_unknown); /* the api reads it from the store */
    assert_extents(0);                                   /* and our outputs are dropped */
    request_free(r);
}

static void too_many_unfinished_jobs_are_refused(void **state)
{
    struct request *r = request(0);
    struct err e;

    (void)state;
    scheduler_rank(0, 0, false);
    for (uint32_t i = 0; i < LIMIT_UNFINISHED_JOBS; i++) {
        struct job_record *record = record_of("all_reduce_sum", (uint32_t[]){0}, 1, 1);

        assert_int_equal(job_restore(record, calloc(1, sizeof(struct tensor *)), &e), 0);
    }
    submit_sum(r);
    assert_int_equal(r->answers, 1);
    assert_int_equal(r->wait.err.code, ERR_too_many_jobs);
    request_free(r);
}

/* 24 ways to end, many times over: whatever comes, every extent comes back and every wait is
 * answered once. */
static void random_lives_leave_nothing_behind(void **state)
{
    enum { LIVES = 2000 };
    static struct request *all[LIVES], *cancels_of[LIVES];
    uint32_t begun = 0, kept = 0, open;
    struct id last = {0};

    (void)state;
    srand(5);
    for (uint32_t turn = 0;; turn++) {
        uint32_t r = (uint32_t)rand() % WORLD, what = (uint32_t)rand() % 12;

        if (what < 3 && begun < LIVES) {
            uint32_t n = 1 + (uint32_t)rand() % WORLD;
            const uint32_t ranks[] = {r, (r + 1) % WORLD, (r + 2) % WORLD, (r + 3) % WORLD};

            all[begun] = request(rand() % 3 ? LONG : 0);
            last = submit(record_of(n > 1 ? "all_gather" : "reduce_sum", ranks, n, 64),
                          all[begun++], "");
        } else if (what == 3 && begun && !cancels_of[begun - 1]) {
            cancels_of[begun - 1] = request(LONG);
            job_cancel(&last, &cancels_of[begun - 1]->wait);
            core_turn(0);
        } else if (what == 4 && on_rank[r]) {
            rank_lost(r);
            rank_back(r);
        } else if (what == 5 && on_rank[r]) {
            rank_failed(r, "a failure");
        } else if (what < 8) {
            commit();
        } else if (on_rank[r]) {
            rank_done(r);
        }
        if (turn % 97 == 0)
            check();
        open = 0;
        for (uint32_t i = 0; i < begun; i++)
            open += !all[i]->answers || (cancels_of[i] && !cancels_of[i]->answers);
        if (begun == LIVES && open == 0)
            break;
        assert_true(turn < 200000);
    }
    commit();
    while (!job_idle()) {
        all_done();
        commit();
    }
    for (uint32_t i = 0; i < LIVES; i++) {
        assert_int_equal(all[i]->answers, 1);
        request_free(all[i]);
        if (cancels_of[i])
            request_free(cancels_of[i]);
    }
    assert_int_equal(holds, 0);
    kept = (uint32_t)tensor_count();
    assert_extents(kept); /* one extent a published output, and nothing else */
    check();
}

/* ---- with threads, for the thread sanitizer ---- */

#define CLIENTS 3
#define REQUESTS 400

/* One client's present request, as http.c's watch sees it: it may drop it at any time, and the
 * client frees it only when the watch has let go. */
static struct connection {
    pthread_t thread;
    pthread_mutex_t lock;
    struct threaded *now;
    uint32_t number;
} connections[CLIENTS];

struct threaded {
    struct job_wait wait;
    sem_t woken;
    bool dropped;
    atomic_uint answers;
};

static void post_woken(struct job_wait *w)
{
    struct threaded *t = CORE_OWNER(w, struct threaded, wait);

    atomic_fetch_add(&t->answers, 1);
    sem_post(&t->woken);
}

static atomic_uint wrong, clients_left;

static void one_request(struct connection *c, unsigned *seed)
{
    struct threaded *t = calloc(1, sizeof *t);
    struct job_submission *s = calloc(1, sizeof *s);

    sem_init(&t->woken, 0, 0);
    t->wait.wake = post_woken;
    t->wait.deadline_us = rand_r(seed) % 4 ? clock_us() + LONG : 0;
    s->record = record_of("all_reduce_sum", world, 1 + (uint32_t)rand_r(seed) % WORLD, 16);
    s->inputs = inputs_of(s->record);
    s->wait = &t->wait;
    pthread_mutex_lock(&c->lock);
    c->now = t;
    pthread_mutex_unlock(&c->lock);
    job_submit(s);
    while (sem_wait(&t->woken) != 0)
        ;
    pthread_mutex_lock(&c->lock);
    c->now = NULL;
    pthread_mutex_unlock(&c->lock);
    if (t->wait.rc != 0 || !t->wait.job || atomic_load(&t->answers) != 1 ||
        (t->wait.gone && !t->dropped))
        atomic_fetch_add(&wrong, 1);
    record_free(t->wait.job);
    sem_destroy(&t->woken);
    free(t);
}

static void *client(void *arg)
{
    struct connection *c = arg;
    unsigned seed = c->number;

    for (int i = 0; i < REQUESTS; i++)
        one_request(c, &seed);
    atomic_fetch_sub(&clients_left, 1);
    return NULL;
}

/* Hangs up on requests as fast as it can. */
static void watch_all(void)
{
    unsigned seed = 1;

    while (atomic_load(&clients_left) > 0) {
        struct connection *c = &connections[rand_r(&seed) % CLIENTS];

        pthread_mutex_lock(&c->lock);
        if (c->now && !c->now->dropped && rand_r(&seed) % 3 == 0) {
            c->now->dropped = true;
            job_wait_drop(&c->now->wait);
        }
        pthread_mutex_unlock(&c->lock);
        if (rand_r(&seed) % 64 == 0)
            usleep(50);
    }
}

static void requests_of_many_threads_are_answered_once_each_whoever_hangs_up(void **state)
{
    struct err e;

    (void)state;
    at_once = true;
    atomic_store(&wrong, 0);
    atomic_store(&clients_left, CLIENTS);
    assert_int_equal(core_start(&e), 0);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        connections[i].number = i;
        pthread_mutex_init(&connections[i].lock, NULL);
        assert_int_equal(pthread_create(&connections[i].thread, NULL, client, &connections[i]), 0);
    }
    watch_all();
    for (uint32_t i = 0; i < CLIENTS; i++)
        pthread_join(connections[i].thread, NULL);
    for (int i = 0; i < 1000 && !job_idle(); i++)
        usleep(1000);
    core_stop();
    at_once = false;
    assert_int_equal(atomic_load(&wrong), 0);
    assert_true(job_idle());
    assert_int_equal(runs, CLIENTS * REQUESTS);
    check();
    assert_extents(tensor_count());
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_job_runs_only_once_recorded_and_succeeds_only_once_recorded),
        T(the_database_counts_a_run_at_the_latest_when_it_begins),
        T(each_op_gets_the_outputs_of_its_row),
        T(a_wait_of_zero_is_answered_when_recorded_and_a_deadline_with_the_present_state),
        T(an_unknown_job_is_answered_at_once),
        T(a_job_that_cannot_be_recorded_is_refused_and_leaves_nothing),
        T(an_end_that_cannot_be_recorded_is_tried_again_and_not_shown_before),
        T(a_key_of_an_unfinished_job_joins_its_wait),
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
        T(a_client_that_hangs_up_is_answered_as_gone_and_its_job_goes_on),
        T(an_answer_that_meets_a_drop_is_delivered_once_by_the_drop),
        T(a_deadline_that_meets_a_drop_answers_once),
        T(a_drain_refuses_new_jobs_and_answers_for_queued_ones),
        T(the_end_of_a_drain_answers_every_wait),
        T(a_restored_job_runs_in_its_place_and_a_lost_one_ends_failed),
        T(an_end_that_the_database_has_already_stands),
        T(too_many_unfinished_jobs_are_refused),
        T(random_lives_leave_nothing_behind),
        T(requests_of_many_threads_are_answered_once_each_whoever_hangs_up),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
