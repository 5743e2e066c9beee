/* fuzz_restore.c - a start on a database that something has changed: it is refused, with a reason,
 * or the service opens on it and its books are right.
 *
 * The first byte says what is changed: bytes of the file, values of rows, its length, or its log.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/house.h"
#include "tests/fuzz/life.h"

#include "server/job.h"
#include "server/recovery.h"
#include "server/store.h"
#include "server/store_kv.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHANGES 24 /* of one input */
#define ROWS 16    /* of a list */
#define BLOB 256   /* bytes */

void __real_store_post(struct store_msg *m);

static struct {
    char dir[210];
    uint8_t *bytes;
    size_t len;
} base;

static const char *path_of(const char *name)
{
    static char path[2][240];
    static unsigned turn;
    char *at = path[turn++ % 2];

    snprintf(at, sizeof path[0], "%s/%s", base.dir, name);
    return at;
}

static void open_base(void)
{
    if (base.bytes)
        return;
    fuzz_house();
    snprintf(base.dir, sizeof base.dir, "%s/data", fuzz_dir());
    base.bytes = life_database(base.dir, arena_nonce(fuzz_arena()), __real_store_post, &base.len);
}

static void put_file(const char *name, const uint8_t *bytes, size_t len)
{
    FILE *f = fopen(path_of(name), "wb");

    FUZZ_CHECK(f && fwrite(bytes, 1, len, f) == len && fclose(f) == 0, "write %s", path_of(name));
}

/* ---- changes ---- */

/* Where bytes of a page mean something, more often than anywhere. */
static void change_bytes(struct fuzz_in *in, uint8_t *file)
{
    for (int i = 0; i < CHANGES && in->len > 0; i++) {
        uint32_t where = fuzz_u32(in);
        size_t page = (where >> 16) % (base.len / 4096 + 1) * 4096, n = 1 + fuzz_u8(in) % 8;
        size_t at = (page + (where & 0x8000 ? where % 112 : where % 4096)) % base.len;

        for (size_t k = 0; k < n && at + k < base.len; k++)
            file[at + k] = fuzz_u8(in);
    }
}

/* Mostly what stood there before, with a word of it changed, or a word that it could be. */
static void bind_blob(sqlite3_stmt *s, sqlite3_stmt *old, struct fuzz_in *in)
{
    uint8_t how = fuzz_u8(in), bytes[2 * BLOB] = {0};
    const void *was = sqlite3_column_blob(old, 0);
    int n = was ? sqlite3_column_bytes(old, 0) : 0;
    uint64_t word;

    n = n < BLOB ? n : BLOB;
    if (n > 0)
        memcpy(bytes, was, (size_t)n);
    word = how & 0x10 ? fuzz_u64(in) : fuzz_u8(in);
    if (how % 4 == 0)
        n = (int)(word % (2 * BLOB));
    else if (how % 4 == 1)
        n += (int)(word % 17) - 8;
    else if (n >= 8)
        memcpy(bytes + fuzz_u8(in) % (n / 8) * 8, &word, sizeof word);
    else
        bytes[0] = (uint8_t)word;
    n = n < 0 ? 0 : n;
    sqlite3_bind_blob(s, 1, bytes, n, SQLITE_TRANSIENT);
}

static void bind_text(sqlite3_stmt *s, struct fuzz_in *in)
{
    static const char *const words[] = {
        "",        "queued",  "waiting", "succeeded", "failed",  "cancelled",      "after",
        "before",  "float64", "bool",    "bfloat16",  "gather",  "broadcast",      "all_to_all",
        "scatter", "barrier", "world",   "pair",      "no_such", "all_reduce_max", "remote_send"};
    size_t which = fuzz_u8(in), n;

    if (which < sizeof words / sizeof words[0]) {
        sqlite3_bind_text(s, 1, words[which], -1, SQLITE_STATIC);
        return;
    }
    n = which < in->len ? which : in->len;
    sqlite3_bind_text(s, 1, n ? (const char *)in->at : "", (int)n, SQLITE_TRANSIENT);
    in->at += n;
    in->len -= n;
}

static void bind_integer(sqlite3_stmt *s, sqlite3_stmt *old, struct fuzz_in *in)
{
    uint8_t how = fuzz_u8(in);
    uint64_t v = how % 4 == 0   ? fuzz_u64(in)
                 : how % 4 == 1 ? (uint64_t)INT64_MAX - (how >> 2)
                 : how % 4 == 2 ? how >> 2
                                : (uint64_t)sqlite3_column_int64(old, 0) + (how >> 2) - 32;

    sqlite3_bind_int64(s, 1, (int64_t)v);
}

