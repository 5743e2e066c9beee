/* test_store.c - rules of recorded jobs: what is acknowledged is there, whole, and ends once. */
#include "tests/unit/stage.h"

#include "server/store_internal.h"

static uint64_t count_rows(const char *sql)
{
    struct err e;
    struct db *db = store_reader(&e);
    sqlite3_stmt *s = NULL;
    uint64_t n;

    assert_non_null(db);
    assert_int_equal(sqlite3_prepare_v2(db->sql, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    n = (uint64_t)sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return n;
}

/* ---- jobs ---- */

static struct job_record *elaborate_record(void)
{
    struct job_record *r = record_new(3);

    r->id = id_new();
    r->op = &ops[OP_all_to_all];
    r->params = (struct op_params){.split_axis = -2, .concat_axis = 1, .src = 0, .dst = 1};
    strcpy(r->group, "trio");
    r->ranks[0] = 2;
    r->ranks[1] = 0;
    r->ranks[2] = 1023;
    r->dtype = DTYPE_bfloat16;
    r->in_shape = (struct shape){.ndim = 2, .dim = {3, 1ull << 33}};
    r->out_shape = (struct shape){.ndim = 0};
    r->priority = -100;
    r->stream = 63;
    r->timeout_us = 86400000000;
    strcpy(r->label, "a label \xc3\xa9");
    r->attempts = 2;
    r->received_us = 1700000000123456;
    r->validated_us = 1;
    return r;
}

static void expect_same(const struct job_record *a, const struct job_record *b)
{
    assert_true(id_equal(&a->id, &b->id));
    assert_ptr_equal(a->op, b->op);
    assert_memory_equal(&a->params, &b->params, sizeof a->params);
    assert_string_equal(a->group, b->group);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ranks, b->ranks, a->n * sizeof *a->ranks);
    assert_int_equal(a->dtype, b->dtype);
    assert_true(shape_equal(&a->in_shape, &b->in_shape));
    assert_true(shape_equal(&a->out_shape, &b->out_shape));
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->stream, b->stream);
    assert_int_equal(a->timeout_us, b->timeout_us);
    assert_string_equal(a->label, b->label);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->attempts, b->attempts);
    assert_int_equal(a->received_us, b->received_us);
    assert_int_equal(a->validated_us, b->validated_us);
    assert_int_equal(a->queued_us, b->queued_us);
    assert_int_equal(a->dispatch_us, b->dispatch_us);
    assert_int_equal(a->collective_us, b->collective_us);
    assert_int_equal(a->total_us, b->total_us);
    assert_int_equal(a->finished_us, b->finished_us);
    assert_int_equal(a->sent_us, b->sent_us);
    assert_int_equal(a->times != NULL, b->times != NULL);
    if (a->times)
        assert_memory_equal(a->times, b->times, a->n * sizeof *a->times);
    assert_int_equal(a->error != NULL, b->error != NULL);
    assert_int_equal(a->outputs != NULL, b->outputs != NULL);
    if (a->outputs)
        assert_memory_equal(a->outputs, b->outputs, a->n * sizeof *a->outputs);
}

static void expect_stored(const struct job_record *r)
{
    struct job_record *back = must_read(&r->id);

    expect_same(r, back);
    record_free(back);
}

static void a_recorded_job_is_read_back_whole_also_after_a_restart(void **state)
{
    struct job_record *r = elaborate_record();

    (void)state;
    must_insert(r);
    r->state = JOB_queued; /* waiting and running are memory's business */
    expect_stored(r);
    stage_restart();
    expect_stored(r);
    record_free(r);
}

static void a_finished_job_is_read_back_with_its_end(void **state)
{
    struct job_record *r = elaborate_record();
    struct tensor *a = stage_tensor(4), *outputs[3] = {a, NULL, a};
    struct store_job_finish m = {.record = r, .outputs = outputs};

    (void)state;
    must_insert(r);
    r->state = JOB_succeeded;
    r->attempts = 3;
    r->queued_us = 2;
    r->dispatch_us = 3;
    r->collective_us = 4;
    r->total_us = 5;
    r->finished_us = 6;
    r->sent_us = 7;
    r->times = calloc(3, sizeof *r->times);
    r->times[0] = (struct rank_time){8, 9};
    r->times[2] = (struct rank_time){UINT64_MAX - 1, UINT64_MAX};
    r->outputs = calloc(3, sizeof *r->outputs);
    r->outputs[0] = r->outputs[2] = a->id;
    store_job_finish_init(&m);
    must(&m.msg);
    expect_stored(r);
    tensor_unref(a);
    record_free(r);
}

