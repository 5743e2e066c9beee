/* store_keys.c - Idempotency-Keys, in the transaction of the job they belong to. */
#include "server/store_internal.h"

#include <string.h>

int key_check(struct store_job_insert *m, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_key_get, e);
    const void *digest;
    bool same;
    int rc;

    m->existed = false;
    if (!s)
        return -1;
    bind_text(s, 1, m->key);
    rc = db_step(db, s, e);
    if (rc <= 0)
        return rc;
    digest = sqlite3_column_blob(s, 1);
    same = digest && sqlite3_column_bytes(s, 1) == 16 && memcmp(digest, m->digest, 16) == 0;
    rc = column_id(s, 0, &m->existing);
    sqlite3_reset(s);
    if (rc != 0)
        return store_damaged("an Idempotency-Key", e);
    if (!same)
        return err_set(e, ERR_idempotency_key_reused,
                       "this Idempotency-Key came with another request before: take a new key");
    m->existed = true;
    return 0;
}

int key_insert(const struct store_job_insert *m, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_key_insert, e);

    if (!s)
        return -1;
    bind_text(s, 1, m->key);
    bind_id(s, 2, &m->record->id);
    bind_blob(s, 3, m->digest, 16);
    return db_run(db, s, e);
}

int key_delete_of(const struct id *job, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_key_delete_of, e);

    if (!s)
        return -1;
    bind_id(s, 1, job);
    return db_run(db, s, e);
}
