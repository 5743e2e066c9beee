/* test_job_promise.c - jobs that take outputs of jobs that have not ended. */
#include "tests/unit/job_house.h"

#include "server/job_promise.h"

/* ---- asking ---- */

static uint32_t answers;

static void answered(struct promise_ask *a)
{
    (void)a;
    answers++;
}

/* The output of a rank of a job, as the core answers for it. */
static int ask(const struct id *job, uint32_t rank, struct promise_question *q)
{
    static struct promise_ask a;
    struct shape none = {0};

    *q = (struct promise_question){.t = promise_new(job, rank, DTYPE_uint8, &none)};
    a = (struct promise_ask){.done = answered, .q = q, .n = 1};
    answers = 0;
    promise_ask(&a);
    core_turn(0);
    assert_int_equal(answers, 1);
    return q->rc;
}

static struct tensor *promised(const struct id *job, uint32_t rank)
{
    struct promise_question q;

    assert_int_equal(ask(job, rank, &q), 0);
    return q.t;
}

/* ---- submitting ---- */

static uint32_t elements = COUNT;

static struct job_submission *submission(struct tensor *input, struct request *r)
{
    struct job_submission *s = calloc(1, sizeof *s);

    s->record = record_of("all_reduce_sum", world, WORLD, elements);
    s->inputs = inputs_of(s->record);
    tensor_unref(s->inputs[1]);
    s->inputs[1] = input;
    s->wait = &r->wait;
    return s;
}

/* A sum that takes the output of `job`, once that is there, as the input of rank 1. */
static struct id submit_after(const struct id *job, struct request *r)
{
    struct job_submission *s = submission(promised(job, 2), r);
    struct id id = s->record->id;

    job_submit(s);
    core_turn(0);
    return id;
}

static void expect_failed(struct request *r, enum err_code code)
{
    assert_answer(r, JOB_failed);
    assert_int_equal(r->wait.job->error->code, code);
}

/* ---- the tests ---- */

static void an_output_takes_its_promises_place_when_the_job_has_ended(void **state)
{
    struct request *first = request(LONG), *second = request(LONG);
    struct id a = submit_sum(first), b;
    struct job *j;

    (void)state;
    commit();
    b = submit_after(&a, second);
    commit();
    assert_int_equal(runs, 1);
    check();
    assert_int_equal(listed(), JOB_waiting);
    all_done(); /* the second begins before the end of the first is recorded */
    assert_int_equal(runs, 2);
    j = on_rank[0];
    assert_true(id_equal(&j->record->id, &b));
    assert_null(j->inputs[1]->promise);
    assert_true(j->inputs[1]->extent != NULL && j->inputs[1]->size_bytes == COUNT * 4);
    check();
    commit();
    assert_answer(first, JOB_succeeded);
    assert_int_equal(inputs_stored, 1);
    assert_int_equal(inputs_promised, 0);
    assert_int_equal(attempts_stored, 1); /* with the inputs, not by itself */
    all_done();
    commit();
    assert_answer(second, JOB_succeeded);
    assert_extents(2);
    request_free(first);
    request_free(second);
}

static void one_that_ends_while_the_other_is_recorded_is_taken_then(void **state)
{
    struct request *first = request(LONG), *second = request(LONG);
    struct id a = submit_sum(first);

    (void)state;
    commit();
    submit_after(&a, second);
    all_done();
    check();
    commit(); /* both the insert of the second and the end of the first */
    assert_int_equal(runs, 2);
    commit();
    assert_int_equal(inputs_stored, 1);
    all_done();
    commit();
    assert_answer(second, JOB_succeeded);
    request_free(first);
    request_free(second);
}

static void one_whose_end_is_on_its_way_to_the_database_is_taken_at_once(void **state)
{
    struct request *first = request(LONG), *second = request(LONG);
    struct id a = submit_sum(first);

    (void)state;
    commit();
    all_done();
    submit_after(&a, second);
    commit();
    assert_int_equal(runs, 2);
    all_done();
    commit();
    assert_answer(second, JOB_succeeded);
    assert_int_equal(inputs_stored, 0); /* it was recorded with the tensor */
    request_free(first);
    request_free(second);
}

