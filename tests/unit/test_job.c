/* test_job.c - the life of a job: recorded, run, ended, found again after a restart. */
#include "tests/unit/job_house.h"

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
    struct request *r = request(0), *later = request(500000);
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
        T(a_restored_job_runs_in_its_place_and_a_lost_one_ends_failed),
        T(an_end_that_the_database_has_already_stands),
        T(too_many_unfinished_jobs_are_refused),
        T(random_lives_leave_nothing_behind),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
