/* test_store_recover.c - rules of the rows that a start brings back. */
#include "tests/unit/stage.h"

#include "server/store_internal.h"

static void write_sql(const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(stage_path("tutti.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &(int){1});
    sqlite3_close(db);
}

/* ---- recovery's rows ---- */

struct found {
    int groups, tensors, lost_tensors, jobs, lost_jobs;
    struct group group;
    struct tensor *tensor[4];
    struct tensor *input[2];
};

static int found_group(void *arg, const struct group *g, struct err *e)
{
    struct found *f = arg;

    (void)e;
    f->groups++;
    f->group = *g;
    return 0;
}

static int found_tensor(void *arg, struct tensor *t, struct err *e)
{
    struct found *f = arg;

    (void)e;
    f->lost_tensors += !t->extent;
    f->tensor[f->tensors++] = t;
    return tensor_publish(t);
}

static int found_job(void *arg, struct job_record *r, struct tensor **inputs, bool lost,
                     struct err *e)
{
    struct found *f = arg;

    (void)e;
    f->jobs++;
    f->lost_jobs += lost;
    assert_int_equal(lost, inputs == NULL);
    for (uint32_t i = 0; inputs && i < r->n; i++)
        f->input[i] = inputs[i];
    free(inputs);
    record_free(r);
    return 0;
}

static void found_free(struct found *f)
{
    for (int i = 0; i < f->tensors; i++)
        tensor_unref(f->tensor[i]);
    tensor_unref(f->input[0]);
    tensor_unref(f->input[1]);
}

/* Closes and opens, and asks for every row; the store's thread does not run then. */
static void reopen_and_find(struct found *f)
{
    struct store_recovery r = {
        .arg = f, .group = found_group, .tensor = found_tensor, .job = found_job};
    struct err e = {0};

    memset(f, 0, sizeof *f);
    store_stop();
    stage_close();
    stage_open(NULL);
    if (store_recover(&r, &e) != 0)
        fail_msg("%s", e.detail);
}

static void start_again(struct found *f)
{
    struct err e;

    found_free(f);
    assert_int_equal(store_start(&e), 0);
}

static void groups_come_back_until_they_are_deleted(void **state)
{
    struct group g = {.name = "pair", .created_us = 77, .n = 2, .ranks = {3, 1}};
    struct store_group_insert in = {.group = &g};
    struct store_group_delete out = {.name = "pair"};
    struct found f;

    (void)state;
    store_group_insert_init(&in);
    must(&in.msg);
    reopen_and_find(&f);
    assert_int_equal(f.groups, 1);
    assert_string_equal(f.group.name, "pair");
    assert_int_equal(f.group.created_us, 77);
    assert_int_equal(f.group.n, 2);
    assert_int_equal(f.group.ranks[0], 3);
    start_again(&f);
    store_group_delete_init(&out);
    must(&out.msg);
    reopen_and_find(&f);
    assert_int_equal(f.groups, 0);
    start_again(&f);
}

static void tensors_come_back_with_their_bytes(void **state)
{
    struct shape half = {.ndim = 1, .dim = {2}};
    struct tensor *a = stage_tensor(4), *b = tensor_new(DTYPE_int32, &half, a->extent, 8);
    struct store_tensor_insert in = {.tensor = a}, in2 = {.tensor = b};
    struct store_tensor_delete out = {.tensors = &a, .n = 1};
    struct id ida = a->id, idb = b->id;
    struct found f;
    struct extent_usage u;

    (void)state;
    a->expires_us = 123;
    b->job = id_new();
    memcpy(tensor_data(a), "0123456789abcdef", 16);
    store_tensor_insert_init(&in);
    store_tensor_insert_init(&in2);
    must(&in.msg);
    must(&in2.msg);
    tensor_unref(a);
    tensor_unref(b);
    reopen_and_find(&f);
    assert_int_equal(f.tensors, 2);
    assert_true(id_equal(&f.tensor[0]->id, &ida));
    assert_true(id_equal(&f.tensor[1]->id, &idb));
    assert_int_equal(f.tensor[0]->expires_us, 123);
    assert_int_equal(f.tensor[1]->expires_us, UINT64_MAX);
    assert_int_equal(f.tensor[1]->dtype, DTYPE_int32);
    assert_int_equal(f.tensor[1]->size_bytes, 8);
    assert_memory_equal(tensor_data(f.tensor[1]), "89abcdef", 8);
    extent_usage(&u);
    assert_int_equal(u.extents, 1);
    assert_int_equal(u.used_bytes, 64);
    a = f.tensor[0];
    assert_int_equal(store_start(NULL), 0);
    store_tensor_delete_init(&out);
    must(&out.msg);
    found_free(&f);
    reopen_and_find(&f);
    assert_int_equal(f.tensors, 1);
    start_again(&f);
}

static void unfinished_jobs_come_back_with_their_inputs(void **state)
{
    struct job_record *r = stage_record(), *done = stage_record();
    struct tensor *in[2] = {stage_tensor(4), NULL};
    struct id id = in[0]->id;
    struct found f;

    (void)state;
    memcpy(tensor_data(in[0]), "0123456789abcdef", 16);
    assert_int_equal(stage_insert(r, in), 0);
    assert_int_equal(stage_insert(done, in), 0);
    must_finish(done, JOB_succeeded, 5);
    tensor_unref(in[0]);
    reopen_and_find(&f);
    assert_int_equal(f.jobs, 1);
    assert_int_equal(f.lost_jobs, 0);
    assert_true(id_equal(&f.input[0]->id, &id));
    assert_memory_equal(tensor_data(f.input[0]), "0123456789abcdef", 16);
    assert_null(f.input[1]);
    start_again(&f);
    record_free(r);
    record_free(done);
}

static void an_uploaded_tensor_and_a_job_that_uses_it_are_one_again(void **state)
{
    struct job_record *r = stage_record();
    struct tensor *t = stage_tensor(4), *in[2] = {t, t};
    struct store_tensor_insert up = {.tensor = t};
    struct found f;

    (void)state;
    store_tensor_insert_init(&up);
    must(&up.msg);
    assert_int_equal(stage_insert(r, in), 0);
    tensor_unref(t);
    reopen_and_find(&f);
    assert_ptr_equal(f.tensor[0], f.input[0]);
    assert_ptr_equal(f.tensor[0], f.input[1]);
    start_again(&f);
    record_free(r);
}

/* F14. Three starts: the first loses them, the others must not find them again. */
static void a_new_arena_makes_everything_in_the_old_one_lost(void **state)
{
    struct job_record *r = stage_record();
    struct tensor *t = stage_tensor(4), *empty = stage_tensor(0), *in[2] = {t, t};
    struct store_tensor_insert up = {.tensor = t}, up2 = {.tensor = empty};
    struct found f;

    (void)state;
    store_tensor_insert_init(&up);
    store_tensor_insert_init(&up2);
    must(&up.msg);
    must(&up2.msg);
    assert_int_equal(stage_insert(r, in), 0);
    tensor_unref(t);
    tensor_unref(empty);
    assert_int_equal(unlink(stage_path("arena")), 0);
    for (int i = 0; i < 3; i++) {
        reopen_and_find(&f);
        assert_int_equal(f.tensors, 2);
        assert_int_equal(f.lost_tensors, 1);
        assert_int_equal(f.lost_jobs, 1);
        start_again(&f);
    }
    record_free(r);
}

/* Lesson 6, row by row: what cannot be right stops the start, and names the file. */
static void a_row_that_cannot_be_right_refuses_the_start(void **state)
{
    static const char *const bad[] = {
        "UPDATE job SET op='all_reduce_product'",
        "UPDATE job SET ranks=x'00'",
        "UPDATE job SET ranks=x''",
        "UPDATE job SET dtype='float8'",
        "UPDATE job SET in_shape=x'ffffffffffffffff'",
        "UPDATE job SET in_shape=x'01'",
        "UPDATE job SET inputs=x'01'",
        "UPDATE job SET out_shape=x'0500000000000000'",
        "UPDATE job SET op='gather'",
        "UPDATE job SET dtype='int32'",
        "UPDATE job SET stream=64",
        "UPDATE job SET priority=101",
        "UPDATE job SET priority=-101",
        "UPDATE job SET timeout_us=86400000001",
        "UPDATE job SET error_code='cancelled', error_detail='', error_pointer='', error_ranks=x''",
        "UPDATE job SET outputs=zeroblob(32)",
        "UPDATE tensor SET shape=x'0200000000000000'",
        "UPDATE tensor SET dtype='int32'",
        "UPDATE tensor SET dtype=''",
        "UPDATE tensor SET offset=1",
        "UPDATE tensor SET job=x'00'",
        "UPDATE grp SET ranks=zeroblob(4100)",
        "UPDATE grp SET name=printf('%.100c','x')",
    };
    struct group g = {.name = "pair", .n = 1};
    struct store_group_insert gm = {.group = &g};
    struct job_record *r = stage_record();
    struct tensor *t = stage_tensor(4), *in[2] = {t, t};
    struct store_tensor_insert up = {.tensor = t};

    (void)state;
    store_group_insert_init(&gm);
    store_tensor_insert_init(&up);
    must(&gm.msg);
    must(&up.msg);
    assert_int_equal(stage_insert(r, in), 0);
    tensor_unref(t);
    record_free(r);
    store_stop();
    stage_close();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct found f = {0};
        struct store_recovery rec = {
            .arg = &f, .group = found_group, .tensor = found_tensor, .job = found_job};
        struct err e = {0};
        char restore[512];

        snprintf(restore, sizeof restore, "cp -p %s %s", stage_path("tutti.db"),
                 stage_path("saved"));
        assert_int_equal(system(restore), 0);
        write_sql(bad[i]);
        stage_open(NULL);
        if (store_recover(&rec, &e) != -1)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(e.code, ERR_store);
        assert_non_null(strstr(e.detail, "tutti.db"));
        assert_non_null(strstr(e.detail, "sqlite3 -readonly"));
        found_free(&f);
        stage_close();
        assert_int_equal(rename(stage_path("saved"), stage_path("tutti.db")), 0);
        assert_int_equal(truncate(stage_path("tutti.db-wal"), 0), 0);
    }
    stage_open(NULL);
    assert_int_equal(store_start(NULL), 0);
}

int main(void)
{
#define RUNNING(f) cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)
    const struct CMUnitTest tests[] = {
        RUNNING(groups_come_back_until_they_are_deleted),
        RUNNING(tensors_come_back_with_their_bytes),
        RUNNING(unfinished_jobs_come_back_with_their_inputs),
        RUNNING(an_uploaded_tensor_and_a_job_that_uses_it_are_one_again),
        RUNNING(a_new_arena_makes_everything_in_the_old_one_lost),
        RUNNING(a_row_that_cannot_be_right_refuses_the_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