static void what_has_no_such_output_promises_none(void **state)
{
    struct request *r = request(LONG);
    struct job_record *record = record_of("reduce_sum", world, WORLD, COUNT);
    struct id id = submit(record, r, ""), other = id_new();
    struct promise_question q;

    (void)state;
    commit();
    assert_int_equal(ask(&id, 1, &q), -1); /* only the root gets the sum */
    assert_int_equal(q.err.code, ERR_input_unknown);
    tensor_unref(q.t);
    assert_int_equal(ask(&id, WORLD, &q), -1);
    assert_int_equal(q.err.code, ERR_input_unknown);
    tensor_unref(q.t);
    assert_int_equal(ask(&other, 0, &q), 1); /* the store may know it */
    tensor_unref(q.t);
    assert_int_equal(ask(&id, 0, &q), 0);
    tensor_unref(q.t); /* nobody wants it after all */
    all_done();
    commit();
    assert_answer(r, JOB_succeeded);
    assert_extents(1);
    request_free(r);
}

static void a_chain_fails_with_its_first_and_says_why(void **state)
{
    enum { LENGTH = 3000 };
    static struct request *r[LENGTH];
    struct id at;

    (void)state;
    elements = 4; /* so that they all fit */
    at = submit(record_of("all_reduce_sum", world, WORLD, elements), r[0] = request(LONG), "");
    commit();
    for (int i = 1; i < LENGTH; i++) {
        at = submit_after(&at, r[i] = request(LONG));
        commit();
    }
    for (uint32_t k = 0; k < WORLD; k++)
        rank_failed(k, "said the test");
    commit();
    expect_failed(r[0], ERR_worker_failed);
    for (int i = 1; i < LENGTH; i++) {
        expect_failed(r[i], ERR_input_failed);
        assert_non_null(strstr(r[i]->wait.job->error->detail, "has failed: rank 0: said the test"));
    }
    assert_int_equal(runs, 1);
    check();
    assert_extents(0);
    for (int i = 0; i < LENGTH; i++)
        request_free(r[i]);
    elements = COUNT;
}

static void one_that_waits_can_be_cancelled(void **state)
{
    struct request *first = request(LONG), *second = request(LONG), *third = request(LONG),
                   *canceller = request(LONG);
    struct id a = submit_sum(first), b;

    (void)state;
    commit();
    b = submit_after(&a, second);
    commit();
    submit_after(&b, third);
    commit();
    job_cancel(&b, &canceller->wait);
    core_turn(0);
    commit();
    assert_answer(second, JOB_cancelled);
    expect_failed(third, ERR_input_failed);
    all_done();
    commit();
    assert_answer(first, JOB_succeeded);
    assert_int_equal(runs, 1);
    assert_extents(1);
    request_free(first);
    request_free(second);
    request_free(third);
    request_free(canceller);
}

static struct job_submission *line_after(struct job_submission *of, struct request *r)
{
    struct tensor *t = promise_new(&of->record->id, 0, DTYPE_uint8, &(struct shape){0});
    struct err e;

    assert_int_equal(promise_of(t, of, &e), 0);
    assert_int_equal(t->dtype, DTYPE_float32);
    return of->next = submission(t, r);
}

static void lines_of_a_batch_take_the_outputs_of_those_before(void **state)
{
    struct request *r[3] = {request(LONG), request(LONG), request(LONG)};
    struct job_submission *first = calloc(1, sizeof *first);

    (void)state;
    first->record = record_of("all_reduce_sum", world, WORLD, COUNT);
    first->inputs = inputs_of(first->record);
    first->wait = &r[0]->wait;
    line_after(line_after(first, r[1]), r[2]);
    job_submit_batch(first);
    core_turn(0);
    assert_int_equal(n_posted, 3);
    for (uint32_t i = 0; i < 3; i++) {
        commit();
        check();
        assert_int_equal(runs, i + 1);
        all_done();
    }
    commit();
    for (uint32_t i = 0; i < 3; i++) {
        assert_answer(r[i], JOB_succeeded);
        request_free(r[i]);
    }
    assert_extents(3);
}

