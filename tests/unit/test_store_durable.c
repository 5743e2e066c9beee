/* test_store_durable.c - with --durable every row that names an extent is committed after its bytes
 * are on the disk; without it nothing is flushed. */
#include "tests/unit/stage.h"

#include "server/durable.h"

#define EXIT_UNKNOWN 70

/* On whatever the stage stands: only what is done is looked at. */
static int setup(void **state)
{
    int rc = stage_setup(state);

    durable = true;
    return rc;
}

static int teardown(void **state)
{
    durable = false;
    return stage_teardown(state);
}

static bool on_disk(const struct tensor *t)
{
    return extent_on_disk(t->extent);
}

static void insert_tensor(struct tensor *t)
{
    struct store_tensor_insert m = {.tensor = t};

    store_tensor_insert_init(&m);
    must(&m.msg);
}

static void an_upload(void **state)
{
    struct tensor *t = stage_tensor(1000);

    (void)state;
    assert_false(on_disk(t));
    insert_tensor(t);
    assert_true(on_disk(t));
    tensor_unref(t);
    t = stage_tensor(1000); /* the same place, and other bytes */
    assert_false(on_disk(t));
    tensor_unref(t);
}

static void nothing_without_it(void **state)
{
    struct tensor *t = stage_tensor(1000);

    (void)state;
    durable = false;
    insert_tensor(t);
    assert_false(on_disk(t));
    tensor_unref(t);
}

static void inputs_and_outputs(void **state)
{
    struct tensor *in[2] = {stage_tensor(4), NULL}, *out[2] = {stage_tensor(4), NULL};
    struct job_record *r = stage_record();
    struct store_job_finish m = {.record = r, .outputs = out};

    (void)state;
    out[1] = out[0];
    assert_int_equal(stage_insert(r, in), 0);
    assert_true(on_disk(in[0]));
    assert_false(on_disk(out[0]));
    r->state = JOB_succeeded;
    store_job_finish_init(&m);
    must(&m.msg);
    assert_true(on_disk(out[0]));
    tensor_unref(in[0]);
    tensor_unref(out[0]);
    record_free(r);
}

static void kept_inputs(void **state)
{
    struct tensor *none[2] = {NULL, NULL}, *kept[2] = {stage_tensor(4), stage_tensor(4)};
    struct job_record *r = stage_record();
    struct store_job_finish m = {.record = r, .outputs = none, .kept = kept};

    (void)state;
    must_insert(r);
    r->state = JOB_succeeded;
    r->kept = calloc(2, sizeof *r->kept);
    for (int i = 0; i < 2; i++) {
        kept[i]->job = r->id;
        r->kept[i] = kept[i]->id;
    }
    store_job_finish_init(&m);
    must(&m.msg);
    assert_true(on_disk(kept[0]) && on_disk(kept[1]));
    tensor_unref(kept[0]);
    tensor_unref(kept[1]);
    record_free(r);
}

static void inputs_that_were_promised(void **state)
{
    struct tensor *none[2] = {NULL, NULL}, *in[2] = {stage_tensor(4), NULL};
    struct job_record *r = stage_record();
    struct store_job_inputs m = {0};

    (void)state;
    assert_int_equal(stage_insert(r, none), 0);
    assert_int_equal(store_job_inputs_init(&m, r, in), 0);
    must(&m.msg);
    assert_true(on_disk(in[0]));
    store_job_inputs_fini(&m);
    tensor_unref(in[0]);
    record_free(r);
}

/* Near ones at once, far ones apart, in any order. */
static void many_at_once(void **state)
{
    struct tensor *t[300], *other[3];
    struct store_tensor_insert m[300] = {0};

    (void)state;
    for (int i = 0; i < 300; i++) {
        if (i % 100 == 50)
            other[i / 100] = stage_tensor(800000);
        t[i] = stage_tensor(10);
        m[i].tensor = t[i];
        m[i].msg.done = stage_done;
        store_tensor_insert_init(&m[i]);
        m[i].msg.next = i > 0 ? &m[i - 1].msg : NULL;
    }
    m[0].msg.done = stage_done;
    stage_dones = 0;
    store_post_joined(&m[299].msg);
    stage_wait(300);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(m[i].msg.rc, 0);
        assert_true(on_disk(t[i]));
        tensor_unref(t[i]);
    }
    for (int i = 0; i < 3; i++) {
        assert_false(on_disk(other[i]));
        tensor_unref(other[i]);
    }
}

static void insert_one(void)
{
    struct store_tensor_insert m = {0};

    stage_open(NULL);
    if (store_start(NULL) != 0)
        _exit(99);
    durable = true;
    m.tensor = stage_tensor(4);
    store_tensor_insert_init(&m);
    if (stage_post(&m.msg) != 0 && m.msg.err.code == ERR_outcome_unknown)
        sleep(20); /* the store's thread ends it */
}

/* And then nothing of the transaction is there. */
static void a_flush_that_fails_ends_the_process(void **state)
{
    uint64_t n;

    (void)state;
    assert_int_equal(stage_child(insert_one, "store.flush=err:5"), EXIT_UNKNOWN);
    stage_open(NULL);
    assert_int_equal(store_lose_tensors(&n, NULL), 0);
    assert_int_equal(n, 0);
    stage_close();
}

int main(void)
{
#define RUNNING(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        RUNNING(an_upload),
        RUNNING(nothing_without_it),
        RUNNING(inputs_and_outputs),
        RUNNING(kept_inputs),
        RUNNING(inputs_that_were_promised),
        RUNNING(many_at_once),
        cmocka_unit_test_setup_teardown(a_flush_that_fails_ends_the_process, stage_setup_dir,
                                        stage_teardown_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
