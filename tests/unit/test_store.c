/* test_store.c - rules of the database: what is acknowledged is there, once, and whole. */
#include "tests/unit/stage.h"

#include "schema/clock.h"
#include "server/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

static int setup(void **state)
{
    struct err e;

    (void)state;
    stage_make_dir();
    stage_open(NULL);
    return store_start(&e);
}

static int teardown(void **state)
{
    (void)state;
    store_stop();
    stage_close();
    stage_remove_dir();
    return 0;
}

static int setup_dir(void **state)
{
    (void)state;
    stage_make_dir();
    return 0;
}

static int teardown_dir(void **state)
{
    (void)state;
    stage_remove_dir();
    return 0;
}

static void restart(void)
{
    struct err e;

    store_stop();
    stage_close();
    stage_open(NULL);
    assert_int_equal(store_start(&e), 0);
}

static struct job_record *must_read(const struct id *id)
{
    struct job_record *r = NULL;
    struct err e = {0};

    if (store_job_read(id, &r, &e) != 0)
        fail_msg("%s", e.detail);
    return r;
}

static void expect_unknown(const struct id *id)
{
    struct job_record *r = NULL;
    struct err e = {0};

    assert_int_equal(store_job_read(id, &r, &e), -1);
    assert_int_equal(e.code, ERR_job_unknown);
}

static void must(struct store_msg *m)
{
    if (stage_post(m) != 0)
        fail_msg("%s", m->err.detail);
}

static void must_insert(const struct job_record *r)
{
    struct tensor *none[LIMIT_RANKS] = {0};

    assert_int_equal(stage_insert(r, none), 0);
}

/* Ends it: succeeded without outputs, or failed. */
static void must_finish(struct job_record *r, enum job_state to, uint64_t finished_us)
{
    struct store_job_finish m = {.record = r};
    struct tensor *none[LIMIT_RANKS] = {0};

    r->state = to;
    r->finished_us = finished_us;
    if (to == JOB_succeeded) {
        m.outputs = none;
    } else {
        r->error = calloc(1, sizeof *r->error);
        err_set(r->error, ERR_run_timeout, "too slow");
    }
    store_job_finish_init(&m);
    must(&m.msg);
    assert_false(m.superseded);
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
    restart();
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

/* ---- lists ---- */

static uint32_t list(const struct store_job_filter *f, struct id *out, uint32_t max)
{
    struct job_record *r[16];
    struct err e = {0};
    uint32_t n = 99;

    if (store_job_list(f, r, max, &n, &e) != 0)
        fail_msg("%s", e.detail);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = r[i]->id;
        record_free(r[i]);
    }
    return n;
}

/* 0 queued, 1 succeeded, 2 failed, 3 succeeded, 4 cancelled ... with labels and groups in turn. */
static void make_jobs(struct id *ids, int n)
{
    static const enum job_state ends[] = {JOB_queued, JOB_succeeded, JOB_failed, JOB_succeeded,
                                          JOB_cancelled};

    for (int i = 0; i < n; i++) {
        struct job_record *r = stage_record();

        ids[i] = r->id;
        r->op = &ops[i % 2 ? OP_broadcast : OP_all_reduce_sum];
        strcpy(r->group, i % 3 ? "world" : "pair");
        strcpy(r->label, i % 4 ? "" : "mine");
        must_insert(r);
        if (ends[i % 5] != JOB_queued)
            must_finish(r, ends[i % 5], 5);
        record_free(r);
    }
}

static void lists_are_newest_first_in_pages(void **state)
{
    struct id ids[10], got[16];
    struct store_job_filter f = {0};

    (void)state;
    make_jobs(ids, 10);
    assert_int_equal(list(&f, got, 16), 10);
    for (int i = 0; i < 10; i++)
        assert_true(id_equal(&got[i], &ids[9 - i]));
    assert_int_equal(list(&f, got, 4), 4);
    f.before = got[3];
    assert_int_equal(list(&f, got, 4), 4);
    assert_true(id_equal(&got[0], &ids[5]));
    f.before = ids[0];
    assert_int_equal(list(&f, got, 4), 0);
}

