/* test_store_open.c - rules of opening: what is refused, how connections are made. */
#include "tests/unit/stage.h"

#include "server/store_internal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

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

static void write_sql(const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(stage_path("tutti.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &(int){1});
    sqlite3_close(db);
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

/* F13: of tests/fault/matrix.def. */
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

/* F12: of tests/fault/matrix.def. */
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

/* F12: every page in turn, structure flipped. What a free page holds is nobody's: there is none. */
static void a_damaged_page_is_refused(void **state)
{
    struct stat st;

    (void)state;
    open_and_close();
    write_sql("VACUUM");
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

/* F11: of tests/fault/matrix.def. */
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

int main(void)
{
#define RUNNING(f) cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)
#define DIR_ONLY(f) cmocka_unit_test_setup_teardown(f, stage_setup_dir, stage_teardown_dir)
    const struct CMUnitTest tests[] = {
        RUNNING(only_the_writer_can_write_or_checkpoint),
        RUNNING(connections_are_hardened),
        RUNNING(files_are_for_us_alone),
        RUNNING(readers_of_many_threads_see_what_was_committed),
        DIR_ONLY(a_second_server_is_refused_by_the_pid_of_the_first),
        DIR_ONLY(a_database_of_a_newer_build_is_refused),
        DIR_ONLY(a_database_of_another_program_is_refused),
        DIR_ONLY(what_is_no_database_is_refused_with_a_command),
        DIR_ONLY(a_missing_log_is_refused_until_somebody_decides),
        DIR_ONLY(a_missing_database_is_not_taken_for_a_new_one),
        DIR_ONLY(a_damaged_page_is_refused),
        DIR_ONLY(a_directory_that_others_may_enter_is_refused),
        DIR_ONLY(a_missing_directory_is_made_for_us_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
