/* store_schema.c - is the database whole and ours? Then brings it to the newest schema. */
#include "server/store_internal.h"

#include "embed.h"
#include "schema/failpoint.h"
#include "schema/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID 0x74757474 /* "tutt", in the file's header */
#define QUICK_BYTES (64 << 20)    /* checked at every start up to this size */

static const char *const migrations[] = {
    embed_0001_init_sql,       embed_0002_resident_sql, embed_0003_calls_sql,
    embed_0004_backward_sql,   embed_0005_kv_sql,       embed_0006_promises_sql,
    embed_0007_late_calls_sql, embed_0008_kv_size_sql,  embed_0009_key_text_sql,
    embed_0010_owner_sql,      embed_0011_times_sql,    embed_0012_given_sql,
    embed_0013_staging_sql};
#define NEWEST ((int)(sizeof migrations / sizeof migrations[0]))

/* How a person looks at a database that we refuse. */
#define LOOK "look at it with: sqlite3 -readonly %s 'PRAGMA integrity_check'"

int schema_unreadable(const char *path, int result, struct err *e)
{
    return err_set(e, ERR_store, "%s is damaged or no database (%s): " LOOK, path,
                   sqlite3_errstr(result), path);
}

static int64_t file_size(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

/* Does the file itself say that it needs a write-ahead log (bytes 18 and 19 of its header) and that
 * it holds a schema (user_version, big endian at 60)? Before that it held nothing that could be
 * lost. */
static bool needs_wal(const char *path)
{
    uint8_t header[64] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool yes;

    if (fd < 0)
        return false;
    yes = pread(fd, header, sizeof header, 0) == sizeof header && header[18] == 2 &&
          header[19] == 2 && (header[60] | header[61] | header[62] | header[63]) != 0;
    close(fd);
    return yes;
}

/* SQLite opens what it may only read, and says so at the first write, without a name. */
static int check_beside(const char *path, const char *end, struct err *e)
{
    char name[DB_PATH_BYTES + 8];

    snprintf(name, sizeof name, "%s%s", path, end);
    if (access(name, R_OK | W_OK) != 0 && errno != ENOENT)
        return err_sys(e, ERR_store, errno, "open %s for reading and writing", name);
    return 0;
}

/* A database and its log must be used together: without the log, acknowledged jobs would vanish
 * unseen. We keep the log's file also after a clean stop, so a missing one was taken away. */
int schema_check_files(const char *path, bool *clean, struct err *e)
{
    char wal_path[DB_PATH_BYTES + 8];
    int64_t db, wal;

    snprintf(wal_path, sizeof wal_path, "%s-wal", path);
    db = file_size(path);
    wal = file_size(wal_path);
    if (db <= 0 && wal > 0)
        return err_set(e, ERR_store,
                       "%s is missing, but its log %s is there: put it back, or move the log away",
                       path, wal_path);
    if (db > 0 && wal < 0 && needs_wal(path))
        return err_set(
            e, ERR_store,
            "%s is missing: put it back. To go on with what %s alone holds, make it empty: : > %s",
            wal_path, path, wal_path);
    *clean = wal <= 0;
    return check_beside(path, "-wal", e) != 0 ? -1 : check_beside(path, "-shm", e);
}

static int pragma_int(struct db *db, const char *sql, int64_t *out, struct err *e)
{
    sqlite3_stmt *s = NULL;
    int result = sqlite3_prepare_v2(db->sql, sql, -1, &s, NULL);

    if (result == SQLITE_OK && (result = sqlite3_step(s)) == SQLITE_ROW) {
        *out = sqlite3_column_int64(s, 0);
        result = SQLITE_OK;
    }
    sqlite3_finalize(s);
    return result == SQLITE_OK ? 0 : db_error(db, result, e);
}

/* Returns 0 when the check says "ok". */
static int quick_check(struct db *db, const char *path, struct err *e)
{
    sqlite3_stmt *s = NULL;
    int result = sqlite3_prepare_v2(db->sql, "PRAGMA quick_check(1)", -1, &s, NULL);
    const char *text = NULL;
    int rc = 0;

    if (result == SQLITE_OK && (result = sqlite3_step(s)) == SQLITE_ROW)
        text = (const char *)sqlite3_column_text(s, 0);
    if (!text)
        rc = err_set(e, ERR_store, "%s cannot be checked (%s): " LOOK, path, sqlite3_errstr(result),
                     path);
    else if (strcmp(text, "ok") != 0)
        rc = err_set(e, ERR_store, "%s is damaged (%.200s): " LOOK, path, text, path);
    sqlite3_finalize(s);
    return rc;
}

/* One migration, one transaction. */
static int migrate_to(struct db *db, int version, struct err *e)
{
    char set[96];

    snprintf(set, sizeof set, "PRAGMA application_id=%d; PRAGMA user_version=%d;", APPLICATION_ID,
             version);
    if (db_exec(db, "BEGIN IMMEDIATE", e) != 0 || db_exec(db, migrations[version - 1], e) != 0)
        goto fail;
    failpoint("migrate.mid");
    if (db_exec(db, set, e) != 0 || db_exec(db, "COMMIT", e) != 0)
        goto fail;
    return 0;
fail:
    sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}

/* A line a version for who upgrades; a new database has gone through none. */
static int migrate(struct db *db, int version, struct err *e)
{
    bool is_new = version == 0;

    while (version < NEWEST) {
        if (migrate_to(db, ++version, e) != 0)
            return -1;
        if (!is_new)
            log_info("database: migrated to version %d", version);
    }
    if (is_new)
        log_info("database: made, version %d", NEWEST);
    return 0;
}

static int use_wal(struct db *db, struct err *e)
{
    sqlite3_stmt *s = NULL;
    int result = sqlite3_prepare_v2(db->sql, "PRAGMA journal_mode=WAL", -1, &s, NULL), keep = 1;
    bool is_wal = result == SQLITE_OK && (result = sqlite3_step(s)) == SQLITE_ROW &&
                  strcmp((const char *)sqlite3_column_text(s, 0), "wal") == 0;

    sqlite3_finalize(s);
    if (!is_wal && result != SQLITE_ROW)
        return db_error(db, result, e);
    if (!is_wal)
        return err_set(e, ERR_store, "the filesystem allows no write-ahead log (no shared memory)");
    sqlite3_file_control(db->sql, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
    return 0;
}

static int check_version(int64_t id, int64_t version, int64_t tables, const char *path,
                         struct err *e)
{
    if (version > 0 ? id != APPLICATION_ID : id != 0 || tables != 0)
        return err_set(e, ERR_store, "%s is a database of another program: give another --data-dir",
                       path);
    if (version > NEWEST)
        return err_set(
            e, ERR_store,
            "%s has version %lld, this build knows up to %d: start the newer build, or give "
            "another --data-dir",
            path, (long long)version, NEWEST);
    return 0;
}

/* The version must stand in the file itself, so that a lost log is never taken for a new database.
 * A reader of another program may be in the way: then the next checkpoint does it. */
static int copy_log(struct db *db, struct err *e)
{
    int result = sqlite3_wal_checkpoint_v2(db->sql, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);

    if (result == SQLITE_OK || (result & 0xff) == SQLITE_BUSY)
        return 0;
    return db_error(db, sqlite3_extended_errcode(db->sql), e);
}

int schema_migrate(struct db *db, const char *path, bool clean, struct err *e)
{
    int64_t version = 0, id = 0, tables = 0;

    if (pragma_int(db, "PRAGMA user_version", &version, e) != 0 ||
        pragma_int(db, "PRAGMA application_id", &id, e) != 0 ||
        pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables, e) != 0)
        return schema_unreadable(path, db->failed, e);
    if (check_version(id, version, tables, path, e) != 0)
        return -1;
    if ((!clean || file_size(path) <= QUICK_BYTES) && quick_check(db, path, e) != 0)
        return -1;
    if (use_wal(db, e) != 0)
        return err_context(e, "%s", path);
    if (migrate(db, (int)version, e) != 0)
        return err_context(e, "%s", path);
    return copy_log(db, e);
}