static void lists_take_any_mixture_of_filters(void **state)
{
    struct id ids[15], got[16];

    (void)state;
    make_jobs(ids, 15);
    for (int mix = 0; mix < 32; mix++) {
        for (int s = JOB_succeeded; s <= JOB_cancelled; s++) {
            struct store_job_filter f = {.terminal_only = mix & 1,
                                         .has_state = mix & 2,
                                         .state = (enum job_state)s,
                                         .op = mix & 4 ? &ops[OP_broadcast] : NULL,
                                         .group = mix & 8 ? "pair" : NULL,
                                         .label = mix & 16 ? "mine" : NULL};
            uint32_t n = list(&f, got, 16), at = 0;

            for (int i = 14; i >= 0; i--) {
                static const enum job_state ends[] = {JOB_queued, JOB_succeeded, JOB_failed,
                                                      JOB_succeeded, JOB_cancelled};
                bool want = (!(mix & 1) || ends[i % 5] != JOB_queued) &&
                            (!(mix & 2) || ends[i % 5] == (enum job_state)s) &&
                            (!(mix & 4) || i % 2) && (!(mix & 8) || i % 3 == 0) &&
                            (!(mix & 16) || i % 4 == 0);

                if (want) {
                    assert_true(at < n);
                    assert_true(id_equal(&got[at++], &ids[i]));
                }
            }
            assert_int_equal(at, n);
        }
    }
}

/* ---- keys ---- */

static const uint8_t digest_a[16] = "digest of reque", digest_b[16] = "another digest ";

static struct store_job_insert keyed(const struct job_record *r, const uint8_t *digest)
{
    static struct tensor *const none[LIMIT_RANKS];
    struct store_job_insert m = {.record = r, .inputs = none, .key = "my key", .digest = digest};

    store_job_insert_init(&m);
    return m;
}

static void a_key_finds_its_first_job_also_after_a_restart(void **state)
{
    struct job_record *first = stage_record(), *second = stage_record();
    struct store_job_insert a = keyed(first, digest_a), b = keyed(second, digest_a);

    (void)state;
    must(&a.msg);
    assert_false(a.existed);
    for (int i = 0; i < 2; i++) {
        must(&b.msg);
        assert_true(b.existed);
        assert_true(id_equal(&b.existing, &first->id));
        expect_unknown(&second->id);
        restart();
    }
    record_free(first);
    record_free(second);
}

static void a_key_with_another_request_is_refused_and_stores_nothing(void **state)
{
    struct job_record *first = stage_record(), *second = stage_record();
    struct store_job_insert a = keyed(first, digest_a), b = keyed(second, digest_b);

    (void)state;
    must(&a.msg);
    assert_int_equal(stage_post(&b.msg), -1);
    assert_int_equal(b.msg.err.code, ERR_idempotency_key_reused);
    expect_unknown(&second->id);
    expect_stored((first->state = JOB_queued, first));
    record_free(first);
    record_free(second);
}

static void a_key_lives_as_long_as_its_job(void **state)
{
    struct job_record *first = stage_record(), *second = stage_record();
    struct store_job_insert a = keyed(first, digest_a), b = keyed(second, digest_b);
    struct store_job_delete m = {.id = first->id};

    (void)state;
    must(&a.msg);
    must_finish(first, JOB_failed, 5);
    store_job_delete_init(&m);
    must(&m.msg);
    must(&b.msg);
    assert_false(b.existed);
    record_free(first);
    record_free(second);
}

enum { RACERS = 50 };
static struct job_record *racing[RACERS];
static struct store_job_insert race[RACERS];

static void *post_one(void *arg)
{
    store_post(&((struct store_job_insert *)arg)->msg);
    return NULL;
}

static void fifty_requests_with_one_key_make_one_job(void **state)
{
    pthread_t t[RACERS];
    int made = 0;

    (void)state;
    stage_dones = 0;
    for (int i = 0; i < RACERS; i++) {
        racing[i] = stage_record();
        race[i] = keyed(racing[i], digest_a);
        race[i].msg.done = stage_done;
        assert_int_equal(pthread_create(&t[i], NULL, post_one, &race[i]), 0);
    }
    for (int i = 0; i < RACERS; i++)
        pthread_join(t[i], NULL);
    stage_wait(RACERS);
    for (int i = 0; i < RACERS; i++) {
        assert_int_equal(race[i].msg.rc, 0);
        made += !race[i].existed;
        record_free(racing[i]);
    }
    assert_int_equal(made, 1);
    assert_int_equal(count_rows("SELECT count(*) FROM job"), 1);
}

/* ---- purge ---- */

