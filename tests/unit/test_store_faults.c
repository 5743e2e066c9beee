/* test_store_faults.c - rules under deaths, failing disks and full ones. */
#include "tests/unit/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

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
    yes = store_job_read(&child_id, NULL, &r, NULL) == 0;
    record_free(r);
    stage_close();
    return yes;
}

/* F1: of tests/fault/matrix.def. */
static void a_death_before_the_commit_leaves_nothing(void **state)
{
    (void)state;
    child_id = id_new();
    assert_int_equal(stage_child(record_one, "store.before_commit=kill"), -SIGKILL);
    assert_false(is_there());
}

/* F2: of tests/fault/matrix.def. */
static void a_death_after_the_commit_leaves_the_row(void **state)
{
    (void)state;
    child_id = id_new();
    assert_int_equal(stage_child(record_one, "store.after_commit=kill"), -SIGKILL);
    assert_true(is_there());
}

/* F7: of tests/fault/matrix.def. */
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

/* F7: of tests/fault/matrix.def. */
static void a_death_during_a_migration_is_undone(void **state)
{
    (void)state;
    child_id = id_new();
    assert_int_equal(stage_child(record_one, "migrate.mid=kill"), -SIGKILL);
    assert_int_equal(stage_child(record_one, NULL), 0);
    assert_true(is_there());
}

static struct id torn_ids[2];

static void record_two_and_die(void)
{
    static struct tensor *const none[2];

    stage_open(NULL);
    if (store_start(NULL) != 0)
        _exit(98);
    for (int i = 0; i < 2; i++) {
        struct job_record *r = stage_record();

        r->id = torn_ids[i];
        if (stage_insert(r, none) != 0)
            _exit(97);
    }
    kill(getpid(), SIGKILL);
}

/* F8: the log's last frame is half there, as after a power cut. */
static void a_torn_last_write_costs_only_the_last_commit(void **state)
{
    struct stat st;

    (void)state;
    torn_ids[0] = id_new();
    torn_ids[1] = id_new();
    assert_int_equal(stage_child(record_two_and_die, NULL), -SIGKILL);
    assert_int_equal(stat(stage_path("tutti.db-wal"), &st), 0);
    assert_int_equal(truncate(stage_path("tutti.db-wal"), st.st_size - 2000), 0);
    child_id = torn_ids[0];
    assert_true(is_there());
    child_id = torn_ids[1];
    assert_false(is_there());
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

/* F9: a filesystem that is really full. */
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
#define DIR_ONLY(f) cmocka_unit_test_setup_teardown(f, stage_setup_dir, stage_teardown_dir)
    const struct CMUnitTest tests[] = {
        DIR_ONLY(a_death_before_the_commit_leaves_nothing),
        DIR_ONLY(a_death_after_the_commit_leaves_the_row),
        DIR_ONLY(a_death_during_a_checkpoint_loses_nothing),
        DIR_ONLY(a_death_during_a_migration_is_undone),
        DIR_ONLY(a_torn_last_write_costs_only_the_last_commit),
        DIR_ONLY(a_commit_of_unknown_outcome_is_said_to_be_unknown),
        DIR_ONLY(the_exit_comes_after_the_answer),
        DIR_ONLY(a_checkpoint_that_fails_ends_the_process_with_70),
        DIR_ONLY(a_full_disk_refuses_and_stores_nothing),
        DIR_ONLY(the_store_goes_on_when_a_full_disk_has_room_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