static void a_batch_that_cannot_be_recorded_leaves_nothing(void **state)
{
    struct request *r[2] = {request(LONG), request(LONG)};
    struct job_submission *first = calloc(1, sizeof *first);

    (void)state;
    first->record = record_of("all_reduce_sum", world, WORLD, COUNT);
    first->inputs = inputs_of(first->record);
    first->wait = &r[0]->wait;
    line_after(first, r[1]);
    store_fails = ERR_storage_full;
    job_submit_batch(first);
    core_turn(0);
    commit();
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(r[i]->wait.rc, -1);
        assert_int_equal(r[i]->wait.err.code, ERR_storage_full);
        request_free(r[i]);
    }
    check();
    assert_extents(0);
}

/* ---- after a restart ---- */

/* An unfinished job of the database that takes the output of rank 2 of `job`. */
static void restore_after(const struct id *job)
{
    struct job_record *r = record_of("all_reduce_sum", world, WORLD, COUNT);
    struct tensor **inputs = inputs_of(r);
    struct err e;

    tensor_unref(inputs[1]);
    inputs[1] = promise_new(job, 2, r->dtype, &r->in_shape);
    assert_int_equal(job_restore(r, inputs, &e), 0);
}

static void a_restart_finds_a_promise_of_an_unfinished_job(void **state)
{
    struct job_record *r = record_of("all_reduce_sum", world, WORLD, COUNT);
    struct id a = r->id;
    struct err e;

    (void)state;
    restore_after(&a); /* also when the clock went back between the two */
    assert_int_equal(job_restore(r, inputs_of(r), &e), 0);
    job_restore_waiting();
    scheduler_next();
    check();
    assert_int_equal(runs, 1);
    all_done();
    assert_int_equal(runs, 2);
    assert_null(on_rank[0]->inputs[1]->promise);
    all_done();
    commit();
    assert_extents(2);
}

static void a_restart_finds_the_output_of_one_that_has_ended(void **state)
{
    struct job_record *r = record_of("all_reduce_sum", world, WORLD, COUNT);
    struct tensor **inputs = inputs_of(r);
    struct tensor *output = inputs[2];

    (void)state;
    r->state = JOB_succeeded;
    r->outputs = calloc(WORLD, sizeof *r->outputs);
    for (uint32_t i = 0; i < WORLD; i++)
        r->outputs[i] = output->id;
    assert_int_equal(tensor_publish(output), 0);
    stored_job = r;
    restore_after(&r->id);
    job_restore_waiting();
    scheduler_next();
    assert_int_equal(runs, 1);
    assert_ptr_equal(on_rank[0]->inputs[1], output);
    all_done();
    commit();
    stored_job = NULL;
    record_free(r);
    for (uint32_t i = 0; i < WORLD; i++)
        tensor_unref(inputs[i]);
    free(inputs);
    assert_extents(2); /* the output that was taken, and the new one */
}

static void a_restart_fails_what_took_from_a_job_that_did_not_survive(void **state)
{
    struct id nobody = id_new();

    (void)state;
    restore_after(&nobody);
    job_restore_waiting();
    assert_int_equal(listed(), JOB_waiting); /* until its end is recorded */
    commit();
    assert_int_equal(finishes, 1);
    assert_int_equal(runs, 0);
    check();
    assert_extents(0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(an_output_takes_its_promises_place_when_the_job_has_ended),
        T(one_that_ends_while_the_other_is_recorded_is_taken_then),
        T(one_whose_end_is_on_its_way_to_the_database_is_taken_at_once),
        T(what_has_no_such_output_promises_none),
        T(a_chain_fails_with_its_first_and_says_why),
        T(one_that_waits_can_be_cancelled),
        T(lines_of_a_batch_take_the_outputs_of_those_before),
        T(a_batch_that_cannot_be_recorded_leaves_nothing),
        T(a_restart_finds_a_promise_of_an_unfinished_job),
        T(a_restart_finds_the_output_of_one_that_has_ended),
        T(a_restart_fails_what_took_from_a_job_that_did_not_survive),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
