/* test_recovery.c - rules of a start: whatever killed the last one, and however often, the same
 * jobs, tensors and groups are there, and their bytes. */
#include "tests/unit/stage.h"

#include "schema/clock.h"
#include "server/core.h"
#include "server/job.h"
#include "server/recovery.h"
#include "server/retention.h"
#include "server/scheduler.h"

#include <signal.h>

#define WORLD 4

/* Everything that a start brings back. */
static void start(uint32_t world)
{
    struct err e = {0};
    bool kept;

    stage_open(&kept);
    if (group_table_init(world, &e) != 0 || core_init(&e) != 0 ||
        scheduler_init(world, 1, job_begin, &e) != 0 || job_table_init(3600000000, &e) != 0 ||
        recover(kept, &e) != 0)
        fail_msg("%s", e.detail);
}

static void stop(void)
{
    job_table_fini();
    scheduler_fini();
    core_fini();
    group_table_fini();
    stage_close();
}

static int setup(void **state)
{
    (void)state;
    stage_make_dir();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stage_remove_dir();
    return 0;
}

/* ---- what a life leaves behind: 2 groups, 3 tensors (one a view), 4 unfinished jobs, 1 finished
 * ---- */

static struct id job_ids[5], tensor_ids[3]; /* drawn before the child, so that both know them */

static void draw_ids(void)
{
    for (int i = 0; i < 5; i++)
        job_ids[i] = id_new();
    for (int i = 0; i < 3; i++)
        tensor_ids[i] = id_new();
}

static struct tensor *upload(int i, struct tensor *whole)
{
    struct shape half = {.ndim = 1, .dim = {2}};
    struct tensor *t = whole ? tensor_new(DTYPE_float32, &half, whole->extent, 8) : stage_tensor(4);
    struct store_tensor_insert m = {.tensor = t};

    t->id = tensor_ids[i];
    if (!whole)
        memset(tensor_data(t), 'a' + i, t->size_bytes);
    store_tensor_insert_init(&m);
    if (stage_post(&m.msg) != 0)
        _exit(97);
    return t;
}

static void submit(int i, struct tensor *a, struct tensor *b)
{
    struct job_record *r = stage_record();
    struct tensor *inputs[2] = {a, b};

    r->id = job_ids[i];
    if (stage_insert(r, inputs) != 0)
        _exit(96);
}

static struct tensor *own_bytes(char c)
{
    struct tensor *t = stage_tensor(4);

    memset(tensor_data(t), c, t->size_bytes);
    return t;
}

static void add_group(const char *name, uint32_t first, uint32_t second)
{
    struct group g = {.n = 2, .ranks = {first, second}};
    struct store_group_insert m = {.group = &g};

    strcpy(g.name, name);
    store_group_insert_init(&m);
    if (stage_post(&m.msg) != 0)
        _exit(95);
}

static void live_and_die(void)
{
    struct tensor *a, *b;
    struct job_record *r = stage_record();
    struct store_job_finish end = {.record = r};

    stage_open(NULL);
    if (store_start(NULL) != 0)
        _exit(98);
    add_group("high", 3, 2);
    add_group("low", 0, 1);
    a = upload(0, NULL);
    b = upload(1, NULL);
    upload(2, b);
    submit(0, a, b);
    submit(1, a, a);
    submit(2, own_bytes('x'), own_bytes('y'));
    submit(3, own_bytes('z'), a);
    submit(4, own_bytes('w'), a);
    r->id = job_ids[4];
    r->state = JOB_cancelled;
    r->finished_us = 1;
    r->error = calloc(1, sizeof *r->error);
    err_set(r->error, ERR_cancelled, "as asked");
    store_job_finish_init(&end);
    if (stage_post(&end.msg) != 0)
        _exit(94);
    kill(getpid(), SIGKILL);
}

static bool keep(const struct job_record *r, void *arg)
{
    (void)r;
    (void)arg;
    return true;
}

static uint32_t accept_all(const struct id *before, struct job_record **out, uint32_t max)
{
    return job_list(before, keep, NULL, out, max);
}

static void expect_bytes(const struct id *id, char c, size_t n)
{
    struct tensor *t = tensor_find(id);

    assert_non_null(t);
    assert_non_null(tensor_data(t));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(tensor_data(t)[i], c);
    tensor_unref(t);
}

