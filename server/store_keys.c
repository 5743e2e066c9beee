/* store_keys.c - Idempotency-Keys, in the transaction of the job they belong to. */
#include "server/store_internal.h"

#include <stdio.h>
#include <string.h>

/* Between characters that no client's key has. */
void store_line_key(struct store_key *out, const char *key, uint32_t line)
{
    snprintf(out->key, sizeof out->key, "\x1e%s\x1e%u", key, line);
}

/* Returns 1 with *job when the key is there and came with this digest; 0 when it is not; -1. */
static int key_look_up(struct db *db, const char *key, const uint8_t *mine, struct id *job,
                       struct err *e)
{
    sqlite3_stmt *s = db_stmt(db, STMT_key_get, e);
    const void *digest;
    bool same;
    int rc;

    if (!s)
        return -1;
    bind_text(s, 1, key);
    rc = db_step(db, s, e);
    if (rc <= 0)
        return rc;
    digest = sqlite3_column_blob(s, 1);
    same = digest && sqlite3_column_bytes(s, 1) == 16 && memcmp(digest, mine, 16) == 0;
    rc = column_id(s, 0, job);
    sqlite3_reset(s);
    if (rc != 0)
        return store_damaged("an Idempotency-Key", e);
    if (!same)
        return err_set(e, ERR_idempotency_key_reused,
                       "this Idempotency-Key came with another request before: take a new key");
    return 1;
}

/* The first of a batch asks for its key, the others for what it found; then each for its own line.
 */
static int batch_check(struct store_job_insert *m, struct err *e)
{
    struct store_batch *b = m->batch;
    int rc;

    if (m->leads) {
        rc = key_look_up(store_writer(), m->key, m->digest, &m->existing, &b->err);
        b->existed = rc == 1;
        b->rc = rc < 0 ? -1 : 0;
    }
    if (b->rc != 0)
        *e = b->err;
    if (b->rc != 0 || !b->existed)
        return b->rc;
    rc = key_look_up(store_writer(), m->keys->key, m->keys->digest, &m->existing, e);
    m->existed = rc == 1;
    return rc != 0 ? rc < 0 ? -1 : 0
                   : err_set(e, ERR_idempotency_key_reused,
                             "the batch of this Idempotency-Key came before, and the job of this "
                             "line was refused then, or deleted since: take a new key");
}

int key_check(struct store_job_insert *m, struct err *e)
{
    int rc;

    if (m->batch)
        return batch_check(m, e);
    rc = key_look_up(store_writer(), m->key, m->digest, &m->existing, e);
    m->existed = rc == 1;
    return rc < 0 ? -1 : 0;
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
    if (m->text)
        bind_blob(s, 4, m->text, 16);
    return db_run(db, s, e);
}

int keys_add(const struct store_key *keys, uint32_t n, const struct id *job, bool anew,
             struct err *e)
{
    struct db *db = store_writer();

    for (uint32_t i = 0; i < n; i++) {
        sqlite3_stmt *s = db_stmt(db, anew ? STMT_key_put : STMT_key_add, e);

        if (!s)
            return -1;
        bind_text(s, 1, keys[i].key);
        bind_id(s, 2, job);
        bind_blob(s, 3, keys[i].digest, 16);
        if (db_run(db, s, e) != 0)
            return -1;
    }
    return 0;
}

static int find(struct store_msg *msg, struct err *e)
{
    struct store_key_find *m = (struct store_key_find *)msg;
    int rc = key_look_up(store_writer(), m->key.key, m->key.digest, &m->job, e);

    m->found = rc == 1;
    return rc < 0 ? -1 : 0;
}

void store_key_find_init(struct store_key_find *m)
{
    m->msg.apply = find;
}

int store_key_read(const struct store_key *k, struct id *job, struct err *e)
{
    struct db *db = store_reader(e);
    int rc = db ? key_look_up(db, k->key, k->digest, job, e) : -1;

    return rc < 0 ? -1 : rc == 0;
}

int store_text_read(const char *key, const uint8_t *text, struct id *job, struct err *e)
{
    struct db *db = store_reader(e);
    sqlite3_stmt *s = db ? db_stmt(db, STMT_key_text, e) : NULL;
    int rc;

    if (!s)
        return -1;
    bind_text(s, 1, key);
    bind_blob(s, 2, text, 16);
    rc = db_step(db, s, e);
    if (rc <= 0)
        return rc < 0 ? -1 : 1;
    rc = column_id(s, 0, job);
    sqlite3_reset(s);
    return rc != 0 ? store_damaged("an Idempotency-Key", e) : 0;
}

int key_delete_of(const struct id *job, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_key_hand_on, e); /* a batch's key goes with its last job */

    if (!s)
        return -1;
    bind_id(s, 1, job);
    if (db_run(db, s, e) != 0)
        return -1;
    s = db_stmt(db, STMT_key_delete_of, e);

    if (!s)
        return -1;
    bind_id(s, 1, job);
    return db_run(db, s, e);
}