static void purge_takes_old_ends_and_nothing_else(void **state)
{
    struct job_record *old = stage_record(), *recent = stage_record(), *open = stage_record();
    struct store_job_insert keyed_old = keyed(old, digest_a);
    struct store_purge m = {.before_us = clock_wall_us() + 3600000000};

    (void)state;
    must(&keyed_old.msg);
    must_insert(recent);
    must_insert(open);
    must_finish(old, JOB_succeeded, m.before_us - 1);
    must_finish(recent, JOB_succeeded, m.before_us);
    store_purge_init(&m);
    must(&m.msg);
    assert_int_equal(m.purged, 1);
    expect_unknown(&old->id);
    record_free(must_read(&recent->id));
    record_free(must_read(&open->id));
    assert_int_equal(count_rows("SELECT count(*) FROM idem"), 0);
    must(&m.msg);
    assert_int_equal(m.purged, 0);
    record_free(old);
    record_free(recent);
    record_free(open);
}

static void one_purge_takes_at_most_a_thousand(void **state)
{
    enum { N = 1001 };
    struct store_purge m = {.before_us = clock_wall_us() + 3600000000};
    static struct tensor *const none[2];
    static struct store_job_insert in[N];
    static struct job_record *r[N];

    (void)state;
    stage_dones = 0;
    for (int i = 0; i < N; i++) {
        r[i] = stage_record();
        in[i] = (struct store_job_insert){.record = r[i], .inputs = none, .key = ""};
        store_job_insert_init(&in[i]);
        in[i].msg.done = stage_done;
        store_post(&in[i].msg);
    }
    stage_wait(N);
    for (int i = 0; i < N; i++) {
        must_finish(r[i], JOB_succeeded, 5);
        record_free(r[i]);
    }
    store_purge_init(&m);
    must(&m.msg);
    assert_int_equal(m.purged, 1000);
    must(&m.msg);
    assert_int_equal(m.purged, 1);
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

/* ---- one writer, one checkpointer ---- */

static int config(struct db *db, int what)
{
    int is = -1;

    sqlite3_db_config(db->sql, what, -1, &is);
    return is;
}

/* Finding 1: a second connection that writes or checkpoints can corrupt the database. */
static void only_the_writer_can_write_or_checkpoint(void **state)
{
    struct err e;
    struct db *reader = store_reader(&e);

    (void)state;
    assert_ptr_not_equal(reader, store_writer());
    assert_int_equal(sqlite3_db_readonly(reader->sql, "main"), 1);
    assert_int_equal(count_rows("PRAGMA query_only"), 1);
    assert_int_equal(count_rows("PRAGMA wal_autocheckpoint"), 0);
    assert_int_equal(config(reader, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE), 1);
    assert_int_not_equal(sqlite3_exec(reader->sql, "DELETE FROM job", NULL, NULL, NULL), SQLITE_OK);
    assert_int_not_equal(
        sqlite3_wal_checkpoint_v2(reader->sql, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL),
        SQLITE_OK);
}

static void connections_are_hardened(void **state)
{
    struct err e;
    struct db *dbs[2] = {store_reader(&e), store_writer()};

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(config(dbs[i], SQLITE_DBCONFIG_DEFENSIVE), 1);
        assert_int_equal(config(dbs[i], SQLITE_DBCONFIG_TRUSTED_SCHEMA), 0);
        assert_int_equal(config(dbs[i], SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION), 0);
        assert_int_equal(config(dbs[i], SQLITE_DBCONFIG_DQS_DML), 0);
        assert_int_equal(sqlite3_limit(dbs[i]->sql, SQLITE_LIMIT_ATTACHED, -1), 0);
    }
}