/* The state that every start must end in. */
static void expect_everything(void)
{
    static const struct id newest;
    struct job_record *r[8];
    struct extent_usage u;
    struct group g;
    struct err e = {0};
    uint32_t n = accept_all(&newest, r, 8);

    assert_int_equal(n, 4);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(id_equal(&r[i]->id, &job_ids[3 - i]));
        assert_int_equal(r[i]->state, JOB_queued);
        record_free(r[i]);
    }
    assert_int_equal(tensor_count(), 3);
    expect_bytes(&tensor_ids[0], 'a', 16);
    expect_bytes(&tensor_ids[1], 'b', 16);
    expect_bytes(&tensor_ids[2], 'b', 8);
    assert_int_equal(group_find("high", 4, &g, &e), 0);
    assert_int_equal(g.ranks[0], 3);
    assert_int_equal(group_find("low", 3, &g, &e), 0);
    extent_usage(&u);
    assert_int_equal(u.extents, 5); /* a, b, x, y, z; w went with its job */
    assert_int_equal(u.used_bytes, 5 * 64);
    if (extent_check(&e) != 0 || job_check(&e) != 0 || scheduler_check(&e) != 0)
        fail_msg("%s", e.detail);
}

static void three_starts_in_a_row_end_in_the_same_state(void **state)
{
    (void)state;
    draw_ids();
    assert_int_equal(stage_child(live_and_die, NULL), -SIGKILL);
    for (int i = 0; i < 3; i++) {
        start(WORLD);
        expect_everything();
        stop();
    }
}

static void start_only(void)
{
    start(WORLD);
}

/* F5: killed at each step, three times, and then let through. */
static void a_start_may_be_killed_anywhere(void **state)
{
    static const char *const where[] = {
        "recover.groups=kill",    "recover.groups=kill@2", "recover.tensors=kill",
        "recover.tensors=kill@3", "recover.jobs=kill",     "recover.jobs=kill@4",
    };

    (void)state;
    draw_ids();
    assert_int_equal(stage_child(live_and_die, NULL), -SIGKILL);
    for (size_t i = 0; i < sizeof where / sizeof where[0]; i++) {
        for (int times = 0; times < 3; times++)
            assert_int_equal(stage_child(start_only, where[i]), -SIGKILL);
        start(WORLD);
        expect_everything();
        stop();
    }
}

/* Lesson 4: with nothing to bring back. */
static void an_empty_state_starts_and_starts_again(void **state)
{
    static const struct id newest;
    struct job_record *r[1];

    (void)state;
    assert_int_equal(stage_child(start_only, NULL), 0);
    for (int i = 0; i < 2; i++) {
        start(WORLD);
        assert_int_equal(accept_all(&newest, r, 1), 0);
        assert_int_equal(tensor_count(), 0);
        stop();
    }
}

/* Runs what recovery posted: the ends of jobs that failed go to the store and come back. */
static void run_store(void)
{
    struct err e;

    assert_int_equal(store_start(&e), 0);
    store_stop();
    assert_int_equal(core_start(&e), 0);
    core_stop();
}

static void expect_failed(int i, enum err_code code)
{
    struct job_record *r = NULL;
    struct err e = {0};

    if (store_job_read(&job_ids[i], NULL, &r, &e) != 0)
        fail_msg("%s", e.detail);
    assert_int_equal(r->state, JOB_failed);
    assert_int_equal(r->error->code, code);
    record_free(r);
}

/* F14: the arena went, as after a reboot. */
static void without_the_arena_tensors_are_lost_and_jobs_say_so(void **state)
{
    (void)state;
    draw_ids();
    assert_int_equal(stage_child(live_and_die, NULL), -SIGKILL);
    assert_int_equal(unlink(stage_path("arena")), 0);
    assert_int_equal(stage_child(start_only, NULL), 0); /* its ends are not recorded yet */
    for (int i = 0; i < 3; i++) {
        struct tensor *t;
        struct extent_usage u;

        start(WORLD);
        t = tensor_find(&tensor_ids[i]);
        assert_non_null(t);
        assert_null(tensor_data(t));
        tensor_unref(t);
        extent_usage(&u);
        assert_int_equal(u.used_bytes, 0);
        run_store();
        for (int j = 0; j < 4; j++)
            expect_failed(j, ERR_inputs_lost);
        stop();
    }
}

