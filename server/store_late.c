/* store_late.c - rows of jobs that ended before all ranks had called: who had come, and whose calls
 * they were. */
#include "server/store_internal.h"

#include "schema/failpoint.h"

#include <string.h>

int late_drop(const struct id *id, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_late_drop, e);

    if (!s)
        return -1;
    bind_id(s, 1, id);
    return db_run(db, s, e);
}

int late_put(const struct job_record *r, const uint8_t *came, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s;
    uint8_t ranks[4 * LIMIT_RANKS];

    if (!came)
        return late_drop(&r->id, e);
    s = db_stmt(db, STMT_late_put, e);
    if (!s)
        return -1;
    bind_id(s, 1, &r->id);
    bind_text(s, 2, r->group);
    bind_blob(s, 3, ranks, ranks_to_blob(r->ranks, r->n, ranks));
    bind_text(s, 4, r->op->name);
    bind_u64(s, 5, r->params.src);
    bind_u64(s, 6, r->params.dst);
    bind_u64(s, 7, r->call_seq);
    bind_blob(s, 8, came, r->n);
    return db_run(db, s, e);
}

/* In any order, and twice if need be. */
int late_come(const struct id *id, uint32_t rank, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_late_get, e);
    uint8_t came[LIMIT_RANKS];
    uint32_t n = 0;
    int rc;

    if (!s)
        return -1;
    bind_id(s, 1, id);
    rc = db_step(db, s, e);
    if (rc <= 0)
        return rc;
    n = (uint32_t)sqlite3_column_bytes(s, 0);
    if (n <= LIMIT_RANKS && n > rank)
        memcpy(came, sqlite3_column_blob(s, 0), n);
    sqlite3_reset(s);
    if (n > LIMIT_RANKS || n <= rank)
        return store_damaged("who called", e);
    came[rank] = 1;
    s = db_stmt(db, STMT_late_set, e);
    if (!s)
        return -1;
    bind_id(s, 1, id);
    bind_blob(s, 2, came, n);
    return db_run(db, s, e);
}

/* ---- recovery ---- */

/* As much of a record as tells whose calls they were. */
static int late_from_row(sqlite3_stmt *s, struct job_record **out, struct err *e)
{
    uint32_t n = (uint32_t)sqlite3_column_bytes(s, 2) / 4;
    struct job_record *r = n > 0 && n <= LIMIT_RANKS ? record_new(n) : NULL;
    char op[64];

    *out = r;
    if (!r)
        return store_damaged("who called", e);
    r->params.src = (uint32_t)column_u64(s, 4);
    r->params.dst = (uint32_t)column_u64(s, 5);
    r->call_seq = column_u64(s, 6);
    if (column_id(s, 0, &r->id) == 0 && column_text(s, 1, r->group, sizeof r->group) == 0 &&
        column_ranks(s, 2, r->ranks, n, &r->n) == 0 && column_text(s, 3, op, sizeof op) == 0 &&
        (r->op = op_find(op, strlen(op))) && (uint32_t)sqlite3_column_bytes(s, 7) == n)
        return 0;
    return store_damaged("who called", e);
}

int late_recover(const struct store_recovery *r, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_late_all, e);
    struct job_record *record;
    int rc;

    if (!s)
        return -1;
    while ((rc = db_step(db, s, e)) == 1) {
        failpoint("recover.calls");
        rc = late_from_row(s, &record, e);
        if (rc == 0)
            rc = r->call(r->arg, record, sqlite3_column_blob(s, 7), e);
        record_free(record);
        if (rc != 0) {
            sqlite3_reset(s);
            return -1;
        }
    }
    return rc;
}