static void files_are_for_us_alone(void **state)
{
    static const char *const names[] = {"tutti.db", "tutti.db-wal", "tutti.db-shm", "lock"};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct stat st;

        assert_int_equal(stat(stage_path(names[i]), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static struct id seen_id;

static void *read_one(void *arg)
{
    (void)arg;
    record_free(must_read(&seen_id));
    return NULL;
}

static void readers_of_many_threads_see_what_was_committed(void **state)
{
    struct job_record *r = stage_record();
    pthread_t t[8];

    (void)state;
    must_insert(r);
    seen_id = r->id;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, read_one, NULL), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    record_free(r);
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

static void write_sql(const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(stage_path("tutti.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &(int){1});
    sqlite3_close(db);
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

/* ---- opening ---- */

static void expect_refused(const char *word)
{
    struct err e = {0};

    assert_int_equal(store_open(stage_dir, &e), -1);
    assert_int_equal(e.code, ERR_store);
    if (!strstr(e.detail, word))
        fail_msg("\"%s\" is not in: %s", word, e.detail);
}

static void open_and_close(void)
{
    struct err e = {0};

    if (store_open(stage_dir, &e) != 0)
        fail_msg("%s", e.detail);
    store_close();
}

/* Leaves a database with rows in the log, as kill -9 does. */
static void record_and_die(void)
{
    struct job_record *r = stage_record();

    stage_open(NULL);
    if (store_start(NULL) != 0)
        _exit(98);
    must_insert(r);
    kill(getpid(), SIGKILL);
}

static void a_second_server_is_refused_by_the_pid_of_the_first(void **state)
{
    int ready[2], go[2];
    char word[64], byte;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid = fork();
    if (pid == 0) {
        struct err e;

        close(go[1]);
        if (store_open(stage_dir, &e) != 0 || write(ready[1], "x", 1) != 1 ||
            read(go[0], &byte, 1) < 0)
            _exit(1);
        _exit(0); /* as a kill would: without closing */
    }
    close(go[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    snprintf(word, sizeof word, "in use by process %d", pid);
    expect_refused(word);
    close(go[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    open_and_close();
    close(ready[0]);
    close(ready[1]);
}

static void a_database_of_a_newer_build_is_refused(void **state)
{
    (void)state;
    open_and_close();
    write_sql("PRAGMA user_version=999");
    expect_refused("999");
}

static void a_database_of_another_program_is_refused(void **state)
{
    (void)state;
    write_sql("CREATE TABLE mine(x); INSERT INTO mine VALUES(1)");
    assert_int_equal(chmod(stage_path("tutti.db"), 0600), 0);
    expect_refused("another program");
}

static void what_is_no_database_is_refused_with_a_command(void **state)
{
    FILE *f = fopen(stage_path("tutti.db"), "w");

    (void)state;
    for (int i = 0; i < 2000; i++)
        fputs("not a database ", f);
    fclose(f);
    expect_refused("sqlite3 -readonly");
}

static void a_missing_log_is_refused_until_somebody_decides(void **state)
{
    FILE *f;

    (void)state;
    assert_int_equal(stage_child(record_and_die, NULL), -SIGKILL);
    assert_int_equal(unlink(stage_path("tutti.db-wal")), 0);
    expect_refused("put it back");
    f = fopen(stage_path("tutti.db-wal"), "w");
    fclose(f);
    open_and_close();
}

static void a_missing_database_is_not_taken_for_a_new_one(void **state)
{
    (void)state;
    assert_int_equal(stage_child(record_and_die, NULL), -SIGKILL);
    assert_int_equal(unlink(stage_path("tutti.db")), 0);
    expect_refused("is missing");
}

/* F12: every page in turn, structure flipped. */
static void a_damaged_page_is_refused(void **state)
{
    struct stat st;

    (void)state;
    open_and_close();
    assert_int_equal(stat(stage_path("tutti.db"), &st), 0);
    assert_true(st.st_size > 4096);
    for (off_t page = 0; page < st.st_size; page += 4096) {
        int fd = open(stage_path("tutti.db"), O_RDWR);
        uint8_t was[8], now[8];
        off_t at = page ? page : 100; /* a page's own header */

        assert_int_equal(pread(fd, was, 8, at), 8);
        for (int i = 0; i < 8; i++)
            now[i] = was[i] ^ 0x5a;
        assert_int_equal(pwrite(fd, now, 8, at), 8);
        expect_refused("sqlite3 -readonly");
        assert_int_equal(pwrite(fd, was, 8, at), 8);
        close(fd);
        open_and_close();
    }
}

static void a_directory_that_others_may_enter_is_refused(void **state)
{
    (void)state;
    assert_int_equal(chmod(stage_dir, 0750), 0);
    expect_refused("chmod 700");
    assert_int_equal(chmod(stage_dir, 0700), 0);
}

static void a_missing_directory_is_made_for_us_alone(void **state)
{
    struct stat st;
    struct err e = {0};
    char deep[128];

    (void)state;
    snprintf(deep, sizeof deep, "%s/a/b", stage_dir);
    assert_int_equal(store_open(deep, &e), 0);
    store_close();
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    snprintf(deep, sizeof deep, "rm -r %s/a", stage_dir);
    assert_int_equal(system(deep), 0);
}

/* ---- deaths and full disks ---- */

static struct id child_id; /* drawn before the fork, so that both know it */

static void record_one(void)
{
    struct job_record *r = stage_record();
    struct tensor *none[2] = {0};
    struct store_job_insert m = {.record = r, .inputs = none, .key = ""};

    r->id = child_id;
    stage_open(NULL);
    if (store_start(NULL) != 0)
        _exit(98);
    store_job_insert_init(&m);
    if (stage_post(&m.msg) != 0)
        _exit((int)m.msg.err.code == ERR_storage_full ? 51 : 52);
    store_stop();
    _exit(0);
}

static bool is_there(void)
{
    struct job_record *r = NULL;
    bool yes;

    stage_open(NULL);
    yes = store_job_read(&child_id, &r, NULL) == 0;
    record_free(r);
    stage_close();
    return yes;
}

static void a_death_before_the_commit_leaves_nothing(void **state)
{
    (void)state;
    child_id = id_new();
    assert_int_equal(stage_child(record_one, "store.before_commit=kill"), -SIGKILL);
    assert_false(is_there());
}

static void a_death_after_the_commit_leaves_the_row(void **state)
{
    (void)state;
    child_id = id_new();
    assert_int_equal(stage_child(record_one, "store.after_commit=kill"), -SIGKILL);
    assert_true(is_there());
}

static void a_death_during_a_checkpoint_loses_nothing(void **state)
{
    (void)state;
    child_id = id_new();
    assert_int_equal(stage_child(record_one, "ckpt.before=kill"), -SIGKILL);
    assert_true(is_there());
    child_id = id_new();
    assert_int_equal(stage_child(record_one, "ckpt.after=kill"), -SIGKILL);
    assert_true(is_there());
}

static void a_death_during_a_migration_is_undone(void **state)
{
    (void)state;
    child_id = id_new();
    assert_int_equal(stage_child(record_one, "migrate.mid=kill"), -SIGKILL);
    assert_int_equal(stage_child(record_one, NULL), 0);
    assert_true(is_there());
}

/* F10: the commit may have happened (here it did); only a restart can tell. */
static void a_commit_of_unknown_outcome_is_said_to_be_unknown(void **state)
{
    (void)state;
    child_id = id_new();
    assert_int_equal(stage_child(record_one, "store.commit_err=err:5"), 52);
    assert_true(is_there());
}

/* As above, but the poster lives on and waits: the exit is the store's. */
static void record_and_linger(void)
{
    struct job_record *r = stage_record();
    static struct tensor *const none[2];
    static struct store_job_insert m;

    stage_open(NULL);
    m = (struct store_job_insert){.record = r, .inputs = none, .key = ""};
    store_job_insert_init(&m);
    m.msg.done = stage_done;
    store_post(&m.msg);
    if (store_start(NULL) != 0)
        _exit(98);
    stage_wait(1);
    if (m.msg.rc != -1 || m.msg.err.code != ERR_outcome_unknown)
        _exit(97);
    sleep(5);
}

static void the_exit_comes_after_the_answer(void **state)
{
    (void)state;
    stage_dones = 0;
    assert_int_equal(stage_child(record_and_linger, "store.commit_err=err:5"), 70);
    assert_int_equal(stage_child(record_and_linger, "store.before_commit=err:5"), 70);
}

/* A checkpoint that fails may have lost pages that the kernel calls written: the next start copies
 * the log again. */
static void a_checkpoint_that_fails_ends_the_process_with_70(void **state)
{
    (void)state;
    child_id = id_new();
    assert_int_equal(stage_child(record_one, "ckpt.before=err:5"), 70);
    assert_true(is_there());
}

static void a_full_disk_refuses_and_stores_nothing(void **state)
{
    static const char *const where[] = {"store.before_commit=err:28", "store.commit_err=err:28"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        child_id = id_new();
        assert_int_equal(stage_child(record_one, where[i]), 51);
        assert_false(is_there());
    }
}

/* F9, with a filesystem that is really full. */
static void the_store_goes_on_when_a_full_disk_has_room_again(void **state)
{
    struct job_record *r = stage_record();
    static struct tensor *const none[2];
    char path[128], block[65536] = {1};
    struct err e;
    bool full = false;
    int fd;

    (void)state;
    if (mount("tmpfs", stage_dir, "tmpfs", 0, "size=4m,mode=700") != 0) {
        record_free(r);
        skip();
    }
    assert_int_equal(store_open(stage_dir, &e), 0);
    assert_int_equal(store_start(&e), 0);
    snprintf(path, sizeof path, "%s/ballast", stage_dir);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    while (write(fd, block, sizeof block) > 0)
        ;
    for (int i = 0; i < 100 && !full; i++) {
        struct store_job_insert m = {.record = r, .inputs = none, .key = ""};

        r->id = id_new();
        store_job_insert_init(&m);
        full = stage_post(&m.msg) != 0;
        assert_true(!full || m.msg.err.code == ERR_storage_full);
    }
    assert_true(full);
    expect_unknown(&r->id);
    assert_int_equal(ftruncate(fd, 0), 0);
    close(fd);
    assert_int_equal(stage_insert(r, none), 0);
    record_free(must_read(&r->id));
    store_stop();
    store_close();
    assert_int_equal(umount(stage_dir), 0);
    record_free(r);
}

int main(void)
{
#define RUNNING(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define DIR_ONLY(f) cmocka_unit_test_setup_teardown(f, setup_dir, teardown_dir)
    const struct CMUnitTest tests[] = {
        RUNNING(a_recorded_job_is_read_back_whole_also_after_a_restart),
        RUNNING(a_finished_job_is_read_back_with_its_end),
        RUNNING(a_failed_job_keeps_its_reason),
        RUNNING(the_first_end_that_is_recorded_is_the_end),
        RUNNING(an_attempt_counts_up_and_only_while_the_job_is_unfinished),
        RUNNING(a_job_that_is_not_there_is_unknown),
        RUNNING(a_job_may_be_deleted_once_it_has_finished),
        RUNNING(lists_are_newest_first_in_pages),
        RUNNING(lists_take_any_mixture_of_filters),
        RUNNING(a_key_finds_its_first_job_also_after_a_restart),
        RUNNING(a_key_with_another_request_is_refused_and_stores_nothing),
        RUNNING(a_key_lives_as_long_as_its_job),
        RUNNING(fifty_requests_with_one_key_make_one_job),
        RUNNING(purge_takes_old_ends_and_nothing_else),
        RUNNING(one_purge_takes_at_most_a_thousand),
        RUNNING(a_message_that_breaks_a_rule_spoils_no_other),
        RUNNING(only_the_writer_can_write_or_checkpoint),
        RUNNING(connections_are_hardened),
        RUNNING(files_are_for_us_alone),
        RUNNING(readers_of_many_threads_see_what_was_committed),
        RUNNING(groups_come_back_until_they_are_deleted),
        RUNNING(tensors_come_back_with_their_bytes),
        RUNNING(unfinished_jobs_come_back_with_their_inputs),
        RUNNING(an_uploaded_tensor_and_a_job_that_uses_it_are_one_again),
        RUNNING(a_new_arena_makes_everything_in_the_old_one_lost),
        RUNNING(a_row_that_cannot_be_right_refuses_the_start),
        DIR_ONLY(a_second_server_is_refused_by_the_pid_of_the_first),
        DIR_ONLY(a_database_of_a_newer_build_is_refused),
        DIR_ONLY(a_database_of_another_program_is_refused),
        DIR_ONLY(what_is_no_database_is_refused_with_a_command),
        DIR_ONLY(a_missing_log_is_refused_until_somebody_decides),
        DIR_ONLY(a_missing_database_is_not_taken_for_a_new_one),
        DIR_ONLY(a_damaged_page_is_refused),
        DIR_ONLY(a_directory_that_others_may_enter_is_refused),
        DIR_ONLY(a_missing_directory_is_made_for_us_alone),
        DIR_ONLY(a_death_before_the_commit_leaves_nothing),
        DIR_ONLY(a_death_after_the_commit_leaves_the_row),
        DIR_ONLY(a_death_during_a_checkpoint_loses_nothing),
        DIR_ONLY(a_death_during_a_migration_is_undone),
        DIR_ONLY(a_commit_of_unknown_outcome_is_said_to_be_unknown),
        DIR_ONLY(the_exit_comes_after_the_answer),
        DIR_ONLY(a_checkpoint_that_fails_ends_the_process_with_70),
        DIR_ONLY(a_full_disk_refuses_and_stores_nothing),
        DIR_ONLY(the_store_goes_on_when_a_full_disk_has_room_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