/* Two ranks instead of four: what needs the others cannot run; what does not, can. */
static void a_smaller_world_leaves_out_what_it_cannot_hold(void **state)
{
    struct group g;
    struct err e = {0};

    (void)state;
    draw_ids();
    assert_int_equal(stage_child(live_and_die, NULL), -SIGKILL);
    start(2);
    assert_int_equal(group_find("high", 4, &g, &e), -1);
    assert_int_equal(group_find("low", 3, &g, &e), 0);
    stop();
    start(1);
    run_store();
    for (int j = 0; j < 4; j++)
        expect_failed(j, ERR_group_invalid);
    stop();
    start(WORLD); /* the row of the group is still there */
    assert_int_equal(group_find("high", 4, &g, &e), 0);
    stop();
}

/* ---- many ---- */

enum { MANY = 10000 };

static void submit_many(void)
{
    static struct store_job_insert m[MANY];
    static struct tensor *in[MANY][2];

    stage_open(NULL);
    for (int i = 0; i < MANY; i++) {
        in[i][0] = own_bytes('p');
        in[i][1] = own_bytes('q');
        m[i] = (struct store_job_insert){.record = stage_record(), .inputs = in[i], .key = ""};
        store_job_insert_init(&m[i]);
        m[i].msg.done = stage_done;
        store_post(&m[i].msg);
    }
    if (store_start(NULL) != 0)
        _exit(98);
    stage_wait(MANY);
    kill(getpid(), SIGKILL);
}

/* F6: the bound of A.3: ready after kill -9 with 10,000 unfinished jobs. */
static void ten_thousand_unfinished_jobs_are_back_in_seconds(void **state)
{
    struct job_counts c;
    uint64_t begin, took;

    (void)state;
    stage_dones = 0;
    assert_int_equal(stage_child(submit_many, NULL), -SIGKILL);
    begin = clock_us();
    start(WORLD);
    took = clock_us() - begin;
    job_counts(&c);
    assert_int_equal(c.queued, MANY);
    print_message("10,000 unfinished jobs are back after %.0f ms\n", (double)took / 1e3);
    assert_true(took < 5000000);
    stop();
}

/* ---- retention ---- */

static uint64_t tensor_rows(void)
{
    uint64_t n;

    store_stop();
    stop();
    start(WORLD);
    n = tensor_count();
    assert_int_equal(store_start(NULL), 0);
    return n;
}

/* The core's thread runs, as in the server. */
static void retention_takes_what_expired_from_memory_database_and_arena(void **state)
{
    struct err e;
    struct extent_usage u;
    struct tensor *t;

    (void)state;
    start(WORLD);
    assert_int_equal(store_start(&e), 0);
    draw_ids();
    for (int i = 0; i < 2; i++) {
        t = own_bytes('r');
        t->id = tensor_ids[i];
        t->expires_us = i ? UINT64_MAX : 1;
        assert_int_equal(tensor_publish(t), 0);
        struct store_tensor_insert m = {.tensor = t};

        store_tensor_insert_init(&m);
        assert_int_equal(stage_post(&m.msg), 0);
        tensor_unref(t);
    }
    assert_int_equal(tensor_rows(), 2);
    retention_start();
    assert_int_equal(core_start(&e), 0);
    for (int i = 0; i < 300 && tensor_count() == 2; i++)
        usleep(10000);
    core_stop();
    retention_stop();
    store_stop();
    extent_usage(&u);
    assert_int_equal(u.extents, 1);
    assert_int_equal(store_start(&e), 0);
    assert_int_equal(tensor_rows(), 1);
    assert_null(tensor_find(&tensor_ids[0]));
    store_stop();
    stop();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(three_starts_in_a_row_end_in_the_same_state),
        TEST(a_start_may_be_killed_anywhere),
        TEST(an_empty_state_starts_and_starts_again),
        TEST(without_the_arena_tensors_are_lost_and_jobs_say_so),
        TEST(a_smaller_world_leaves_out_what_it_cannot_hold),
        TEST(ten_thousand_unfinished_jobs_are_back_in_seconds),
        TEST(retention_takes_what_expired_from_memory_database_and_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
