/* store_db.c - one SQLite connection: opened hardened, statements prepared once, values bound and
 * read. */
#include "server/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUSY_MS 1000

static const char *const sql_of[STMT_COUNT] = {
#define STMT(name, sql) [STMT_##name] = sql,
#include "server/store_sql.def"
#undef STMT
};

int db_error(struct db *db, int result, struct err *e)
{
    enum err_code code = ERR_store;

    /* No room for the log's index, or a quota: full disks that SQLite does not call so. */
    if (result == SQLITE_IOERR_SHMSIZE ||
        (result == SQLITE_IOERR_WRITE && sqlite3_system_errno(db->sql) == EDQUOT))
        result = SQLITE_FULL;
    if (db->failed == 0)
        db->failed = result;
    if ((result & 0xff) == SQLITE_FULL)
        code = ERR_storage_full;
    if ((result & 0xff) == SQLITE_NOMEM)
        code = ERR_no_memory;
    return err_set(e, code, "the database: %s (%d)", sqlite3_errstr(result), result);
}

/* Only the writer may write or checkpoint: the WAL-reset race of 3.40.1 needs two that do. */
static const char writer_pragmas[] = "PRAGMA synchronous=NORMAL;"
                                     "PRAGMA cell_size_check=ON;"
                                     "PRAGMA mmap_size=0;"
                                     "PRAGMA foreign_keys=ON;"
                                     "PRAGMA temp_store=MEMORY;"
                                     "PRAGMA cache_size=-512;"
                                     "PRAGMA journal_size_limit=16777216;";
static const char reader_pragmas[] = "PRAGMA query_only=ON;"
                                     "PRAGMA cell_size_check=ON;"
                                     "PRAGMA mmap_size=0;"
                                     "PRAGMA temp_store=MEMORY;"
                                     "PRAGMA cache_size=-256;";

static void harden(sqlite3 *sql)
{
    static const int on[] = {SQLITE_DBCONFIG_DEFENSIVE, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE};
    static const int off[] = {SQLITE_DBCONFIG_TRUSTED_SCHEMA, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION,
                              SQLITE_DBCONFIG_DQS_DDL, SQLITE_DBCONFIG_DQS_DML};

    for (size_t i = 0; i < sizeof on / sizeof on[0]; i++)
        sqlite3_db_config(sql, on[i], 1, NULL);
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++)
        sqlite3_db_config(sql, off[i], 0, NULL);
    sqlite3_limit(sql, SQLITE_LIMIT_LENGTH,
                  2 * LIMIT_VALUE_BYTES); /* a row: the value, and the rest */
    sqlite3_limit(sql, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_busy_timeout(sql, BUSY_MS);
    sqlite3_wal_autocheckpoint(sql, 0);
}

int db_open(struct db *db, const char *path, bool writer, struct err *e)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE |
                (writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
    int result;

    memset(db, 0, sizeof *db);
    result = sqlite3_open_v2(path, &db->sql, flags, NULL);
    if (result != SQLITE_OK)
        return db_error(db, result, e);
    harden(db->sql);
    return db_exec(db, writer ? writer_pragmas : reader_pragmas, e);
}