static void bind_value(sqlite3_stmt *s, const char *type, sqlite3_stmt *old, struct fuzz_in *in)
{
    if (strcmp(type, "INTEGER") == 0)
        bind_integer(s, old, in);
    else if (strcmp(type, "BLOB") == 0)
        bind_blob(s, old, in);
    else
        bind_text(s, in);
}

/* Text: the n-th row of an answer with one column, or "". */
static void ask(sqlite3 *db, const char *sql, int n, char *out, size_t cap)
{
    sqlite3_stmt *s = NULL;

    out[0] = '\0';
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK) {
        while (n-- >= 0 && sqlite3_step(s) == SQLITE_ROW)
            snprintf(out, cap, "%s", (const char *)sqlite3_column_text(s, 0));
    }
    sqlite3_finalize(s);
}

static int count(sqlite3 *db, const char *sql)
{
    char text[32];

    ask(db, sql, 0, text, sizeof text);
    return atoi(text);
}

/* One value of one row, of the column's type, or a row less. */
static void change_row(sqlite3 *db, struct fuzz_in *in)
{
    char table[64], column[64], type[64], key[64], sql[400];
    sqlite3_stmt *s = NULL, *old = NULL;
    uint8_t which = fuzz_u8(in), where = fuzz_u8(in), row = fuzz_u8(in);
    int columns;

    ask(db, "SELECT name FROM sqlite_schema WHERE type='table' ORDER BY name",
        which % count(db, "SELECT count(*) FROM sqlite_schema WHERE type='table'"), table,
        sizeof table);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM pragma_table_info('%s')", table);
    columns = count(db, sql);
    snprintf(sql, sizeof sql, "SELECT name FROM pragma_table_info('%s')", table);
    ask(db, sql, where % columns, column, sizeof column);
    ask(db, sql, 0, key, sizeof key);
    snprintf(sql, sizeof sql, "SELECT type FROM pragma_table_info('%s')", table);
    ask(db, sql, where % columns, type, sizeof type);
    if (row & 0x80) {
        snprintf(sql, sizeof sql, "DELETE FROM %s WHERE %s=(SELECT %s FROM %s LIMIT 1 OFFSET %d)",
                 table, key, key, table, row % 9);
        sqlite3_exec(db, sql, NULL, NULL, NULL);
        return;
    }
    snprintf(sql, sizeof sql, "SELECT %s FROM %s LIMIT 1 OFFSET %d", column, table, row % 9);
    if (sqlite3_prepare_v2(db, sql, -1, &old, NULL) == SQLITE_OK &&
        sqlite3_step(old) == SQLITE_ROW) {
        snprintf(sql, sizeof sql,
                 "UPDATE %s SET %s=?1 WHERE %s=(SELECT %s FROM %s LIMIT 1 OFFSET %d)", table,
                 column, key, key, table, row % 9);
        if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK) {
            bind_value(s, type, old, in);
            sqlite3_reset(old);
            sqlite3_step(s);
        }
        sqlite3_finalize(s);
    }
    sqlite3_finalize(old);
}