static void a_failed_job_keeps_its_reason(void **state)
{
    struct job_record *r = stage_record(), *back;
    struct store_job_finish m = {.record = r};

    (void)state;
    must_insert(r);
    r->state = JOB_failed;
    r->error = calloc(1, sizeof *r->error);
    err_set(r->error, ERR_arena_full, "no \"room\" \xc3\xa9");
    err_pointer(r->error, "/inputs/%d", 1);
    err_rank(r->error, 7);
    err_rank(r->error, 3);
    r->error->asked_bytes = 1ull << 40;
    r->error->free_bytes = 9;
    store_job_finish_init(&m);
    must(&m.msg);
    back = must_read(&r->id);
    assert_int_equal(back->state, JOB_failed);
    assert_int_equal(back->error->code, ERR_arena_full);
    assert_string_equal(back->error->detail, r->error->detail);
    assert_string_equal(back->error->pointer, "/inputs/1");
    assert_int_equal(back->error->n_ranks, 2);
    assert_int_equal(back->error->ranks[0], 7);
    assert_int_equal(back->error->asked_bytes, 1ull << 40);
    assert_int_equal(back->error->free_bytes, 9);
    record_free(back);
    record_free(r);
}

static void the_first_end_that_is_recorded_is_the_end(void **state)
{
    struct job_record *r = stage_record(), *back;
    struct tensor *t = stage_tensor(4), *outputs[2] = {t, t};
    struct store_job_finish late = {.record = r, .outputs = outputs};

    (void)state;
    must_insert(r);
    must_finish(r, JOB_failed, 5);
    free(r->error);
    r->error = NULL;
    r->state = JOB_succeeded;
    store_job_finish_init(&late);
    must(&late.msg);
    assert_true(late.superseded);
    back = must_read(&r->id);
    assert_int_equal(back->state, JOB_failed);
    assert_int_equal(count_rows("SELECT count(*) FROM tensor"), 0);
    record_free(back);
    record_free(r);
    tensor_unref(t);
}

static void an_attempt_counts_up_and_only_while_the_job_is_unfinished(void **state)
{
    struct job_record *r = stage_record(), *back;
    struct store_job_attempt m = {.id = r->id};
    static const uint32_t tries[] = {1, 3, 2};

    (void)state;
    must_insert(r);
    for (int i = 0; i < 3; i++) {
        m.attempts = tries[i];
        store_job_attempt_init(&m);
        must(&m.msg);
    }
    back = must_read(&r->id);
    assert_int_equal(back->attempts, 3);
    record_free(back);
    r->attempts = 3;
    must_finish(r, JOB_failed, 5);
    m.attempts = 4;
    must(&m.msg);
    back = must_read(&r->id);
    assert_int_equal(back->attempts, 3);
    record_free(back);
    record_free(r);
}

static void a_job_that_is_not_there_is_unknown(void **state)
{
    struct id id = id_new();
    struct store_job_delete m = {.id = id};

    (void)state;
    expect_unknown(&id);
    store_job_delete_init(&m);
    assert_int_equal(stage_post(&m.msg), -1);
    assert_int_equal(m.msg.err.code, ERR_job_unknown);
}

static void a_job_may_be_deleted_once_it_has_finished(void **state)
{
    struct job_record *r = stage_record();
    struct store_job_delete m = {.id = r->id};

    (void)state;
    must_insert(r);
    store_job_delete_init(&m);
    assert_int_equal(stage_post(&m.msg), -1);
    assert_int_equal(m.msg.err.code, ERR_job_running);
    must_finish(r, JOB_cancelled, 5);
    must(&m.msg);
    expect_unknown(&r->id);
    record_free(r);
}

/* ---- one batch ---- */

static struct store_msg *order[4];
static int n_order;

static void note_order(struct store_msg *m, const struct err *e)
{
    order[n_order++] = m;
    stage_done(m, e);
}

/* The same id twice breaks a rule of the schema: that message fails alone. */
static void a_message_that_breaks_a_rule_spoils_no_other(void **state)
{
    struct job_record *r[3] = {stage_record(), stage_record(), stage_record()};
    static struct tensor *const none[2];
    struct store_job_insert m[4];
    struct err e;

    (void)state;
    store_stop(); /* so that all of it becomes one batch */
    stage_dones = 0;
    n_order = 0;
    for (int i = 0; i < 4; i++) {
        m[i] = (struct store_job_insert){.record = r[i % 3], .inputs = none, .key = ""};
        store_job_insert_init(&m[i]);
        m[i].msg.done = note_order;
        store_post(&m[i].msg);
    }
    log_init("test", LOG_error, false);
    assert_int_equal(store_start(&e), 0);
    stage_wait(4);
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(order[i], &m[i].msg);
        assert_int_equal(m[i].msg.rc, i == 3 ? -1 : 0);
    }
    assert_int_equal(m[3].msg.err.code, ERR_internal);
    assert_int_equal(count_rows("SELECT count(*) FROM job"), 3);
    for (int i = 0; i < 3; i++)
        record_free(r[i]);
}

int main(void)
{
#define RUNNING(f) cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)
    const struct CMUnitTest tests[] = {
        RUNNING(a_recorded_job_is_read_back_whole_also_after_a_restart),
        RUNNING(a_finished_job_is_read_back_with_its_end),
        RUNNING(a_failed_job_keeps_its_reason),
        RUNNING(the_first_end_that_is_recorded_is_the_end),
        RUNNING(an_attempt_counts_up_and_only_while_the_job_is_unfinished),
        RUNNING(a_job_that_is_not_there_is_unknown),
        RUNNING(a_job_may_be_deleted_once_it_has_finished),
        RUNNING(a_message_that_breaks_a_rule_spoils_no_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