void db_close(struct db *db)
{
    for (int i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(db->stmt[i]);
    sqlite3_close_v2(db->sql);
    memset(db, 0, sizeof *db);
}

int db_exec(struct db *db, const char *sql, struct err *e)
{
    int result = sqlite3_exec(db->sql, sql, NULL, NULL, NULL);

    return result == SQLITE_OK ? 0 : db_error(db, result, e);
}

sqlite3_stmt *db_stmt(struct db *db, enum stmt_id id, struct err *e)
{
    sqlite3_stmt **s = &db->stmt[id];
    int result;

    if (*s) {
        sqlite3_clear_bindings(*s);
        return *s;
    }
    result = sqlite3_prepare_v3(db->sql, sql_of[id], -1, SQLITE_PREPARE_PERSISTENT, s, NULL);
    if (result != SQLITE_OK) {
        db_error(db, result, e);
        return NULL;
    }
    return *s;
}

int db_step(struct db *db, sqlite3_stmt *s, struct err *e)
{
    int result = sqlite3_step(s);

    if (result == SQLITE_ROW) {
        errno = 0; /* store_damaged asks what became of it */
        return 1;
    }
    sqlite3_reset(s);
    return result == SQLITE_DONE ? 0 : db_error(db, result, e);
}

int db_run(struct db *db, sqlite3_stmt *s, struct err *e)
{
    int rc = db_step(db, s, e);

    if (rc == 1)
        sqlite3_reset(s);
    return rc < 0 ? -1 : 0;
}

/* ---- binding: a failure (no memory) leaves NULL, which a NOT NULL column refuses ---- */

void bind_u64(sqlite3_stmt *s, int at, uint64_t v)
{
    sqlite3_bind_int64(s, at, v > INT64_MAX ? INT64_MAX : (int64_t)v);
}

void bind_id(sqlite3_stmt *s, int at, const struct id *id)
{
    sqlite3_bind_blob(s, at, id->b, sizeof id->b, SQLITE_STATIC);
}

void bind_text(sqlite3_stmt *s, int at, const char *text)
{
    sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
}

void bind_blob(sqlite3_stmt *s, int at, const void *bytes, size_t size)
{
    sqlite3_bind_blob(s, at, size ? bytes : "", (int)size, SQLITE_STATIC);
}

/* ---- columns ---- */

uint64_t column_u64(sqlite3_stmt *s, int at)
{
    int64_t v = sqlite3_column_int64(s, at);

    if (v == INT64_MAX)
        return UINT64_MAX;
    return v < 0 ? 0 : (uint64_t)v;
}

int column_id(sqlite3_stmt *s, int at, struct id *out)
{
    const void *bytes = sqlite3_column_blob(s, at);

    if (!bytes || sqlite3_column_bytes(s, at) != sizeof out->b)
        return -1;
    memcpy(out->b, bytes, sizeof out->b);
    return 0;
}

int column_text(sqlite3_stmt *s, int at, char *out, size_t cap)
{
    const void *text = sqlite3_column_text(s, at);
    size_t len = (size_t)sqlite3_column_bytes(s, at);

    if (!text || len >= cap || memchr(text, 0, len))
        return -1;
    memcpy(out, text, len);
    out[len] = 0;
    return 0;
}

int column_dtype(sqlite3_stmt *s, int at, enum dtype *out)
{
    char name[32];

    return column_text(s, at, name, sizeof name) == 0 ? dtype_find(name, strlen(name), out) : -1;
}

void put_u64(uint8_t *out, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(v >> 8 * i);
}

uint64_t get_u64(const uint8_t *in)
{
    uint64_t v = 0;

    for (int i = 7; i >= 0; i--)
        v = v << 8 | in[i];
    return v;
}

size_t shape_to_blob(const struct shape *s, uint8_t *out)
{
    for (uint32_t i = 0; i < s->ndim; i++)
        put_u64(out + 8 * i, s->dim[i]);
    return 8 * (size_t)s->ndim;
}

int column_shape(sqlite3_stmt *s, int at, enum dtype d, struct shape *out)
{
    const uint8_t *bytes = sqlite3_column_blob(s, at);
    size_t size = (size_t)sqlite3_column_bytes(s, at);

    if (size % 8 || size > 8 * LIMIT_NDIM || (!bytes && errno == ENOMEM))
        return -1;
    memset(out, 0, sizeof *out);
    out->ndim = (uint32_t)(size / 8);
    for (uint32_t i = 0; i < out->ndim; i++)
        out->dim[i] = get_u64(bytes + 8 * i);
    return shape_measure(out, d, NULL, NULL, NULL);
}

size_t ranks_to_blob(const uint32_t *ranks, uint32_t n, uint8_t *out)
{
    for (uint32_t i = 0; i < n; i++)
        for (int k = 0; k < 4; k++)
            out[4 * i + (uint32_t)k] = (uint8_t)(ranks[i] >> 8 * k);
    return 4 * (size_t)n;
}

int column_ranks(sqlite3_stmt *s, int at, uint32_t *out, uint32_t cap, uint32_t *n)
{
    const uint8_t *bytes = sqlite3_column_blob(s, at);
    size_t size = (size_t)sqlite3_column_bytes(s, at);

    if (size % 4 || size / 4 > cap)
        return -1;
    *n = (uint32_t)(size / 4);
    for (uint32_t i = 0; i < *n; i++, bytes += 4)
        out[i] = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                 (uint32_t)bytes[3] << 24;
    return 0;
}
