/* test_store_keys.c - rules of lists, of Idempotency-Keys and of what is purged. */
#include "tests/unit/stage.h"

#include "schema/clock.h"
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
        stage_restart();
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
    record_free(must_read(&first->id));
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

/* F45: of tests/fault/matrix.def. */
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

int main(void)
{
#define RUNNING(f) cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)
    const struct CMUnitTest tests[] = {
        RUNNING(lists_are_newest_first_in_pages),
        RUNNING(lists_take_any_mixture_of_filters),
        RUNNING(a_key_finds_its_first_job_also_after_a_restart),
        RUNNING(a_key_with_another_request_is_refused_and_stores_nothing),
        RUNNING(a_key_lives_as_long_as_its_job),
        RUNNING(fifty_requests_with_one_key_make_one_job),
        RUNNING(purge_takes_old_ends_and_nothing_else),
        RUNNING(one_purge_takes_at_most_a_thousand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