static void change_rows(struct fuzz_in *in)
{
    sqlite3 *db = NULL;

    FUZZ_CHECK(sqlite3_open(path_of("tutti.db"), &db) == SQLITE_OK, "open what was written");
    sqlite3_exec(db, "PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; BEGIN", NULL, NULL, NULL);
    for (int i = 0; i < CHANGES && in->len > 0; i++)
        change_row(db, in);
    sqlite3_exec(db, "COMMIT; PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    sqlite3_close(db);
    put_file("tutti.db-wal", base.bytes, 0); /* which SQLite has removed, and we never do */
}

static void write_changed(struct fuzz_in *in)
{
    uint8_t how = fuzz_u8(in), *file = fuzz_copy(base.bytes, base.len);
    size_t len = base.len;

    unlink(path_of("tutti.db-shm"));
    how %= 8;
    if (how < 2)
        change_bytes(in, file);
    if (how == 1)
        len = fuzz_u32(in) % (base.len + 1);
    put_file("tutti.db", file, len);
    put_file("tutti.db-wal", in->at, how == 2 ? in->len : 0);
    if (how > 2)
        change_rows(in);
    free(file);
}

/* ---- a start ---- */

static bool keep(const struct job_record *r, void *arg)
{
    (void)arg;
    FUZZ_CHECK(!job_state_terminal(r->state), "%s is unfinished", job_state_name(r->state));
    return true;
}

static void check_record(const struct job_record *r)
{
    FUZZ_CHECK(r->op >= ops && r->op < ops + OP_COUNT && r->n > 0 && r->n <= LIMIT_RANKS &&
                   r->dtype < DTYPE_COUNT && r->state < JOB_STATE_COUNT,
               "a record of %u ranks", r->n);
    FUZZ_CHECK(shape_measure(&r->in_shape, r->dtype, NULL, NULL, NULL) == 0 &&
                   shape_measure(&r->out_shape, r->dtype, NULL, NULL, NULL) == 0,
               "a record's shapes");
    FUZZ_CHECK(memchr(r->group, 0, sizeof r->group) && memchr(r->label, 0, sizeof r->label),
               "a record's texts");
}

/* Every tensor that is there lies in its extent, and a job's inputs are what its workers will take
 * them for. */
static void check_tensors(void)
{
    for (size_t i = 0; i < LIFE_TENSORS; i++) {
        struct tensor *t = tensor_find(&life_tensors[i]);

        if (t && !tensor_lost(t))
            fuzz_check_tensor(t);
        tensor_unref(t);
    }
    for (uint64_t seq = 1; seq < ROWS; seq++) {
        const struct job *j = job_find_seq(seq);

        for (uint32_t i = 0; j && j->inputs && i < record_needs(j->record); i++) {
            const struct tensor *t = j->inputs[i];

            if (!t || t->promise)
                continue;
            fuzz_check_tensor(t);
            FUZZ_CHECK(t->dtype == j->record->dtype &&
                           shape_equal(&t->shape, record_need_shape(j->record, i)),
                       "input %u of a job is another tensor than it needs", i);
        }
    }
}

/* What people would see: lists, records, values. */
static void look(void)
{
    static const struct id newest;
    struct store_job_filter all = {.terminal_only = true};
    struct job_record *r[ROWS];
    struct kv_value value;
    struct kv_row rows[ROWS];
    struct store_key key = {.key = "a key", .digest = "0123456789abcdef"};
    struct id id;
    struct err e;
    uint32_t n = job_list(&newest, keep, NULL, r, ROWS);

    for (uint32_t i = 0; i < n; i++) {
        check_record(r[i]);
        record_free(r[i]);
    }
    n = 0;
    if (store_job_list(&all, r, ROWS, &n, &e) != 0)
        fuzz_check_err(&e);
    for (uint32_t i = 0; i < n; i++) {
        struct job_record *again = NULL;

        check_record(r[i]);
        if (store_job_read(&r[i]->id, NULL, &again, &e) != 0)
            fuzz_check_err(&e);
        record_free(again);
        record_free(r[i]);
    }
    if (store_kv_read("pair", "key", 1, &value, &e) == 0)
        free(value.text);
    if (store_kv_list("pair", "", "", 1, rows, ROWS, &n, &e) != 0)
        fuzz_check_err(&e);
    if (store_key_read(&key, &id, &e) < 0)
        fuzz_check_err(&e);
}

/* Returns whether the service has opened. */
static bool start(void)
{
    bool open = false;
    struct err e;
    bool kept;

    if (store_open(base.dir, &e) != 0) {
        fuzz_check_err(&e);
        return false;
    }
    kept = store_arena_nonce() == arena_nonce(fuzz_arena());
    house_open(LIMIT_STREAM + 1);
    if (recover(kept, &e) != 0) {
        fuzz_check_err(&e);
    } else {
        if (!kept && store_set_arena_nonce(arena_nonce(fuzz_arena()), &e) != 0)
            fuzz_check_err(&e);
        house_turn();
        house_check();
        check_tensors();
        look();
        house_ready();
        house_turn();
        house_check();
        open = true;
    }
    house_close();
    store_close();
    return open;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_in in = {data, len};

    open_base();
    fuzz_arena_fresh(0xa5);
    write_changed(&in);
    FUZZ_CHECK(start() || len > 1, "what nothing has changed is refused");
    fuzz_arena_empty();
    return 0;
}
